//! Time as an input.
//!
//! Decisions measure with [`Mono`], which no clock jump touches; people read wall-clock times. [`Now`] is one reading of both, so
//! that a deadline can be shown as the time of day at which it falls.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// A point on the machine's monotonic clock: the time since an arbitrary beginning (of the boot, of the process).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Mono(pub Duration);

impl Mono {
    /// How long before `self` the point `earlier` lies; zero if it does not.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The point as one of this boot, for times that were written down: one that lies ahead was told by the clock of an earlier
    /// boot, and is taken for the beginning of this one.
    pub fn in_this_boot(self, now: Self) -> Self {
        if self > now { Self::default() } else { self }
    }

    /// The point so much later.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For measuring.
    pub mono: Mono,
    /// For showing.
    pub wall: Timestamp,
}

impl Now {
    /// The time of day at which `point` falls, or fell.
    pub fn wall_at(&self, point: Mono) -> Timestamp {
        let offset = SignedDuration::try_from(point.0).unwrap_or(SignedDuration::MAX)
            - SignedDuration::try_from(self.mono.0).unwrap_or(SignedDuration::ZERO);
        self.wall.checked_add(offset).unwrap_or(self.wall)
    }
}
