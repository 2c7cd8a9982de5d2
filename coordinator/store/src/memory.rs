//! The store in memory: for tests and simulations, and the shortest statement of what an engine must do.

use super::{Change, Changes, Committed, Entry, Store, StoreError, StoreRevision, Txn, check_sizes};
use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A store that forgets everything when it is dropped.
pub struct MemoryStore {
    keys: Mutex<BTreeMap<String, (StoreRevision, Option<Bytes>)>>,
    newest: watch::Sender<StoreRevision>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { keys: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl MemoryStore {
    fn keys(&self) -> MutexGuard<'_, BTreeMap<String, (StoreRevision, Option<Bytes>)>> {
        // No code panics between two changes of the map, so what a poisoned lock guards is whole.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, txn: Txn) -> Result<Committed, StoreError> {
        check_sizes(&txn)?;
        let mut keys = self.keys();
        let present = |key: &str| keys.get(key).filter(|(_, value)| value.is_some()).map(|(revision, _)| *revision);
        if txn.expects.iter().any(|expect| present(&expect.key) != expect.revision) {
            return Ok(Committed::Conflict);
        }
        let revision = *self.newest.borrow() + 1;
        for write in txn.writes {
            keys.insert(write.key, (revision, write.value));
        }
        drop(keys);
        self.newest.send_replace(revision);
        Ok(Committed::Yes(revision))
    }

    fn range_now(&self, prefix: &str) -> Vec<Entry> {
        let keys = self.keys();
        let under = keys.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        under
            .filter_map(|(key, (revision, value))| {
                value.clone().map(|value| Entry { key: key.clone(), value, revision: *revision })
            })
            .collect()
    }

    fn changes_now(&self, since: StoreRevision, prefixes: &[&str]) -> Changes {
        let keys = self.keys();
        let mut changes: Vec<Change> = keys
            .iter()
            .filter(|(key, (revision, value))| {
                *revision > since && prefixes.iter().any(|p| key.starts_with(p)) && (since > 0 || value.is_some())
            })
            .map(|(key, (revision, value))| Change { key: key.clone(), value: value.clone(), revision: *revision })
            .collect();
        changes.sort_by_key(|change| change.revision);
        Changes { changes, revision: *self.newest.borrow() }
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        let entry = self
            .keys()
            .get(key)
            .and_then(|(revision, value)| value.clone().map(|value| Entry { key: key.to_owned(), value, revision: *revision }));
        Box::pin(ready(Ok(entry)))
    }

    fn range<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        Box::pin(ready(Ok(self.range_now(prefix))))
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Box::pin(ready(self.commit(txn)))
    }

    fn changes<'a>(&'a self, since: StoreRevision, prefixes: &'a [&'a str]) -> BoxFuture<'a, Result<Changes, StoreError>> {
        Box::pin(ready(Ok(self.changes_now(since, prefixes))))
    }

    fn watch(&self) -> watch::Receiver<StoreRevision> {
        self.newest.subscribe()
    }
}
