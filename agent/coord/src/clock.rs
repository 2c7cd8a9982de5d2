//! The only place of this crate that asks what time it is.

use jiff::Timestamp;
use std::time::Duration;

/// The wall clock, for ages.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A stopwatch that was started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch(tokio::time::Instant);

impl Watch {
    /// Starts one.
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub(crate) fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// How long it has run.
    pub(crate) fn ran(self) -> Duration {
        self.0.elapsed()
    }
}
