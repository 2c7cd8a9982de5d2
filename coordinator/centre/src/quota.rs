//! Quota: how much all blobs together may take, each counted once, and how much of the disk stays free for others.
//!
//! What is stored is known from the records and kept in memory; uploads count from their first byte, so that many at a time cannot
//! go over together. An upload that says its length is refused before it begins, any other one in its middle. Pull-through copies count
//! too; they make room by themselves (`through`).

use coord_shared::quantity::ByteSize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An upload that grows asks the disk this often: enough to stop in time, too seldom to cost anything.
const DISK_ASKED_EVERY_BYTES: u64 = 16 * 1024 * 1024;

/// What may be stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaSettings {
    /// All blobs together; absent: as much as the disk has.
    pub bytes: Option<u64>,
    /// What stays free of the disk on which uploads are staged.
    pub disk_reserve_bytes: u64,
}

/// Why there is no room, in words for whoever pushes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The quota.
    #[error(
        "the image centre is full: {} of {} are in use and {} more were to come; delete images and collect (`coordctl image rm`, `coordctl image gc`), or raise `quota` of [centre]",
        ByteSize(*used).human(), ByteSize(*quota).human(), ByteSize(*wanted).human()
    )]
    Quota {
        /// What is stored or being uploaded.
        used: u64,
        /// What may be.
        quota: u64,
        /// What was to be added.
        wanted: u64,
    },
    /// The disk.
    #[error(
        "the disk of the image centre has {} free, of which {} stay free (`disk_reserve` of [centre]), and {} more were to come; make room there",
        ByteSize(*free).human(), ByteSize(*reserve).human(), ByteSize(*wanted).human()
    )]
    Disk {
        /// What is free.
        free: u64,
        /// What stays free.
        reserve: u64,
        /// What was to be added.
        wanted: u64,
    },
}

/// Counts what is stored, and what is on its way.
#[derive(Debug, Clone)]
pub struct Quota {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: QuotaSettings,
    /// On the disk that is watched.
    dir: PathBuf,
    stored: AtomicU64,
    arriving: AtomicU64,
}

impl Quota {
    /// Of what is on the disk of `dir`; nothing is stored yet.
    pub fn new(settings: QuotaSettings, dir: &Path) -> Self {
        let inner = Inner { settings, dir: dir.to_owned(), stored: AtomicU64::new(0), arriving: AtomicU64::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// What all blobs take.
    pub fn stored(&self) -> u64 {
        self.inner.stored.load(Ordering::Acquire)
    }

    /// What they may take.
    pub fn limit(&self) -> Option<u64> {
        self.inner.settings.bytes
    }

    /// Whether `wanted` more bytes fit, of an upload that is about to begin.
    ///
    /// # Errors
    /// They do not, in words for whoever pushes.
    pub fn admit(&self, wanted: u64) -> Result<(), Full> {
        self.check_quota(wanted)?;
        self.check_disk(wanted)
    }

    /// Counts an upload that begins, of which `present` bytes are there already.
    pub fn arriving(&self, present: u64) -> Arriving {
        self.inner.arriving.fetch_add(present, Ordering::AcqRel);
        Arriving { quota: self.clone(), bytes: present, unasked: 0 }
    }

    /// A blob has a record now.
    pub fn added(&self, bytes: u64) {
        self.inner.stored.fetch_add(bytes, Ordering::AcqRel);
    }

    /// A blob's record is gone.
    pub fn removed(&self, bytes: u64) {
        let less = |stored: u64| Some(stored.saturating_sub(bytes));
        let _ = self.inner.stored.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    fn check_quota(&self, wanted: u64) -> Result<(), Full> {
        let Some(quota) = self.inner.settings.bytes else { return Ok(()) };
        let used = self.stored().saturating_add(self.inner.arriving.load(Ordering::Acquire));
        if used.saturating_add(wanted) > quota { Err(Full::Quota { used, quota, wanted }) } else { Ok(()) }
    }

    fn check_disk(&self, wanted: u64) -> Result<(), Full> {
        let reserve = self.inner.settings.disk_reserve_bytes;
        // A disk that cannot be asked will say itself when it is full.
        let Ok(disk) = rustix::fs::statvfs(&self.inner.dir) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < reserve.saturating_add(wanted) { Err(Full::Disk { free, reserve, wanted }) } else { Ok(()) }
    }
}

/// An upload that counts as it grows, and no more once it is dropped.
#[derive(Debug)]
pub struct Arriving {
    quota: Quota,
    bytes: u64,
    unasked: u64,
}

impl Arriving {
    /// Takes the next bytes in, if they fit.
    ///
    /// # Errors
    /// They do not; nothing is counted.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Full> {
        self.quota.check_quota(bytes)?;
        self.unasked += bytes;
        if self.unasked >= DISK_ASKED_EVERY_BYTES {
            self.unasked = 0;
            self.quota.check_disk(bytes)?;
        }
        self.bytes += bytes;
        self.quota.inner.arriving.fetch_add(bytes, Ordering::AcqRel);
        Ok(())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.quota.inner.arriving.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(bytes: Option<u64>, reserve: u64) -> Quota {
        let quota = Quota::new(QuotaSettings { bytes, disk_reserve_bytes: reserve }, Path::new("/"));
        quota.added(50);
        quota
    }

    #[test]
    fn uploads_at_the_same_time_do_not_go_over_together() {
        let quota = quota(Some(100), 0);
        assert_eq!(quota.admit(50), Ok(()));
        assert_eq!(quota.admit(51), Err(Full::Quota { used: 50, quota: 100, wanted: 51 }));
        let mut one = quota.arriving(0);
        let mut other = quota.arriving(10);
        one.grow(30).expect("fits");
        assert_eq!(other.grow(11), Err(Full::Quota { used: 90, quota: 100, wanted: 11 }));
        other.grow(10).expect("fits");
        drop(one);
        other.grow(30).expect("the other's room is free again");
        quota.added(50);
        drop(other);
        assert_eq!((quota.stored(), quota.admit(1).is_err()), (100, true));
        quota.removed(60);
        assert_eq!(quota.admit(60), Ok(()));
        quota.removed(1000);
        assert_eq!(quota.stored(), 0);
    }

    #[test]
    fn some_of_the_disk_stays_free() {
        let quota = quota(None, u64::MAX);
        let refusal = quota.admit(1).expect_err("no disk has that much");
        assert!(refusal.to_string().contains("`disk_reserve` of [centre]"), "{refusal}");
        let mut arriving = quota.arriving(0);
        arriving.grow(DISK_ASKED_EVERY_BYTES - 1).expect("the disk is not asked for each piece");
        assert!(matches!(arriving.grow(1), Err(Full::Disk { .. })));
    }

    #[test]
    fn a_full_centre_says_what_to_do() {
        let refusal = quota(Some(60), 0).admit(20).expect_err("too much").to_string();
        assert!(refusal.contains("50 B of 60 B") && refusal.contains("coordctl image gc"), "{refusal}");
    }
}
