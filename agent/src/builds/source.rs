//! Where code comes from, as builds need it: so that they can be tested without any repository.

use coord_shared::names::Commit;
use coord_shared::pipeline::Source;
use coord_shared::wire::{CommitView, Head};
use std::path::PathBuf;
use std::pin::Pin;

/// Something that is on its way, on the agent's own thread. Dropped, it ends.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What is to be fetched.
#[derive(Debug)]
pub struct Fetch<'a> {
    /// From where.
    pub source: &'a Source,
    /// The secret that opens it.
    pub credentials: Option<&'a str>,
    /// What.
    pub commit: &'a Commit,
    /// A folder that is not there yet, or empty.
    pub into: PathBuf,
    /// A folder that stays from one run to the next.
    pub kept: PathBuf,
}

/// Repositories of any kind. Errors are in words for people, with the cure.
pub trait Repositories {
    /// What a source holds now.
    fn look<'a>(&'a self, source: &'a Source, credentials: Option<&'a str>) -> Pending<'a, Result<Head, String>>;

    /// Its files at one commit, in a folder. What is worth to be known meanwhile goes to `say`.
    fn fetch<'a>(&'a self, wanted: Fetch<'a>, say: &'a mut dyn FnMut(String)) -> Pending<'a, Result<CommitView, String>>;

    /// The paths that differ between a commit and the one that is fetched; `None` where that cannot be told. To be asked after `fetch`.
    fn changed<'a>(&'a self, wanted: &'a Fetch<'a>, since: &'a Commit) -> Pending<'a, Result<Option<Vec<String>>, String>>;
}
