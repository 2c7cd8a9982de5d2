//! The only place of this crate that reads a clock: how long commits take.

use std::time::Instant;

/// The present moment.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn moment() -> Instant {
    Instant::now()
}
