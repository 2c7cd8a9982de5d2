//! The only place of this crate that asks what time it is.
//!
//! The monotonic half is `CLOCK_BOOTTIME`: it also counts while the machine sleeps, and it means the same in every process until
//! the next boot. The wall-clock half is that plus an offset which is held still until the two drift apart: so a point in time that
//! is shown twice is shown as the same time, to the nanosecond.

use coord_shared::decide::{Mono, Now};
use jiff::{SignedDuration, Timestamp};
use std::sync::Mutex;
use std::time::Duration;

/// Drift between the two clocks from which the wall clock is taken to have been set.
const RESET_MS: i128 = 500;

/// The wall clock at the beginning of the monotonic one.
static BEGINNING: Mutex<Option<Timestamp>> = Mutex::new(None);

/// Reads both clocks.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Now {
    let mono = mono();
    let wall = Timestamp::now();
    let since_beginning = SignedDuration::try_from(mono.0).unwrap_or(SignedDuration::ZERO);
    let mut beginning = BEGINNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let held = beginning.and_then(|beginning| beginning.checked_add(since_beginning).ok());
    match held.filter(|held| held.duration_since(wall).as_millis().abs() < RESET_MS) {
        Some(held) => Now { mono, wall: held },
        None => {
            *beginning = wall.checked_sub(since_beginning).ok();
            Now { mono, wall }
        }
    }
}

fn mono() -> Mono {
    // libc's, not rustix's own: that one panics where the kernel maps no vDSO (user-mode Linux).
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map(Duration::from);
    Mono(time.expect("every Linux since 2.6.39 has CLOCK_BOOTTIME"))
}

/// The point on tokio's clock at which the monotonic clock will read `at`; for timers.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn timer_at(at: Mono) -> tokio::time::Instant {
    tokio::time::Instant::now() + at.since(mono())
}

/// The monotonic point at which the wall clock read `wall`; now, if that lies in the future.
pub fn mono_at(wall: Timestamp, now: Now) -> Mono {
    let age = Duration::try_from(now.wall.duration_since(wall)).unwrap_or(Duration::ZERO);
    Mono(now.mono.0.saturating_sub(age))
}
