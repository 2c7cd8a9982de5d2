//! One line of the stream: what an instance wrote and when, or why its log cannot be had.

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
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<Timestamp>,
    /// `out` or `err`.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<String>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    /// Instead of a message: why this instance's log cannot be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// The line went on, and was cut because of its length.
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) partial: bool,
}
