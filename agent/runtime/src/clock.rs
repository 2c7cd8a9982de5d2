//! The only place of this crate that asks what time it is.

use jiff::Timestamp;

/// The wall clock, for what people read.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
