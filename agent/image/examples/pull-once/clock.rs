//! The clock that it measures with.

use std::time::Instant;

/// Now, for measuring only.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
