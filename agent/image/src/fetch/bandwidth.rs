//! A limit on what all downloads of this host take of the line together.
//!
//! Whoever has received something books the time that it takes at the allowed rate, behind what others have booked, and waits for its
//! end before asking for more; the transport's own flow control slows the sender. Bookings are small, so that streams share fairly.

use super::clock::{self, Instant};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Booked at once.
const TURN_BYTES: u64 = 64 * 1024;
/// A line that was idle may be used for as long without waiting.
const BURST_MS: u64 = 100;

/// The line.
#[derive(Debug)]
pub(super) struct Bandwidth {
    bytes_per_s: Option<u64>,
    /// When all that is booked will be over.
    booked_until: Mutex<Option<Instant>>,
}

impl Bandwidth {
    pub(super) fn new(bytes_per_s: Option<u64>) -> Bandwidth {
        Bandwidth { bytes_per_s: bytes_per_s.map(|rate| rate.max(1)), booked_until: Mutex::default() }
    }

    /// Takes so much of the line. Returns when there may be more.
    pub(super) async fn take(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_s else { return };
        let mut left = bytes;
        while left > 0 {
            let turn = left.min(TURN_BYTES);
            left -= turn;
            // A turn is small: its length in nanoseconds fits for any rate.
            let length = Duration::from_nanos(turn.saturating_mul(1_000_000_000) / rate);
            tokio::time::sleep_until(self.book(length)).await;
        }
    }

    fn book(&self, length: Duration) -> Instant {
        let now = clock::now();
        let earliest = now.checked_sub(Duration::from_millis(BURST_MS)).unwrap_or(now);
        let mut booked_until = self.booked_until.lock().unwrap_or_else(PoisonError::into_inner);
        let end = booked_until.map_or(earliest, |booked| booked.max(earliest)) + length;
        *booked_until = Some(end);
        end
    }
}
