//! Where code comes from, as builds need it: so that they can be tested without any repository.

use super::tree;
use coord_shared::names::Commit;
use coord_shared::pipeline::Source;
use coord_shared::wire::{CommitView, Head};
use coord_source::{Credentials, Limits, SourceError, Tools, User};
use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
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
    fn fetch<'a>(&'a self, wanted: Fetch<'a>, say: &'a mut dyn FnMut(&str)) -> Pending<'a, Result<CommitView, String>>;

    /// The paths that differ between a commit and the one that is fetched; `None` where that cannot be told. To be asked after `fetch`.
    fn changed<'a>(&'a self, wanted: &'a Fetch<'a>, since: &'a Commit) -> Pending<'a, Result<Option<Vec<String>>, String>>;
}

/// Those that the host's own programs speak with: git and Subversion.
#[derive(Debug)]
pub(super) struct Programs {
    tools: Tools,
    limits: Limits,
}

impl Programs {
    /// `home` is a folder for their configuration; of the disk a source may take so much.
    pub(super) fn open(home: &Path, disk_bytes: u64) -> Result<Self, SourceError> {
        let limits = Limits::default();
        let limits =
            Limits { kept_bytes: limits.kept_bytes.min(disk_bytes), files_bytes: limits.files_bytes.min(disk_bytes), ..limits };
        Ok(Self { tools: Tools::prepare(home, User::unprivileged())?, limits })
    }

    fn source(&self, source: &Source, credentials: Option<&str>) -> Result<coord_source::Source, String> {
        let credentials = credentials.map(Credentials::new);
        coord_source::Source::new(source, credentials, self.tools.clone(), self.limits).map_err(|error| crate::chain(&error))
    }
}

impl Repositories for Programs {
    fn look<'a>(&'a self, source: &'a Source, credentials: Option<&'a str>) -> Pending<'a, Result<Head, String>> {
        Box::pin(async move { self.source(source, credentials)?.look().await.map_err(|error| crate::chain(&error)) })
    }

    fn fetch<'a>(&'a self, wanted: Fetch<'a>, say: &'a mut dyn FnMut(&str)) -> Pending<'a, Result<CommitView, String>> {
        Box::pin(async move {
            let source = self.source(wanted.source, wanted.credentials)?;
            let fetched = source.fetch(wanted.commit, &wanted.into, &wanted.kept, say).await;
            let view = fetched.map_err(|error| crate::chain(&error))?;
            let into = wanted.into.clone();
            let given = tokio::task::spawn_blocking(move || give_to_root(&into)).await;
            given
                .map_err(|_| "the agent is ending".to_owned())?
                .map_err(|e| format!("cannot take over the files of the source: {e}"))?;
            Ok(view)
        })
    }

    fn changed<'a>(&'a self, wanted: &'a Fetch<'a>, since: &'a Commit) -> Pending<'a, Result<Option<Vec<String>>, String>> {
        Box::pin(async move {
            let source = self.source(wanted.source, wanted.credentials)?;
            source.changed(since, wanted.commit, &wanted.kept).await.map_err(|error| crate::chain(&error))
        })
    }
}

/// The files belong to the user of the programs; steps know nobody but root and themselves. Blocks.
fn give_to_root(folder: &Path) -> Result<(), Errno> {
    let root = (Some(Uid::ROOT), Some(Gid::ROOT));
    tree::for_each(folder, |parent, name, _| chownat(parent, name, root.0, root.1, AtFlags::SYMLINK_NOFOLLOW))?;
    chownat(CWD, folder, root.0, root.1, AtFlags::SYMLINK_NOFOLLOW)
}
