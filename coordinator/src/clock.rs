//! The only place that reads clocks.
//!
//! The monotonic reading is tokio's, so that a test that pauses tokio's time holds all of the coordinator's time in its hand.

use coord_shared::decide::{Mono, Now};
use jiff::Timestamp;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The present moment, for timers and for measuring.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn moment() -> Instant {
    Instant::now()
}

/// Both clocks, read at once. Monotonic time counts from about the start of the process.
pub fn now() -> Now {
    Now { mono: Mono(moment().saturating_duration_since(beginning())), wall: wall() }
}

/// The time of day.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall() -> Timestamp {
    Timestamp::now()
}

/// The moment of a monotonic reading, for timers.
pub fn instant(at: Mono) -> Instant {
    beginning() + at.0
}

/// A beginning that lies a day back: a paused clock of a test may start a little before the process's first reading.
fn beginning() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(|| {
        let now = moment();
        now.checked_sub(Duration::from_secs(86_400)).unwrap_or(now)
    })
}

/// The time of day at which [`mark_process_start`] was called.
pub fn process_start() -> Option<Timestamp> {
    PROCESS_START.get().copied()
}

/// Notes the start of the process.
pub fn mark_process_start() {
    let _ = PROCESS_START.set(wall());
}

static PROCESS_START: OnceLock<Timestamp> = OnceLock::new();

/// How long ago `then` was by the time of day, as files know it; `None` if it lies in the future.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn age(then: SystemTime) -> Option<Duration> {
    SystemTime::now().duration_since(then).ok()
}
