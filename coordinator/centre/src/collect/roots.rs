//! Roots: what must stay for reasons that lie outside of the centre.

use crate::names::Tag;
use coord_shared::names::{Digest, Repository};
use futures_util::future::BoxFuture;

/// One thing that somebody needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where it lies.
    pub repository: Repository,
    /// What of it.
    pub wanted: Wanted,
    /// Who needs it, as people are told: `revision 7 of web`.
    pub why: String,
}

/// What of a repository is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This manifest, and all that it needs.
    Manifest(Digest),
    /// The tag, and what it names.
    Tag(Tag),
}

/// Why nobody can say what is needed. Nothing is collected then.
#[derive(Debug, thiserror::Error)]
#[error("cannot read what is in use")]
pub struct RootsError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Knows who needs what.
pub trait Roots: Send + Sync {
    /// Everything that is needed now.
    fn roots(&self) -> BoxFuture<'_, Result<Vec<Root>, RootsError>>;
}
