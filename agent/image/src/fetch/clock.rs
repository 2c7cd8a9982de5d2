//! The download's clock: how long the network was waited for, and when the line is free again. Tokio's, so that tests can hold it.

pub(super) use tokio::time::Instant;

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(super) fn now() -> Instant {
    Instant::now()
}
