//! Backoff: how long to wait before the next try.
//!
//! Doubling from a base up to a ceiling. Jitter comes in as a number, because a pure function throws no dice; it spreads the waits
//! over the upper half of the span, so that a fleet that failed together does not return together.

use std::time::Duration;

/// The shape of a backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
}

/// Restarts of a container that ended by itself or could not be started: a hiccup costs a tenth of a second, a crash loop a start a minute.
pub const RESTART: Backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(60) };
/// Pulls: a registry in trouble is asked seldom, yet an image that just arrived is not waited for long.
pub const PULL: Backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(60) };
/// An agent's calls to a coordinator that does not answer.
pub const POLL: Backoff = Backoff { base: Duration::from_millis(250), max: Duration::from_secs(15) };

impl Backoff {
    /// The wait after `failures` failures in a row (0: none), without jitter.
    pub fn delay(self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            n => self.base.saturating_mul(1_u32.checked_shl(n - 1).unwrap_or(u32::MAX)).min(self.max),
        }
    }

    /// The same, spread over its upper half by `dice`, a number from 0 to 1.
    pub fn delay_with_jitter(self, failures: u32, dice: f64) -> Duration {
        self.delay(failures).mul_f64(0.5 + 0.5 * dice.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_ceiling() {
        let check = |failures, ms| assert_eq!(RESTART.delay(failures), Duration::from_millis(ms), "{failures}");
        check(0, 0);
        check(1, 100);
        check(2, 200);
        check(10, 51_200);
        check(11, 60_000);
        check(u32::MAX, 60_000);
    }

    #[test]
    fn jitter_stays_in_the_upper_half() {
        for dice in [-1.0, 0.0, 0.5, 1.0, 2.0] {
            let delay = POLL.delay_with_jitter(3, dice);
            assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&delay), "{dice}: {delay:?}");
        }
    }
}
