//! What a coordinator tells a host of a registry: where its images really lie, and who to log in as.
//!
//! Only what the operator shares on purpose travels (`share_with_hosts`), only to hosts that need an image of it, and never a file:
//! authorities to trust are each host's own business. A login is a secret: it is written to files that nobody else can read, and
//! shown nowhere.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One registry, or a part of one, as the host should reach it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryLogin {
    /// The references that it covers: `registry.lan:5000`, or `registry.lan/shop`; whole path components.
    pub prefix: String,
    /// What takes the prefix's place in requests; the prefix itself where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Asked before `location`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// Whether plain HTTP is spoken there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// Who to log in as; goes with `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password or access token of `username`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Passwords stay out of logs.
impl fmt::Debug for RegistryLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryLogin")
            .field("prefix", &self.prefix)
            .field("location", &self.location)
            .field("mirrors", &self.mirrors)
            .field("insecure", &self.insecure)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .finish()
    }
}
