//! A store that fails on demand: what callers do when the disk is full, or when a commit's answer is lost, is tested with it.

use super::{Changes, Committed, Entry, SharedStore, Store, StoreError, StoreRevision, Txn};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// What shall go wrong with one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It fails, and nothing is written.
    Fail,
    /// It is written, and the answer is lost.
    LoseAnswer,
    /// It is refused as if another writer had been faster.
    Conflict,
}

/// Another engine with faults before its transactions.
pub struct FaultyStore {
    inner: SharedStore,
    plan: Mutex<VecDeque<Fault>>,
}

impl FaultyStore {
    /// Wraps `inner`; works like it until told otherwise.
    pub fn new(inner: SharedStore) -> Self {
        Self { inner, plan: Mutex::default() }
    }

    /// Plans faults for the next transactions, one each, after those already planned.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    fn next_fault(&self) -> Fault {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(Fault::None)
    }
}

impl Store for FaultyStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        self.inner.get(key)
    }

    fn range<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        self.inner.range(prefix)
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Box::pin(async move {
            match self.next_fault() {
                Fault::None => self.inner.txn(txn).await,
                Fault::Fail => Err(StoreError::engine("commit", "planned fault")),
                Fault::LoseAnswer => {
                    self.inner.txn(txn).await?;
                    Err(StoreError::engine("hear of a commit", "planned fault"))
                }
                Fault::Conflict => Ok(Committed::Conflict),
            }
        })
    }

    fn changes<'a>(&'a self, since: StoreRevision, prefixes: &'a [&'a str]) -> BoxFuture<'a, Result<Changes, StoreError>> {
        self.inner.changes(since, prefixes)
    }

    fn watch(&self) -> watch::Receiver<StoreRevision> {
        self.inner.watch()
    }
}
