//! The one place that asks for the time.

use std::time::{Duration, SystemTime};

/// How long ago a file was modified; zero if the clock was set back since.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn age(modified: SystemTime) -> Duration {
    SystemTime::now().duration_since(modified).unwrap_or_default()
}
