//! One cache: its store, its record, and who has its turn.

use super::record::{MountRecord, Record};
use super::words;
use coord_cache::{Amount, Budget, CacheError, Counts, Quota, Store};
use coord_shared::decide::{Now, nested};
use coord_shared::names::CacheName;
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CacheKind, CacheView};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedMutexGuard, RwLock, watch};

/// See above.
pub(super) struct One {
    pub(super) name: CacheName,
    pub(super) folder: PathBuf,
    /// A live one has a store, too, which stays empty: its record is there.
    pub(super) store: Store,
    record: Mutex<Record>,
    /// What it may hold by itself.
    own: Option<Arc<Quota>>,
    /// What all caches of the container may.
    all: Arc<Quota>,
    /// What of these it has been counted with.
    settled: Mutex<Amount>,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Held by puts; whoever deletes it waits for them.
    pub(super) puts: Arc<RwLock<()>>,
    /// It is being deleted.
    pub(super) is_gone: watch::Sender<bool>,
}

/// The right to change it.
pub(super) type Turn = OwnedMutexGuard<()>;

impl One {
    /// A new one, in a folder that is not there yet.
    pub(super) fn create(name: CacheName, folder: &Path, record: Record, all: &Arc<Quota>) -> Result<One, CacheError> {
        let store = Store::create(folder, &to_notes(&record)?)?;
        Ok(One::with(name, folder, store, record, all))
    }

    /// One that is there; none if it was never whole.
    pub(super) fn open(name: CacheName, folder: &Path, all: &Arc<Quota>) -> Result<Option<One>, CacheError> {
        let notes = Store::notes(folder)?;
        let record: Record = serde_json::from_slice(&notes).map_err(|_| CacheError::List { line: 0 })?;
        if !record.is_ready {
            return Ok(None);
        }
        let store = Store::open(folder, &record.generations())?;
        let one = One::with(name, folder, store, record, all);
        one.settle();
        Ok(Some(one))
    }

    fn with(name: CacheName, folder: &Path, store: Store, record: Record, all: &Arc<Quota>) -> One {
        let limit = record.size.map(|size| (size.0, format!("the {size} that this cache may hold")));
        One {
            name,
            folder: folder.to_path_buf(),
            store,
            record: Mutex::new(record),
            own: limit.map(|limit| Arc::new(Quota::new(Some(limit), None))),
            all: Arc::clone(all),
            settled: Mutex::default(),
            turn: Arc::default(),
            puts: Arc::default(),
            is_gone: watch::Sender::new(false),
        }
    }

    pub(super) fn view(&self, now: Now) -> CacheView {
        let record = self.record();
        let counts = self.store.counts();
        let (files, bytes) = if record.kind == CacheKind::Live { record.seen } else { (counts.files, counts.bytes) };
        CacheView {
            name: self.name.clone(),
            path: record.path.clone(),
            kind: record.kind,
            because: record.because.clone(),
            from: record.from.clone(),
            files,
            bytes,
            created_at: record.created_at,
            used_at: record.used_at,
            expires_at: nested::expires_at(&record.life(), now),
            used_by: record.children(),
        }
    }

    /// Waits for the right to change it.
    pub(super) async fn turn(&self) -> Result<Turn, ErrorBody> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if *self.is_gone.borrow() { Err(words::no_such_cache(&self.name)) } else { Ok(turn) }
    }

    /// As it is now.
    pub(super) fn record(&self) -> Record {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the record, and writes it down. With its turn only.
    pub(super) fn change(&self, _turn: &Turn, change: impl FnOnce(&mut Record)) -> Result<(), CacheError> {
        let notes = {
            let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut record);
            to_notes(&record)?
        };
        self.store.write_notes(&notes)
    }

    /// The same where it must go on: what is not written down is found out again by an agent that starts.
    pub(super) fn change_anyway(&self, turn: &Turn, change: impl FnOnce(&mut Record)) {
        if let Err(error) = self.change(turn, change) {
            tracing::warn!(cache = %self.name, %error, "a change of a file cache is not written down");
        }
    }

    /// A live one was looked at.
    pub(super) fn saw(&self, counts: Counts) {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).seen = (counts.files, counts.bytes);
    }

    /// It is whole, and counts from here on. Until this is written down, an agent that starts deletes it.
    pub(super) fn make_ready(&self) -> Result<(), CacheError> {
        self.settle();
        let notes = {
            let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            record.is_ready = true;
            to_notes(&record)?
        };
        self.store.write_notes(&notes)
    }

    /// The list is made anew if a container was allowed to write since it was made.
    pub(super) fn refresh(&self, turn: &Turn) -> Result<(), CacheError> {
        let record = self.record();
        if !record.is_list_old || record.kind == CacheKind::Live {
            return Ok(());
        }
        self.store.rescan()?;
        self.settle();
        // As long as somebody may write, it is old again.
        if record.writers().is_empty() {
            self.change_anyway(turn, |record| record.is_list_old = false);
        }
        Ok(())
    }

    /// What a put may take.
    pub(super) fn budget(&self) -> Budget {
        Budget::new(self.own.iter().chain([&self.all]).cloned().collect())
    }

    /// Whether it, or all caches together, hold more than they may; in words. Only who writes into a cache gets so far.
    pub(super) fn is_over(&self) -> Option<String> {
        self.own.iter().chain([&self.all]).find_map(|quota| quota.is_over()).map(str::to_owned)
    }

    /// What it holds counts from here on.
    pub(super) fn settle(&self) {
        self.settle_as(self.store.amount());
    }

    /// So much of it counts from here on.
    pub(super) fn settle_as(&self, amount: Amount) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        self.own.iter().chain([&self.all]).for_each(|quota| quota.settle(*settled, amount));
        *settled = amount;
    }

    /// A container mounts it no more.
    pub(super) fn unmount(&self, turn: &Turn, is_gone: impl Fn(&MountRecord) -> bool, now: Now) {
        let before = self.record();
        let was_written = before.mounts.iter().any(|mount| is_gone(mount) && !mount.read_only);
        self.change_anyway(turn, |record| {
            record.mounts.retain(|mount| !is_gone(mount));
            record.touch(now);
            record.is_list_old |= was_written;
        });
        let still = self.record().generations();
        for generation in before.generations().difference(&still) {
            if *generation != self.store.current() {
                self.store.release(*generation);
            }
        }
        self.settle();
        if was_written && let Err(error) = self.refresh(turn) {
            tracing::warn!(cache = %self.name, %error, "what a container wrote into a file cache cannot be listed");
        }
    }
}

fn to_notes(record: &Record) -> Result<Vec<u8>, CacheError> {
    serde_json::to_vec(record).map_err(|_| CacheError::List { line: 0 })
}
