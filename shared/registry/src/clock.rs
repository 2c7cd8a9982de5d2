//! The crate's only clocks: one says when a token expires and whether a body stalls (tokio's, so that tests can hold it), the other what
//! the date is.

pub(crate) use tokio::time::Instant;

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn today() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
