//! What SQLite itself allows on a disk: a bare queue, with the settings of Skep's own connection and nothing of Skep.
//!
//! For `skep bench`, which holds Skep's figures against it. Never touches Skep's own file.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crossbeam_channel::{Receiver, Sender};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use crate::error::{Error, Result};
use crate::store::open;

const SCHEMA: &str = include_str!("yardstick.sql");

const INSERT: &str = "INSERT INTO jobs (queue, state, priority, run_at, created, payload)
    VALUES ('q', 0, 0, ?1, ?1, ?2)";
const CLAIM: &str = "UPDATE jobs SET state = 1, attempts = attempts + 1, lease = ?1, owner = 1
    WHERE id IN (SELECT id FROM jobs WHERE state = 0 AND queue = 'q' AND run_at <= ?1
                 ORDER BY priority DESC, run_at, id LIMIT ?2)
    RETURNING id, payload";
const FINISH: &str = "UPDATE jobs SET state = 2, finished = ?1, lease = NULL, result = 'null'
    WHERE id = ?2 AND state = 1";

/// The most jobs in one commit.
const MOST: usize = 1_024;

/// A bare queue in a file of its own, with one connection.
#[derive(Debug)]
pub struct Yardstick {
    conn: Connection,
    job: String,
    now: i64,
}

impl Yardstick {
    /// Makes the file; its jobs hold 200 bytes each.
    ///
    /// # Errors
    /// If the file is there already, or cannot be made.
    pub fn create(path: &Path) -> Result<Yardstick> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|fault| {
                Error::unavailable(format!("cannot make {}: {fault}", path.display()))
            })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        open::shape(&conn)?;
        open::settings(&conn)?;
        conn.execute_batch(SCHEMA)?;
        let job = format!(
            "{{\"to\":\"a@example.com\",\"body\":\"{}\"}}",
            "x".repeat(200 - 32)
        );
        Ok(Yardstick { conn, job, now: 0 })
    }

    /// So many new jobs in one commit; on disk when this returns.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn insert(&mut self, jobs: usize) -> Result<()> {
        self.now += 1;
        let tx = begin(&mut self.conn)?;
        {
            let mut insert = tx.prepare_cached(INSERT)?;
            for _ in 0..jobs {
                insert.execute(params![self.now, self.job])?;
            }
        }
        Ok(tx.commit()?)
    }

    /// The whole life of so many jobs: inserted in one commit, claimed in one, finished in one.
    ///
    /// # Errors
    /// If they cannot be written, or not all were there to be claimed.
    pub fn life(&mut self, jobs: usize) -> Result<()> {
        self.insert(jobs)?;
        let tx = begin(&mut self.conn)?;
        let ids: Vec<i64> = tx
            .prepare_cached(CLAIM)?
            .query_map(params![self.now, jobs as i64], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        tx.commit()?;
        let tx = begin(&mut self.conn)?;
        let mut finished = 0;
        {
            let mut finish = tx.prepare_cached(FINISH)?;
            for id in &ids {
                finished += finish.execute(params![self.now, id])?;
            }
        }
        tx.commit()?;
        if finished != jobs {
            return Err(Error::internal(format!("{finished} of {jobs} jobs ended")));
        }
        Ok(())
    }

    /// Writes a job for everyone who sends, as many in one commit as are waiting, and answers each after it. Ends when
    /// all senders are gone; how many jobs were written.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn serve(&mut self, waiting: &Receiver<Sender<()>>) -> Result<usize> {
        let mut callers = Vec::with_capacity(MOST);
        let mut jobs = 0;
        while let Ok(first) = waiting.recv() {
            callers.push(first);
            let tx = begin(&mut self.conn)?;
            {
                let mut insert = tx.prepare_cached(INSERT)?;
                let mut done = 0;
                while done < callers.len() {
                    insert.execute(params![self.now, self.job])?;
                    done += 1;
                    if done < MOST
                        && let Ok(next) = waiting.try_recv()
                    {
                        callers.push(next);
                    }
                }
            }
            tx.commit()?;
            jobs += callers.len();
            for caller in callers.drain(..) {
                // It may have gone meanwhile.
                let _ = caller.send(());
            }
        }
        Ok(jobs)
    }
}

fn begin(conn: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    conn.transaction_with_behavior(TransactionBehavior::Immediate)
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    fn counted(yardstick: &Yardstick, state: i64) -> i64 {
        yardstick
            .conn
            .query_row(
                "SELECT count(*) FROM jobs WHERE state = ?1",
                [state],
                |row| row.get(0),
            )
            .expect("it can be read")
    }

    #[test]
    fn its_commits_are_as_durable_as_skep_s() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let yardstick = Yardstick::create(&folder.path().join("a.db")).expect("it is writable");
        let number = |pragma: &str| -> i64 {
            let sql = format!("PRAGMA {pragma}");
            yardstick
                .conn
                .query_row(&sql, [], |row| row.get(0))
                .expect("it can be read")
        };
        assert_eq!(number("synchronous"), 2);
        assert_eq!(number("wal_autocheckpoint"), 1_000);
        Yardstick::create(&folder.path().join("a.db")).expect_err("the name is taken");
    }

    #[test]
    fn a_job_s_life_ends_and_every_sender_is_answered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut yardstick = Yardstick::create(&folder.path().join("a.db")).expect("writable");
        yardstick.life(64).expect("it can be written");
        yardstick.insert(3).expect("it can be written");
        assert_eq!((counted(&yardstick, 2), counted(&yardstick, 0)), (64, 3));
        assert_eq!(yardstick.job.len(), 200);

        let (sender, waiting) = bounded(8);
        let (caller, answers) = bounded(8);
        for _ in 0..8 {
            sender.send(caller.clone()).expect("there is room");
        }
        drop(sender);
        assert_eq!(yardstick.serve(&waiting).expect("it can be written"), 8);
        assert_eq!((answers.len(), counted(&yardstick, 0)), (8, 11));
    }
}
