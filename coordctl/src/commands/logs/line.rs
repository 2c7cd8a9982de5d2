//! One log line as it travels: a JSON object with a line's origin, time, stream and text.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which instance wrote, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) host: String,
    pub(super) instance: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = format!("{}@{}", self.instance, self.host);
        f.write_str(&crate::output::printable(&origin))
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) origin: Origin,
    #[serde(rename = "t")]
    pub(super) time: Timestamp,
    /// `out` or `err`.
    #[serde(rename = "s")]
    pub(super) stream: String,
    #[serde(rename = "m")]
    pub(super) message: String,
    /// The line went on, and was cut because of its length.
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) partial: bool,
}
