//! Room on the disk: what is free, what a pull may take of it, and what the images hold.
//!
//! A part of the disk is in reserve. A pull that is bound to take it is refused before its first byte; one that turns out larger than
//! it looked is stopped when the reserve is reached.

use super::{ImageStore, Inner};
use crate::error::{LayerError, StoreError};
use coord_shared::names::Digest;

/// What a layer takes on the disk for each byte of its download. Text and code shrink to a third or less when they are packed; layers
/// that shrink more are met by the reserve on the way.
const UNPACKED_PER_PACKED: u64 = 3;
/// For indexes, the EROFS image and records: 100 to 200 bytes for each of some ten thousand files.
const METADATA_BYTES: u64 = 4 << 20;

/// The disk that the store is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// By anything, not only images; without what the file system keeps for root, as `df` counts.
    pub disk_used_bytes: u64,
    /// That can still be written.
    pub disk_free_bytes: u64,
    /// Of these, what no pull may take.
    pub reserve_bytes: u64,
    /// Held by all images, about.
    pub store_bytes: u64,
}

impl ImageStore {
    /// How full the disk is, and what of that is images.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let (disk_used_bytes, disk_free_bytes) = self.inner.disk_room()?;
        let (reserve_bytes, store_bytes) = (self.inner.options.reserve_bytes, self.inner.store_bytes()?);
        Ok(Usage { disk_used_bytes, disk_free_bytes, reserve_bytes, store_bytes })
    }
}

impl Inner {
    /// Whether there is room for layers of which this much is to be downloaded.
    ///
    /// # Errors
    /// `Reserve`, with the numbers, when there is not.
    pub(crate) fn room_for_download(&self, download_bytes: u64) -> Result<(), StoreError> {
        self.room(download_bytes.saturating_mul(UNPACKED_PER_PACKED).saturating_add(METADATA_BYTES))
    }

    /// Whether about this much more can be written.
    ///
    /// # Errors
    /// `Reserve`, with the numbers, when it cannot.
    pub(crate) fn room(&self, needed_bytes: u64) -> Result<(), StoreError> {
        let ((_, free_bytes), reserve_bytes) = (self.disk_room()?, self.options.reserve_bytes);
        if free_bytes >= needed_bytes.saturating_add(reserve_bytes) {
            return Ok(());
        }
        let store_bytes = self.store_bytes()?;
        Err(StoreError::Reserve { path: self.dir.clone(), needed_bytes, free_bytes, reserve_bytes, store_bytes })
    }

    /// Whether the reserve is still there. To be asked now and then while something large is written.
    ///
    /// # Errors
    /// `Reserve`, or `Io` when the disk does not answer.
    pub(crate) fn check_reserve(&self) -> Result<(), LayerError> {
        let reserve_bytes = self.options.reserve_bytes;
        let failed = |e| LayerError::io("look at the disk of", self.dir.as_os_str().as_encoded_bytes(), e);
        let (_, free_bytes) = self.statvfs().map_err(failed)?;
        if free_bytes < reserve_bytes { Err(LayerError::Reserve { free_bytes, reserve_bytes }) } else { Ok(()) }
    }

    /// Bytes used and bytes free on the disk.
    pub(super) fn disk_room(&self) -> Result<(u64, u64), StoreError> {
        self.statvfs().map_err(|e| StoreError::io("look at the disk of", &self.dir, e))
    }

    fn statvfs(&self) -> rustix::io::Result<(u64, u64)> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok((bytes(stat.f_blocks.saturating_sub(stat.f_bfree)), bytes(stat.f_bavail)))
    }

    /// Of all layers and chains.
    fn store_bytes(&self) -> Result<u64, StoreError> {
        let layers: u64 = self.layer_ids()?.iter().map(|diff_id| self.layer_disk_bytes(diff_id)).sum();
        let chains: u64 = self.chains()?.iter().map(|chain| self.chain_disk_bytes(chain)).sum();
        Ok(layers.saturating_add(chains))
    }

    /// What a layer takes on the disk; of a damaged one nothing is known.
    pub(super) fn layer_disk_bytes(&self, diff_id: &Digest) -> u64 {
        self.layer(diff_id).ok().flatten().and_then(|layer| self.disk_bytes_of(&layer).ok()).unwrap_or(0)
    }
}
