//! The memory that decoders may take, over all layers in flight.
//!
//! A zstd frame says how large a window its decoder must keep, up to 32 MiB, and three layers come at a time: without a common budget
//! an image could ask for more memory than the whole agent may have. So a decoder takes its window's size out of the budget before it
//! makes room for it, and waits while others hold too much.

#[cfg(test)]
mod tests;

use crate::error::LayerError;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One decoder with the largest window that we take, and two with what zstd's usual levels ask for. With buffers, trees and all else
/// the agent stays below 64 MiB.
const BUDGET_BYTES: u64 = 36 << 20;
/// While it waits, a decoder looks this often whether its pull is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A budget. One per store.
pub(crate) struct Memory {
    free_bytes: Mutex<u64>,
    given_back: Condvar,
}

/// A share of it, given back when dropped.
pub(super) struct Share<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { free_bytes: Mutex::new(BUDGET_BYTES), given_back: Condvar::new() }
    }
}

impl Memory {
    /// Takes a share, waiting for it if need be; more than the whole budget counts as all of it.
    ///
    /// # Errors
    /// `Stopped` once `is_abandoned` says so.
    pub(super) fn take(&self, bytes: u64, mut is_abandoned: impl FnMut() -> bool) -> Result<Share<'_>, LayerError> {
        let bytes = bytes.min(BUDGET_BYTES);
        let mut free = self.free_bytes();
        while *free < bytes {
            if is_abandoned() {
                return Err(LayerError::Stopped);
            }
            free = self.given_back.wait_timeout(free, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        *free -= bytes;
        Ok(Share { memory: self, bytes })
    }

    fn free_bytes(&self) -> MutexGuard<'_, u64> {
        self.free_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share<'_> {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.memory.free_bytes() += self.bytes;
        self.memory.given_back.notify_all();
    }
}
