//! The store: everything that a restart needs, behind one small trait.
//!
//! Keys are paths, values are bytes, and every transaction gets the next number of one counter (the store's revision). Four
//! operations are enough: read one key, read a prefix, compare-and-set several keys at once, and learn what has changed since a
//! revision. The last is level-triggered: a reader that slept gets each changed key once, with its newest value, so no queue can
//! overflow and none has to be sized.
//!
//! Engines are named only in [`open`] and in the conformance suite. Deliberately absent: heartbeats (liveness is memory), leases,
//! and any knowledge of what the values mean.

mod clock;
mod faulty;
mod memory;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;

pub use faulty::{Fault, FaultyStore};
pub use memory::MemoryStore;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// The number of a transaction; 0 before the first.
pub type StoreRevision = u64;

/// Longest value, in bytes: a document of the largest size with everything said about it, several times over.
pub const VALUE_MAX_BYTES: usize = 1024 * 1024;

/// One key and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// What it holds.
    pub value: Bytes,
    /// The transaction that wrote it.
    pub revision: StoreRevision,
}

/// What a transaction expects to find; nothing is written unless all of it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// The key.
    pub key: String,
    /// The transaction that wrote its value; `None`: there must be none.
    pub revision: Option<StoreRevision>,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: String,
    /// What it shall hold; `None` deletes it.
    pub value: Option<Bytes>,
}

/// A compare-and-set over several keys: all or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must be so.
    pub expects: Vec<Expect>,
    /// What is then written.
    pub writes: Vec<Write>,
}

impl Txn {
    /// Demands that `key` was last written by transaction `revision` (`None`: that it does not exist).
    #[must_use]
    pub fn expect(mut self, key: impl Into<String>, revision: Option<StoreRevision>) -> Self {
        self.expects.push(Expect { key: key.into(), revision });
        self
    }

    /// Writes `value` to `key`.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write { key: key.into(), value: Some(value.into()) });
        self
    }

    /// Deletes `key`, if it is there.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write { key: key.into(), value: None });
        self
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It is written and will survive a crash. The number that it got.
    Yes(StoreRevision),
    /// Something was not as expected; nothing is written. Load again.
    Conflict,
}

/// One key that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What it holds now; `None`: it is gone.
    pub value: Option<Bytes>,
    /// The transaction that changed it last.
    pub revision: StoreRevision,
}

/// What changed since some revision, seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Each changed key once, in the order of their last changes.
    pub changes: Vec<Change>,
    /// The revision of the moment: ask from here next time.
    pub revision: StoreRevision,
}

/// Why the store could not do it. Nothing was written, unless the operation is a commit whose outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("store: cannot {operation}")]
    Engine {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Written by a newer coordinator.
    #[error("store {path} has schema version {found}, and this coordinator knows up to {known}; upgrade the coordinator")]
    TooNew {
        /// The file.
        path: String,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A value is larger than anything that we would write.
    #[error("store: the value of {key} has {bytes} bytes, more than the limit of {VALUE_MAX_BYTES}")]
    TooLarge {
        /// The key.
        key: String,
        /// Its size.
        bytes: usize,
    },
    /// Changes were asked for from before the point where deletions are still known.
    #[error("store: changes since revision {since} are no longer known; read everything again")]
    Compacted {
        /// The revision asked for.
        since: StoreRevision,
    },
    /// The engine has stopped.
    #[error("store: closed")]
    Closed,
}

impl StoreError {
    fn engine(operation: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Engine { operation, source: source.into() }
    }
}

/// The four operations.
pub trait Store: Send + Sync {
    /// What `key` holds.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>>;

    /// Everything under `prefix`, in the order of the keys, seen at one moment.
    fn range<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>>;

    /// Compares and sets. When it answers `Yes`, the writes are durable.
    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, StoreError>>;

    /// What changed under any of `prefixes` after transaction `since` (0: everything there is), seen at one moment.
    fn changes<'a>(&'a self, since: StoreRevision, prefixes: &'a [&'a str]) -> BoxFuture<'a, Result<Changes, StoreError>>;

    /// The newest transaction's number, to wait for the next one.
    fn watch(&self) -> watch::Receiver<StoreRevision>;

    /// How often and how long it committed, for the metrics.
    fn timings(&self) -> Timings {
        Timings::default()
    }
}

/// Counts of an engine's commits to disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Commits to disk; several transactions may share one.
    pub commits: u64,
    /// The time that they took together, in microseconds.
    pub commit_us: u64,
    /// Transactions that they held.
    pub transactions: u64,
}

/// The store as everyone holds it.
pub type SharedStore = Arc<dyn Store>;

/// Opens the embedded store in `data_dir`, or makes it.
pub fn open(data_dir: &Path) -> Result<SharedStore, StoreError> {
    Ok(Arc::new(sqlite::SqliteStore::open(&data_dir.join("coord.sqlite"))?))
}

/// The first key after every key that starts with `prefix`; prefixes are ASCII paths, so the last byte can always grow.
fn prefix_end(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    match end.pop() {
        Some(last) => end.push(char::from_u32(u32::from(last) + 1).unwrap_or(char::MAX)),
        None => end.push(char::MAX),
    }
    end
}

fn check_sizes(txn: &Txn) -> Result<(), StoreError> {
    let too_large = |w: &&Write| w.value.as_ref().is_some_and(|v| v.len() > VALUE_MAX_BYTES);
    match txn.writes.iter().find(too_large) {
        Some(write) => Err(StoreError::TooLarge { key: write.key.clone(), bytes: write.value.as_ref().map_or(0, Bytes::len) }),
        None => Ok(()),
    }
}
