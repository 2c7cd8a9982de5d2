//! The crate's only clock: it says when a token expires and whether a body stalls. Tokio's, so that tests can hold it.

pub(crate) use tokio::time::Instant;

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
