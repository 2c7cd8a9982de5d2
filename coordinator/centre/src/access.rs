//! Who may do what: asked of the caller for each request.

use coord_shared::names::Repository;
use std::fmt;

/// What somebody wants to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read manifests, blobs, tags.
    Pull,
    /// Upload blobs, write manifests and tags.
    Push,
    /// Remove manifests, tags, blobs.
    Delete,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        })
    }
}

/// Why somebody may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody that we know: answered with 401 and a `WWW-Authenticate: Basic` challenge.
    Unknown,
    /// Known, and not allowed: answered with 403 (`DENIED`) and this sentence.
    Denied(String),
}

/// Says who may do what.
pub trait Access: Send + Sync {
    /// Whether whoever sent this `Authorization` header (Basic, as `docker login` makes it, with a token as the password; or Bearer) may do
    /// this with a repository; without one: whether he is known at all (`GET /v2/`).
    ///
    /// # Errors
    /// Why not. Otherwise the name by which he is known, for records and logs.
    fn check(&self, authorization: Option<&str>, wanted: Option<(&Repository, Action)>) -> Result<String, Refusal>;
}
