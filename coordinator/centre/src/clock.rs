//! The only place that reads clocks.

use jiff::Timestamp;

/// The time of day.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn wall() -> Timestamp {
    Timestamp::now()
}

/// How long ago `then` was, as files know it; `None` if it lies in the future.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn age(then: std::time::SystemTime) -> Option<std::time::Duration> {
    std::time::SystemTime::now().duration_since(then).ok()
}
