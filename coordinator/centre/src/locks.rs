//! One lock per digest: whoever places or removes its bytes has it, so that bytes and record go together.

use coord_shared::names::Digest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::OwnedMutexGuard;

/// How many locks are remembered before those that nobody holds are forgotten.
const REMEMBERED_MAX: usize = 1024;

/// Locks by digest.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    known: Mutex<BTreeMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

impl Locks {
    /// Waits for the lock of a digest.
    pub(crate) async fn lock(&self, digest: &Digest) -> OwnedMutexGuard<()> {
        let lock = self.of(digest);
        lock.lock_owned().await
    }

    fn of(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = known.get(digest).and_then(Weak::upgrade) {
            return lock;
        }
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        known.insert(digest.clone(), Arc::downgrade(&lock));
        lock
    }
}
