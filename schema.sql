-- The database as it is: the only copy of its shape. Times are milliseconds since 1970, UTC.
-- States are spelled as in Rust and JSON; a CHECK is the second lock behind flow's state machines.
-- In tables that every run writes, a CHECK with more than two words spells them with OR: for IN, SQLite would make a
-- table of them at every insert, which was half of what the insert cost.
-- A change here needs an upgrade in src/store/upgrade.rs; a test holds the two against each other.

-- A named place to call a workflow. Deleted ones stay until their last run and delivery are final.
CREATE TABLE deployments (
    id                   INTEGER PRIMARY KEY,
    name                 TEXT    NOT NULL,
    endpoint_id          BLOB    NOT NULL UNIQUE CHECK (length(endpoint_id) = 16),
    secret               BLOB    NOT NULL,              -- sealed; both directions
    staged_secret        BLOB,                          -- sealed; the next one, during a rotation
    old_secret           BLOB,                          -- sealed; the one before, valid until old_secret_until
    old_secret_until     INTEGER,
    callback_url         TEXT,                          -- where results go that name no URL
    callback_hosts       TEXT    CHECK (callback_hosts IS NULL OR json_valid(callback_hosts)),   -- only these, if given
    retry_schedule       TEXT    CHECK (retry_schedule IS NULL OR json_valid(retry_schedule)),   -- [ms], if not the default
    exchange_deadline_ms INTEGER CHECK (exchange_deadline_ms BETWEEN 100 AND 30000),
    concurrency_limit    INTEGER CHECK (concurrency_limit > 0),
    created_at           INTEGER NOT NULL,
    deleted_at           INTEGER,
    CHECK ((old_secret IS NULL) = (old_secret_until IS NULL))
) STRICT;
-- directory, put_version: a name is free again as soon as its deployment is deleted
CREATE UNIQUE INDEX deployments_name ON deployments (name) WHERE deleted_at IS NULL;

-- A named slot of a deployment; points at one version.
CREATE TABLE variants (
    id         INTEGER PRIMARY KEY,
    deployment INTEGER NOT NULL REFERENCES deployments (id),
    name       TEXT    NOT NULL,
    variant_id BLOB    NOT NULL UNIQUE CHECK (length(variant_id) = 16),
    created_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX variants_name ON variants (deployment, name) WHERE deleted_at IS NULL;
-- purge_deleted: foreign keys of a deployment that goes
CREATE INDEX variants_deployment ON variants (deployment);

-- An immutable definition. The one with the highest number is the variant's.
CREATE TABLE versions (
    id         INTEGER PRIMARY KEY,
    variant    INTEGER NOT NULL REFERENCES variants (id),
    number     INTEGER NOT NULL CHECK (number > 0),
    format     TEXT    NOT NULL CHECK (format IN ('yaml', 'json')),
    definition TEXT    NOT NULL,
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),   -- SHA-256 of what it says, however it is written
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    UNIQUE (variant, number)
) STRICT;

CREATE TABLE api_keys (
    id           INTEGER PRIMARY KEY,
    key_id       BLOB    NOT NULL UNIQUE CHECK (length(key_id) = 16),
    name         TEXT    NOT NULL,
    environment  TEXT    NOT NULL CHECK (environment IN ('production', 'staging', 'development')),
    scope        TEXT    NOT NULL CHECK (scope IN ('invoke', 'read', 'approve', 'deploy', 'admin')),
    prefix       TEXT    NOT NULL,                      -- the first characters, to tell keys apart
    hash         BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),    -- SHA-256 of the key
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT;

-- Values for steps, bound to hosts.
CREATE TABLE secrets (
    name       TEXT    PRIMARY KEY,
    value      BLOB    NOT NULL,                        -- sealed
    hosts      TEXT    NOT NULL CHECK (json_valid(hosts)),
    updated_at INTEGER NOT NULL
) STRICT;

-- One execution. `id` is the order of acceptance.
CREATE TABLE runs (
    id               INTEGER PRIMARY KEY,
    run_id           BLOB    NOT NULL UNIQUE CHECK (length(run_id) = 16),
    deployment       INTEGER NOT NULL REFERENCES deployments (id),
    version          INTEGER NOT NULL REFERENCES versions (id),
    status           TEXT    NOT NULL CHECK (status = 'queued' OR status = 'running' OR status = 'awaiting_approval'
                                             OR status = 'waiting' OR status = 'completed' OR status = 'failed'
                                             OR status = 'cancelled'),
    source           TEXT    NOT NULL CHECK (source = 'api' OR source = 'webhook' OR source = 'schedule'
                                             OR source = 'dashboard' OR source = 'workflow'),
    delivery         TEXT    NOT NULL CHECK (delivery IN ('direct', 'callback')),
    callback_url     TEXT,
    api_key          INTEGER,                           -- not a reference: keys may be gone
    user             TEXT,
    metadata         TEXT    CHECK (metadata IS NULL OR json_valid(metadata)),   -- NULL is {}
    inputs           TEXT    NOT NULL CHECK (json_valid(inputs)),
    output           TEXT    CHECK (output IS NULL OR json_valid(output)),
    error            TEXT,
    error_code       TEXT,
    error_step       TEXT,
    created_at       INTEGER NOT NULL,
    started_at       INTEGER,
    ended_at         INTEGER,
    wake_at          INTEGER,
    claim_token      INTEGER,
    claim_expires_at INTEGER,
    retry_of         BLOB    CHECK (length(retry_of) = 16),   -- the run that it repeats: no reference, it may be gone
    CHECK ((delivery = 'callback') = (callback_url IS NOT NULL)),
    CHECK ((status = 'running') = (claim_token IS NOT NULL)),
    CHECK ((claim_token IS NULL) = (claim_expires_at IS NULL)),
    CHECK ((status = 'waiting') = (wake_at IS NOT NULL)),
    CHECK ((status = 'completed' OR status = 'failed' OR status = 'cancelled') = (ended_at IS NOT NULL)),
    CHECK ((status = 'completed') = (output IS NOT NULL)),
    CHECK ((status IN ('failed', 'cancelled')) = (error IS NOT NULL))
) STRICT;
-- claim_runs: the oldest queued run of a deployment; expire_claims; delete_deployment: its open runs
-- (ended_at is there so that counting the open runs at start needs the index alone)
CREATE INDEX runs_open ON runs (deployment, status, id, ended_at) WHERE ended_at IS NULL;
-- wake_due
CREATE INDEX runs_waiting ON runs (wake_at) WHERE wake_at IS NOT NULL;
-- retries
CREATE INDEX runs_retry_of ON runs (retry_of) WHERE retry_of IS NOT NULL;

-- Which blocks of 1,024 runs (runs.id >> 10) may hold a value: lets list_runs skip the others. What `facet` numbers
-- says src/store/facets.rs.
CREATE TABLE facets (
    facet INTEGER NOT NULL,
    value TEXT    NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (facet, value, block)
) STRICT, WITHOUT ROWID;
-- prune: the notes of blocks whose runs are gone
CREATE INDEX facets_block ON facets (block);

-- Runs by the minute of their acceptance, which their ids tell, and how they ended. Deployment 0: all together.
CREATE TABLE minutes (
    deployment INTEGER NOT NULL,
    minute     INTEGER NOT NULL,                        -- since 1970
    accepted   INTEGER NOT NULL,
    completed  INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    cancelled  INTEGER NOT NULL,
    PRIMARY KEY (deployment, minute)
) STRICT, WITHOUT ROWID;

-- One execution of one step. `id` is the order of execution.
CREATE TABLE steps (
    id         INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    path       TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    status     TEXT    NOT NULL CHECK (status = 'pending' OR status = 'running' OR status = 'waiting'
                                       OR status = 'completed' OR status = 'failed' OR status = 'skipped'
                                       OR status = 'cancelled'),
    failures   INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    attempts   TEXT    CHECK (attempts IS NULL OR json_valid(attempts)),   -- past tries; NULL is []
    tried_at   INTEGER,                                 -- when the last try began, if it is not among them
    input      TEXT    CHECK (input IS NULL OR json_valid(input)),
    output     TEXT    CHECK (output IS NULL OR json_valid(output)),
    meta       TEXT    CHECK (meta IS NULL OR json_valid(meta)),
    error      TEXT,
    error_class TEXT,
    due_at     INTEGER,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    reused     INTEGER NOT NULL DEFAULT 0 CHECK (reused IN (0, 1)),   -- taken over from the run that this one repeats
    UNIQUE (run, path),
    CHECK (reused = 0 OR status IN ('completed', 'skipped')),
    CHECK ((status = 'waiting') = (due_at IS NOT NULL)),
    CHECK ((status = 'completed' OR status = 'failed' OR status = 'skipped'
            OR status = 'cancelled') = (ended_at IS NOT NULL)),
    CHECK (status <> 'failed' OR error IS NOT NULL)
) STRICT;

-- The first answer to an Idempotency-Key: which run it started. Kept 24 h.
CREATE TABLE idempotency (
    scope      TEXT    NOT NULL,                        -- 'key:ID' or 'deployment:ID'
    key        TEXT    NOT NULL,
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),
    run_id     BLOB    NOT NULL,
    status     TEXT    NOT NULL,                        -- as first answered
    created_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
-- prune_runs: what still answers for a key stays
CREATE INDEX idempotency_run ON idempotency (run_id);
-- prune_idempotency
CREATE INDEX idempotency_created ON idempotency (created_at);

-- Where deliveries go: scheme, host and port. Decides who is served next and how much at once.
CREATE TABLE origins (
    id       INTEGER PRIMARY KEY,
    origin   TEXT    NOT NULL UNIQUE,
    health   TEXT    NOT NULL CHECK (health = 'unanswered' OR health = 'answered' OR health = 'timed_out'),
    ready_at INTEGER,                                   -- NULL: nothing pending, or its share is in flight
    in_flight INTEGER NOT NULL DEFAULT 0 CHECK (in_flight >= 0)
) STRICT;
-- claim_deliveries: whose turn it is, by health
CREATE INDEX origins_ready ON origins (health, ready_at) WHERE ready_at IS NOT NULL;
-- claim_deliveries: how much is in flight, by health
CREATE INDEX origins_in_flight ON origins (health, in_flight) WHERE in_flight > 0;

-- A person who may answer approvals.
CREATE TABLE members (
    id             INTEGER PRIMARY KEY,
    member_id      BLOB    NOT NULL UNIQUE CHECK (length(member_id) = 16),
    name           TEXT    NOT NULL,
    email          TEXT    COLLATE NOCASE,
    telegram_chat  TEXT,
    webhook_url    TEXT,
    language       TEXT    NOT NULL DEFAULT 'en',
    active         INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    delegate       INTEGER REFERENCES members (id),     -- who answers for this person
    delegate_until INTEGER,                             -- and until when
    created_at     INTEGER NOT NULL,
    deleted_at     INTEGER,
    CHECK ((delegate IS NULL) = (delegate_until IS NULL))
) STRICT;
-- put_member, ask: an address stands for one person
CREATE UNIQUE INDEX members_email ON members (email) WHERE email IS NOT NULL AND deleted_at IS NULL;

-- A question that a run waits for. `ask` is what was asked, rendered, as it was shown; it never changes.
CREATE TABLE approvals (
    id          INTEGER PRIMARY KEY,
    approval_id BLOB    NOT NULL UNIQUE CHECK (length(approval_id) = 16),
    run         INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    path        TEXT    NOT NULL,                       -- the step that asks
    status      TEXT    NOT NULL CHECK (status IN ('pending', 'approved', 'rejected', 'answered', 'timed_out',
                                                   'cancelled')),
    ask         TEXT    NOT NULL CHECK (json_valid(ask)),
    link_ttl    INTEGER NOT NULL CHECK (link_ttl >= 0), -- how long a link in a message is good for, in ms
    requester   TEXT,                                   -- the run's user, who may be excluded
    output      TEXT    CHECK (output IS NULL OR json_valid(output)),   -- the step's, once it is decided
    expires_at  INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    decided_at  INTEGER,
    UNIQUE (run, path),
    CHECK ((status = 'pending') = (decided_at IS NULL))
) STRICT;
-- list_approvals: what waits, overdue first
CREATE INDEX approvals_pending ON approvals (expires_at) WHERE status = 'pending';

-- Who may answer an approval, and how it came to that.
CREATE TABLE recipients (
    approval   INTEGER NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
    member     INTEGER NOT NULL REFERENCES members (id),
    because    TEXT    NOT NULL CHECK (because IN ('asked', 'escalated', 'reassigned')),
    rank       INTEGER NOT NULL CHECK (rank >= 0),      -- the order in which they came to it
    since      INTEGER NOT NULL,
    until      INTEGER,                                 -- reassigned to another
    PRIMARY KEY (approval, member)
) STRICT, WITHOUT ROWID;
-- list_approvals: those of one person
CREATE INDEX recipients_member ON recipients (member);

-- What one person answered: the first counts.
CREATE TABLE answers (
    id       INTEGER PRIMARY KEY,
    approval INTEGER NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
    person   TEXT    NOT NULL,                          -- 'mem_…', or 'name:…' where anyone may answer
    hand     TEXT    NOT NULL,                          -- whose hand it was: the person's, or a delegate's
    by       TEXT    NOT NULL,                          -- as people know them
    via      TEXT    NOT NULL,                          -- 'link', 'open link', 'key NAME', 'admin key'
    answer   TEXT    NOT NULL CHECK (json_valid(answer)),
    comment  TEXT,
    at       INTEGER NOT NULL,
    UNIQUE (approval, person),
    UNIQUE (approval, hand)
) STRICT;

-- What time brings to a pending approval.
CREATE TABLE approval_timers (
    id       INTEGER PRIMARY KEY,
    approval INTEGER NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
    what     TEXT    NOT NULL CHECK (what IN ('remind', 'escalate', 'expire')),
    due_at   INTEGER NOT NULL
) STRICT;
-- fire_timers: rows go when they have fired, or when the approval is decided
CREATE INDEX approval_timers_due ON approval_timers (due_at);
CREATE INDEX approval_timers_approval ON approval_timers (approval);

-- A link that was handed out. Only its hash is kept.
CREATE TABLE links (
    hash       BLOB    PRIMARY KEY CHECK (length(hash) = 32),   -- SHA-256 of the token
    approval   INTEGER NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
    member     INTEGER REFERENCES members (id),         -- whose it is; NULL: made for an administrator
    minted_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    viewed_at  INTEGER                                  -- when a view was last noted in the audit
) STRICT, WITHOUT ROWID;
-- fresh_link: how many a person has had
CREATE INDEX links_approval ON links (approval, member, minted_at);

-- What was refused of an approval, and when that was last noted in the audit: a reason is noted once an hour.
CREATE TABLE refusals (
    approval INTEGER NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
    source   BLOB    NOT NULL CHECK (length(source) IN (0, 32)),   -- the link's hash; empty: a key
    why      TEXT    NOT NULL,
    noted_at INTEGER NOT NULL,
    PRIMARY KEY (approval, source, why)
) STRICT, WITHOUT ROWID;

-- One event owed to a URL: a callback, or a notification to a person. The body of a callback is sent byte-identical on
-- every attempt; that of a notification says what is told, and the link is put in when an attempt is claimed.
CREATE TABLE deliveries (
    id               INTEGER PRIMARY KEY,
    delivery_id      BLOB    NOT NULL UNIQUE CHECK (length(delivery_id) = 16),
    run              INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    event_id         TEXT    NOT NULL,                  -- one final event a run: both ids follow from the run's
    event_type       TEXT    NOT NULL CHECK (event_type = 'workflow.completed' OR event_type = 'workflow.failed'
                                             OR event_type = 'workflow.cancelled' OR event_type = 'approval.requested'
                                             OR event_type = 'approval.reminder' OR event_type = 'approval.escalated'
                                             OR event_type = 'approval.resent'),
    channel          TEXT    NOT NULL DEFAULT 'callback' CHECK (channel = 'callback' OR channel = 'email'
                                                                OR channel = 'telegram' OR channel = 'webhook'),
    approval         INTEGER REFERENCES approvals (id) ON DELETE CASCADE,   -- what a notification is about
    member           INTEGER REFERENCES members (id),   -- and whom it tells
    url              TEXT    NOT NULL,
    origin           INTEGER NOT NULL REFERENCES origins (id),
    body             TEXT    NOT NULL,
    status           TEXT    NOT NULL CHECK (status = 'pending' OR status = 'delivering' OR status = 'delivered'
                                             OR status = 'dead' OR status = 'gone' OR status = 'cancelled'),
    failures         INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),   -- of the present budget
    class            TEXT,                              -- of the last attempt's failure; NULL: it did not fail
    trigger          TEXT    NOT NULL DEFAULT 'automatic' CHECK (trigger IN ('automatic', 'manual')),
    next_attempt_at  INTEGER,
    created_at       INTEGER NOT NULL,
    ended_at         INTEGER,
    claim_token      INTEGER,
    claim_expires_at INTEGER,
    CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL)),
    CHECK ((status = 'delivering') = (claim_token IS NOT NULL)),
    CHECK ((claim_token IS NULL) = (claim_expires_at IS NULL)),
    CHECK ((status IN ('pending', 'delivering')) = (ended_at IS NULL)),
    CHECK ((channel = 'callback') = (approval IS NULL)),
    CHECK ((approval IS NULL) = (member IS NULL))
) STRICT;
-- decide_approval: what is still owed for it is taken back
CREATE INDEX deliveries_approval ON deliveries (approval) WHERE approval IS NOT NULL;
-- show_run, prune_runs
CREATE INDEX deliveries_run ON deliveries (run);
-- claim_deliveries: the most overdue of an origin
CREATE INDEX deliveries_due ON deliveries (origin, next_attempt_at) WHERE status = 'pending';
-- expire_claims
CREATE INDEX deliveries_sending ON deliveries (claim_expires_at) WHERE status = 'delivering';

-- The same as `facets` of deliveries: which blocks of 1,024 (deliveries.id >> 10) may hold a value.
CREATE TABLE delivery_facets (
    facet INTEGER NOT NULL,
    value TEXT    NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (facet, value, block)
) STRICT, WITHOUT ROWID;
-- prune: the notes of blocks whose deliveries are gone
CREATE INDEX delivery_facets_block ON delivery_facets (block);

-- One try of a delivery. Written before a byte is sent.
CREATE TABLE attempts (
    id                INTEGER PRIMARY KEY,
    delivery          INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    number            INTEGER NOT NULL CHECK (number > 0),
    trigger           TEXT    NOT NULL CHECK (trigger IN ('automatic', 'manual')),
    started_at        INTEGER NOT NULL,
    duration_ms       INTEGER,                          -- NULL: in flight
    dns_ms            INTEGER,
    connect_ms        INTEGER,
    tls_ms            INTEGER,
    first_byte_ms     INTEGER,
    remote_address    TEXT,
    request_headers   TEXT    CHECK (request_headers IS NULL OR json_valid(request_headers)),
    response_status   INTEGER,
    response_headers  TEXT    CHECK (response_headers IS NULL OR json_valid(response_headers)),
    response_body     BLOB,
    truncated         INTEGER NOT NULL DEFAULT 0 CHECK (truncated IN (0, 1)),
    bytes_seen        INTEGER,
    error_class       TEXT    CHECK (error_class = 'dns' OR error_class = 'connect' OR error_class = 'tls'
                                     OR error_class = 'timeout' OR error_class = 'reset'
                                     OR error_class = 'forbidden_address' OR error_class = 'http_status'
                                     OR error_class = 'smtp_status' OR error_class = 'interrupted'),
    error             TEXT,
    UNIQUE (delivery, number),
    CHECK ((error_class IS NULL) = (error IS NULL))
) STRICT;

-- Something that is done to every run, or delivery, that a filter matches; a part of it a commit.
CREATE TABLE jobs (
    id         INTEGER PRIMARY KEY,
    job_id     BLOB    NOT NULL UNIQUE CHECK (length(job_id) = 16),
    action     TEXT    NOT NULL CHECK (action IN ('cancel_runs', 'retry_runs', 'redeliver')),
    status     TEXT    NOT NULL CHECK (status IN ('running', 'completed', 'cancelled')),
    work       TEXT    NOT NULL CHECK (json_valid(work)),   -- what is done, and to which
    by         TEXT    NOT NULL,                        -- who asked for it
    below      INTEGER NOT NULL CHECK (below >= 0),     -- rows below this one are still to be looked at
    count      INTEGER,                                 -- how many matched when it was asked for, if they were counted
    done       INTEGER NOT NULL DEFAULT 0 CHECK (done >= 0),
    skipped    INTEGER NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    failed     INTEGER NOT NULL DEFAULT 0 CHECK (failed >= 0),
    created_at INTEGER NOT NULL,
    ended_at   INTEGER,
    CHECK ((status = 'running') = (ended_at IS NULL)),
    CHECK (status <> 'completed' OR below = 0)
) STRICT;
-- running_jobs
CREATE INDEX jobs_running ON jobs (id) WHERE status = 'running';
-- start_job: those that are kept no longer
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at IS NOT NULL;

-- Who changed what. Written in the commit of the change.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    address TEXT,
    action  TEXT    NOT NULL,
    target  TEXT    NOT NULL,
    detail  TEXT    CHECK (detail IS NULL OR json_valid(detail)),
    hash    BLOB    NOT NULL CHECK (length(hash) = 32)  -- HMAC over the row and the hash before it
) STRICT;
CREATE TRIGGER audit_stands BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;

-- What this file alone knows: the key of form tokens and of the audit's chain, and where that chain ends.
CREATE TABLE instance (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    key        BLOB    NOT NULL,                        -- sealed; 32 random bytes
    audit_rows INTEGER NOT NULL DEFAULT 0,
    audit_mac  BLOB                                     -- HMAC over the number of rows and the last hash
) STRICT;
