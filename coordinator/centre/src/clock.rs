//! The only place that reads clocks.

use jiff::Timestamp;

/// The time of day.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn wall() -> Timestamp {
    Timestamp::now()
}
