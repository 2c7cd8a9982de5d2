//! Room on the disk: what is free, what a pull may take of it, and what the images hold.
//!
//! A part of the disk is in reserve. A pull that is bound to take it is refused before its first byte; one that turns out larger than
//! it looked is stopped when the reserve is reached.

use super::Inner;
use crate::error::{LayerError, StoreError};

impl Inner {
    /// Whether about this much more can be written.
    ///
    /// # Errors
    /// `Reserve`, with the numbers, when it cannot.
    pub(crate) fn room(&self, needed_bytes: u64) -> Result<(), StoreError> {
        let (free_bytes, reserve_bytes) = (self.free_bytes()?, self.options.reserve_bytes);
        if free_bytes >= needed_bytes.saturating_add(reserve_bytes) {
            return Ok(());
        }
        Err(StoreError::Reserve {
            path: self.dir.clone(),
            needed_bytes,
            free_bytes,
            reserve_bytes,
            store_bytes: self.store_bytes()?,
        })
    }

    /// Whether the reserve is still there. To be asked now and then while something large is written.
    ///
    /// # Errors
    /// `Reserve`, or `Io` when the disk does not answer.
    pub(crate) fn check_reserve(&self) -> Result<(), LayerError> {
        let reserve_bytes = self.options.reserve_bytes;
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|e| LayerError::io("look at the disk of", self.dir.as_os_str().as_encoded_bytes(), e))?;
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free_bytes < reserve_bytes { Err(LayerError::Reserve { free_bytes, reserve_bytes }) } else { Ok(()) }
    }

    /// What anybody but root could still write.
    fn free_bytes(&self) -> Result<u64, StoreError> {
        let stat = rustix::fs::statvfs(&self.dir).map_err(|e| StoreError::io("look at the disk of", &self.dir, e))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Of all layers.
    fn store_bytes(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for diff_id in self.layer_ids()? {
            bytes += self.layer(&diff_id).ok().flatten().map_or(0, |layer| layer.content_bytes);
        }
        Ok(bytes)
    }
}
