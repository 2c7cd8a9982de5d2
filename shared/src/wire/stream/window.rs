//! How much may be on its way: the accounts of both ends.
//!
//! The writer's [`SendWindow`] shrinks with what is sent and grows with the credit that comes back; the reader's [`ReceiveWindow`] gives
//! that credit once a good part of a window was passed on. A session has two such pairs: one for stdin, one for stdout and stderr
//! together.

use super::{FrameError, STREAM_WINDOW_BYTES};

/// Passed on before credit is given: often enough that a steady writer never waits, seldom enough that credit is little traffic.
const CREDIT_STEP_BYTES: u32 = STREAM_WINDOW_BYTES / 4;

/// What the writing end may still send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendWindow {
    left_bytes: u32,
}

impl Default for SendWindow {
    fn default() -> Self {
        Self { left_bytes: STREAM_WINDOW_BYTES }
    }
}

impl SendWindow {
    /// Bytes that may be sent now; 0: wait for credit.
    pub fn left_bytes(&self) -> usize {
        usize::try_from(self.left_bytes).unwrap_or(usize::MAX)
    }

    /// Notes that so many bytes were sent; no more than [`Self::left_bytes`].
    pub fn sent(&mut self, bytes: usize) {
        self.left_bytes = self.left_bytes.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Notes that the other end gave credit. More than a whole window is nobody's to give.
    pub fn credited(&mut self, bytes: u32) {
        self.left_bytes = self.left_bytes.saturating_add(bytes).min(STREAM_WINDOW_BYTES);
    }
}

/// What the reading end may still be sent, and what it owes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveWindow {
    left_bytes: u32,
    passed_on_bytes: u32,
}

impl Default for ReceiveWindow {
    fn default() -> Self {
        Self { left_bytes: STREAM_WINDOW_BYTES, passed_on_bytes: 0 }
    }
}

impl ReceiveWindow {
    /// Notes that so many bytes arrived.
    ///
    /// # Errors
    /// `Overrun` when the writer sent more than it may.
    pub fn received(&mut self, bytes: usize) -> Result<(), FrameError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.left_bytes.checked_sub(bytes) {
            Some(left) => {
                self.left_bytes = left;
                Ok(())
            }
            None => Err(FrameError::Overrun { bytes: bytes - self.left_bytes }),
        }
    }

    /// Notes that so many of them were passed on to whom they are for, and says how much credit is to be sent now, if any.
    pub fn passed_on(&mut self, bytes: usize) -> Option<u32> {
        self.passed_on_bytes = self.passed_on_bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.passed_on_bytes < CREDIT_STEP_BYTES {
            return None;
        }
        let credit = std::mem::take(&mut self.passed_on_bytes);
        self.left_bytes = self.left_bytes.saturating_add(credit).min(STREAM_WINDOW_BYTES);
        Some(credit)
    }
}
