//! Sources of pipelines: what a repository holds now, and its files in a folder. Git and Subversion, by their own programs.
//!
//! What a repository says is not trusted: no hooks, no helpers, no protocols but the listed ones, no path outside of the folder. The
//! programs run as a user without rights where the agent is root, see no configuration but ours, ask nobody, and are ended with all that
//! they started. What a source costs is bounded in time and bytes. Deliberately absent: what is done with the files, and anything that is
//! kept of credentials: they travel to the programs in memory, never in arguments, the environment, or files.
//!
//! ```text
//!   look ──▶ head            fetch ──▶ kept (bare mirror, stays) ──▶ files (checkout with a short .git of its own)      git
//!                            fetch ──▶ files (export)                                                                 svn
//! ```

mod clock;
mod credentials;
mod error;
mod folder;
mod git;
mod run;
mod ssh;
mod svn;
mod sys;
#[cfg(test)]
mod tests;
mod text;
mod tools;

pub use credentials::Credentials;
pub use error::{SourceError, Trouble};
pub use tools::{Limits, Tools, User};

use coord_shared::names::Commit;
use coord_shared::pipeline::{Source as Description, SourceKind};
use coord_shared::wire::{CommitView, Head};
use std::path::Path;

/// A repository, and how it is asked.
#[derive(Debug, Clone)]
pub struct Source {
    kind: SourceKind,
    credentials: Option<Credentials>,
    tools: Tools,
    limits: Limits,
}

impl Source {
    /// The source that `description` names. `credentials`: the text of its secret, where it names one.
    ///
    /// # Errors
    /// The address is none that may be asked, or the secret does not fit it.
    pub fn new(
        description: &Description,
        credentials: Option<Credentials>,
        tools: Tools,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        let (url, schemes) = match &description.kind {
            SourceKind::Git(git) => (&git.url, git::SCHEMES),
            SourceKind::Svn { url } => (url, svn::SCHEMES),
        };
        text::check_address(url, schemes)?;
        Ok(Self { kind: description.kind.clone(), credentials, tools, limits })
    }

    /// The newest commit. Costs one small request.
    ///
    /// # Errors
    /// The repository cannot be asked, or does not hold what is looked for; the message has the cure.
    pub async fn look(&self) -> Result<Head, SourceError> {
        match &self.kind {
            SourceKind::Git(git) => self.git(git).look().await,
            SourceKind::Svn { url } => self.svn(url).look().await,
        }
    }

    /// Puts the files of `commit` into the folder `into`, which is made if it is absent, and must be empty. They belong to the user of
    /// [`Tools`]. `kept` is the source's own folder, which stays between runs so that only what is new travels; one call at a time may use it.
    /// `log` gets what the programs say, line by line, without credentials.
    ///
    /// Dropping the future ends the programs. What it leaves in `kept` does no harm; what it leaves in `into` is the caller's to remove.
    ///
    /// # Errors
    /// The commit cannot be had; the message has the cure.
    pub async fn fetch(
        &self,
        commit: &Commit,
        into: &Path,
        kept: &Path,
        mut log: impl FnMut(&str),
    ) -> Result<CommitView, SourceError> {
        let user = self.tools.user;
        folder::prepare(kept, user)?;
        folder::prepare(into, user)?;
        folder::check_empty(into)?;
        match &self.kind {
            SourceKind::Git(git) => self.git(git).fetch(commit, into, kept, &mut log).await,
            SourceKind::Svn { url } => self.svn(url).fetch(commit, into, &mut log).await,
        }
    }

    /// The paths that differ between the two commits, as the repository writes them: relative, with `/`. `None`: it cannot be told, because
    /// `since` is not there any more; then everything counts as changed. `kept` as for [`Source::fetch`], in any order with it.
    ///
    /// # Errors
    /// `commit` cannot be had.
    pub async fn changed(&self, since: &Commit, commit: &Commit, kept: &Path) -> Result<Option<Vec<String>>, SourceError> {
        folder::prepare(kept, self.tools.user)?;
        match &self.kind {
            SourceKind::Git(git) => self.git(git).changed(since, commit, kept).await,
            SourceKind::Svn { url } => self.svn(url).changed(since, commit).await,
        }
    }

    fn git<'a>(&'a self, git: &'a coord_shared::pipeline::Git) -> git::Repository<'a> {
        git::Repository { git, credentials: self.credentials.as_ref(), tools: &self.tools, limits: self.limits }
    }

    fn svn<'a>(&'a self, url: &'a str) -> svn::Folder<'a> {
        svn::Folder { url, credentials: self.credentials.as_ref(), tools: &self.tools, limits: self.limits }
    }
}
