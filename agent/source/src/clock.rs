//! The only place that reads the clock.

use std::time::Duration;
use tokio::time::Instant;

/// The moment so much later.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn after(span: Duration) -> Instant {
    Instant::now() + span
}
