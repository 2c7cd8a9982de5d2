//! How much of a container's output is written down: so many bytes in a second, and as many at once.
//!
//! What is more is counted and dropped: the container goes on at its own speed. Pure; the time comes in as an argument.

use std::time::Duration;

use crate::kept::LINE_MAX_BYTES;

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

/// See the module's description.
pub(crate) struct Rate {
    bytes_per_s: u64,
    /// What may be written now.
    credit: u64,
    /// When that was so; nothing before the first line.
    at: Option<Duration>,
}

impl Rate {
    /// Begins with the credit of a second.
    pub(crate) fn new(bytes_per_s: u64) -> Rate {
        Rate { bytes_per_s, credit: bytes_per_s.max(LINE_MAX_BYTES as u64), at: None }
    }

    /// The limit.
    pub(crate) fn bytes_per_s(&self) -> u64 {
        self.bytes_per_s
    }

    /// Whether a line of so many bytes is to be written at this time, and takes note of it if so.
    pub(crate) fn allows(&mut self, bytes: u64, now: Duration) -> bool {
        self.earn(now);
        // An empty line is no less work.
        match self.credit.checked_sub(bytes + 1) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }

    fn earn(&mut self, now: Duration) {
        let Some(at) = self.at else {
            self.at = Some(now);
            return;
        };
        let passed = u64::try_from(now.saturating_sub(at).as_nanos()).unwrap_or(u64::MAX).min(SECOND_NS);
        let earned = u64::try_from(u128::from(passed) * u128::from(self.bytes_per_s) / u128::from(SECOND_NS)).unwrap_or(u64::MAX);
        if earned > 0 {
            // The longest line passes with any limit, sooner or later.
            let most = self.bytes_per_s.max(LINE_MAX_BYTES as u64 + 1);
            self.credit = self.credit.saturating_add(earned).min(most);
            self.at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Rate;

    #[test]
    fn what_is_too_much_in_a_second_is_left_out() {
        let mut rate = Rate::new(100_000);
        let mut check = |at_ms: u64, bytes: u64, expect: bool| {
            assert_eq!(rate.allows(bytes, Duration::from_millis(at_ms)), expect, "{bytes} at {at_ms} ms");
        };
        check(0, 59_999, true);
        check(0, 39_999, true);
        check(0, 0, false);
        check(10, 999, true);
        check(10, 0, false);
        // No more is saved up than for one second.
        check(10_000, 99_999, true);
        check(10_000, 0, false);
        // A clock that stands still, or goes back, earns nothing.
        check(9_000, 0, false);
    }

    #[test]
    fn the_longest_line_passes_with_the_smallest_limit() {
        let mut rate = Rate::new(100);
        assert!(!rate.allows(16_384, Duration::ZERO) || rate.bytes_per_s() == 100);
        assert!((1..400).any(|second| rate.allows(16_384, Duration::from_secs(second))));
    }
}
