-- What a queue on SQLite needs at the least: the table that Skep's own figures are held against (`skep bench`).
-- No part of Skep's own file, which is schema.sql.

CREATE TABLE jobs (
  id       INTEGER PRIMARY KEY,
  queue    TEXT NOT NULL,
  state    INTEGER NOT NULL,  -- 0 waiting, 1 taken, 2 finished
  priority INTEGER NOT NULL,
  run_at   INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  lease    INTEGER,
  owner    INTEGER,
  created  INTEGER NOT NULL,
  finished INTEGER,
  payload  TEXT NOT NULL,
  result   TEXT
) STRICT;

-- What a claim looks through: the waiting alone, so that finished jobs cost it nothing.
CREATE INDEX jobs_ready ON jobs (queue, priority DESC, run_at, id) WHERE state = 0;
