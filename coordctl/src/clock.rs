//! The clock: the only place that asks what time it is.
//!
//! Ages come from the coordinator's clock, which travels with its answers; this one measures waits, and serves where an answer
//! carries no time.

use jiff::Timestamp;
use tokio::time::Instant;

/// For measuring.
pub(crate) fn instant() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is the place that asks")]
    Instant::now()
}

/// For showing.
pub(crate) fn wall() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the place that asks")]
    Timestamp::now()
}
