//! The embedded store: one SQLite file.
//!
//! ```text
//!  txn() --\                       writer thread: takes what has queued up, commits it as
//!  txn() ---+-- bounded channel --> one SQLite transaction (one fsync), answers each caller
//!  txn() --/
//!  get(), range(), changes() --> a second connection, on the blocking pool; WAL readers never wait for the writer
//! ```

use super::{Change, Changes, Committed, Entry, Store, StoreError, StoreRevision, Timings, Txn, check_sizes, prefix_end, schema};
use crate::clock;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};

/// Transactions that share one commit at most: enough to make the fsync cheap, few enough to keep the first one's wait short.
const GROUP_MAX_TXNS: usize = 64;
/// Transactions that wait for the writer before callers wait for room.
const QUEUE_MAX_TXNS: usize = 256;

struct Job {
    txn: Txn,
    answer: oneshot::Sender<Result<Committed, StoreError>>,
}

/// The store in one SQLite file.
pub(super) struct SqliteStore {
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    reader: Arc<Mutex<Connection>>,
    newest: watch::Sender<StoreRevision>,
    timings: Arc<SharedTimings>,
    /// Deletions up to this revision are forgotten.
    compacted: StoreRevision,
}

#[derive(Default)]
struct SharedTimings {
    commits: AtomicU64,
    commit_us: AtomicU64,
    transactions: AtomicU64,
}

impl SqliteStore {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = schema::connect(path)?;
        let revision = schema::prepare(&mut connection, path)?;
        let reader = Arc::new(Mutex::new(schema::connect(path)?));
        let newest = watch::Sender::new(revision);
        let timings = Arc::new(SharedTimings::default());
        let (jobs, queue) = mpsc::channel(QUEUE_MAX_TXNS);
        let writer = Writer { connection, newest: newest.clone(), timings: Arc::clone(&timings) };
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|e| StoreError::engine("start the writer thread", e))?;
        Ok(Self { jobs: Some(jobs), writer: Some(writer), reader, newest, timings, compacted: revision })
    }

    /// Runs `read` on the reading connection, off the event loop, inside one read transaction.
    fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let reader = Arc::clone(&self.reader);
        Box::pin(async move {
            tokio::task::spawn_blocking(move || {
                // A panic while reading leaves nothing half-done in a connection.
                let mut connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
                let txn = connection.transaction()?;
                read(&txn)
            })
            .await
            .map_err(|_| StoreError::Closed)?
            .map_err(|e| StoreError::engine(operation, e))
        })
    }
}

impl Store for SqliteStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        let key = key.to_owned();
        self.read("read a key", move |txn| {
            txn.prepare_cached("SELECT key, value, revision FROM entry WHERE key = ?1 AND value IS NOT NULL")?
                .query_row([key], entry)
                .optional()
        })
    }

    fn range<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        let (from, to) = (prefix.to_owned(), prefix_end(prefix));
        self.read("read a range", move |txn| {
            let sql = "SELECT key, value, revision FROM entry WHERE key >= ?1 AND key < ?2 AND value IS NOT NULL ORDER BY key";
            txn.prepare_cached(sql)?.query_map([from, to], entry)?.collect()
        })
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Box::pin(async move {
            check_sizes(&txn)?;
            let (answer, answered) = oneshot::channel();
            let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
            jobs.send(Job { txn, answer }).await.map_err(|_| StoreError::Closed)?;
            answered.await.map_err(|_| StoreError::Closed)?
        })
    }

    fn changes<'a>(&'a self, since: StoreRevision, prefixes: &'a [&'a str]) -> BoxFuture<'a, Result<Changes, StoreError>> {
        let ranges: Vec<_> = prefixes.iter().map(|p| ((*p).to_owned(), prefix_end(p))).collect();
        if since > 0 && since < self.compacted {
            return Box::pin(std::future::ready(Err(StoreError::Compacted { since })));
        }
        self.read("read changes", move |txn| {
            let mut changes: Vec<Change> = Vec::new();
            let sql = "SELECT key, value, revision FROM entry INDEXED BY entry_by_revision
                       WHERE revision > ?1 AND key >= ?2 AND key < ?3 AND (value IS NOT NULL OR ?1 > 0)";
            let mut statement = txn.prepare_cached(sql)?;
            for (from, to) in ranges {
                for change in statement.query_map(params![since as i64, from, to], change)? {
                    changes.push(change?);
                }
            }
            changes.sort_by_key(|change| change.revision);
            let revision: i64 = txn.prepare_cached("SELECT revision FROM newest")?.query_row([], |row| row.get(0))?;
            Ok(Changes { changes, revision: revision as u64 })
        })
    }

    fn watch(&self) -> watch::Receiver<StoreRevision> {
        self.newest.subscribe()
    }

    fn timings(&self) -> Timings {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let t = &self.timings;
        Timings { commits: read(&t.commits), commit_us: read(&t.commit_us), transactions: read(&t.transactions) }
    }
}

impl Drop for SqliteStore {
    /// Lets the writer finish what it took, so that the file is closed when the store is gone.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer thread had panicked");
        }
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let (value, revision): (Vec<u8>, i64) = (row.get(1)?, row.get(2)?);
    Ok(Entry { key: row.get(0)?, value: Bytes::from(value), revision: revision as u64 })
}

fn change(row: &Row<'_>) -> rusqlite::Result<Change> {
    let (value, revision): (Option<Vec<u8>>, i64) = (row.get(1)?, row.get(2)?);
    Ok(Change { key: row.get(0)?, value: value.map(Bytes::from), revision: revision as u64 })
}

struct Writer {
    connection: Connection,
    newest: watch::Sender<StoreRevision>,
    timings: Arc<SharedTimings>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX_TXNS
                && let Ok(job) = queue.try_recv()
            {
                group.push(job);
            }
            self.commit_group(group);
        }
    }

    fn commit_group(&mut self, group: Vec<Job>) {
        let started = clock::moment();
        let outcome = self.write_group(&group);
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.timings.commits.fetch_add(1, Ordering::Relaxed);
        self.timings.commit_us.fetch_add(took, Ordering::Relaxed);
        self.timings.transactions.fetch_add(group.len() as u64, Ordering::Relaxed);
        match outcome {
            Ok((committed, newest)) => {
                self.newest.send_replace(newest);
                for (job, committed) in group.into_iter().zip(committed) {
                    // The caller may have gone; the write stands all the same.
                    let _ = job.answer.send(Ok(committed));
                }
            }
            Err(error) => {
                let message = error.to_string();
                tracing::error!(error = %message, transactions = group.len(), "commit failed");
                for job in group {
                    let _ = job.answer.send(Err(StoreError::engine("commit", message.clone())));
                }
            }
        }
    }

    fn write_group(&mut self, group: &[Job]) -> rusqlite::Result<(Vec<Committed>, StoreRevision)> {
        let txn = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut newest: i64 = txn.prepare_cached("SELECT revision FROM newest")?.query_row([], |row| row.get(0))?;
        let mut committed = Vec::with_capacity(group.len());
        for job in group {
            if is_as_expected(&txn, &job.txn)? {
                newest += 1;
                write_one(&txn, &job.txn, newest)?;
                committed.push(Committed::Yes(newest as u64));
            } else {
                committed.push(Committed::Conflict);
            }
        }
        txn.prepare_cached("UPDATE newest SET revision = ?1")?.execute([newest])?;
        txn.commit()?;
        Ok((committed, newest as u64))
    }
}

fn is_as_expected(txn: &Transaction<'_>, wanted: &Txn) -> rusqlite::Result<bool> {
    let mut statement = txn.prepare_cached("SELECT revision FROM entry WHERE key = ?1 AND value IS NOT NULL")?;
    for expect in &wanted.expects {
        let found: Option<i64> = statement.query_row([&expect.key], |row| row.get(0)).optional()?;
        if found.map(|revision| revision as u64) != expect.revision {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_one(txn: &Transaction<'_>, wanted: &Txn, revision: i64) -> rusqlite::Result<()> {
    let mut statement = txn.prepare_cached("INSERT OR REPLACE INTO entry (key, value, revision) VALUES (?1, ?2, ?3)")?;
    for write in &wanted.writes {
        statement.execute(params![write.key, write.value.as_deref(), revision])?;
    }
    Ok(())
}
