//! Sources, with real repositories and the real programs.
//!
//! As root, the programs run as `nobody` on closed folders, as they do on a host; the tests need not be root for anything.

mod git;
mod hostile;
mod http;
mod repository;
mod ssh;
mod svn;

use crate::{Credentials, Limits, Source, SourceError, Tools, User};
use coord_shared::names::Commit;
use coord_shared::pipeline::{Git, Reference, Source as Description, SourceKind};
use coord_shared::wire::{CommitView, Head};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Folders of a host that builds.
struct Bench {
    dir: TempDir,
    tools: Tools,
    limits: Limits,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tools = Tools::prepare(&dir.path().join("home"), User::unprivileged()).unwrap();
        Self { dir, tools, limits: Limits::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn source(&self, kind: SourceKind, secret: Option<&str>) -> Source {
        let description = Description { kind, paths: Vec::new(), credentials: None };
        Source::new(&description, secret.map(Credentials::new), self.tools.clone(), self.limits).unwrap()
    }

    fn git(&self, url: &str, reference: Reference) -> Source {
        self.source(git(url, reference), None)
    }

    fn branch(&self, url: &str, branch: &str) -> Source {
        self.git(url, Reference::Branch(Some(branch.to_owned())))
    }

    fn svn(&self, url: &str) -> Source {
        self.source(SourceKind::Svn { url: url.to_owned() }, None)
    }

    /// Fetches into `files`, which is emptied before, with the mirror `kept`.
    async fn fetch(&self, source: &Source, commit: &Commit) -> Result<CommitView, SourceError> {
        let files = self.path("files");
        if files.exists() {
            std::fs::remove_dir_all(&files).unwrap();
        }
        source.fetch(commit, &files, &self.path("kept"), |_| ()).await
    }

    async fn fetch_head(&self, source: &Source) -> (Head, CommitView) {
        let head = source.look().await.unwrap();
        let view = self.fetch(source, &head.commit).await.unwrap();
        (head, view)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path("files").join(file)).unwrap()
    }
}

fn git(url: &str, reference: Reference) -> SourceKind {
    SourceKind::Git(Git { url: url.to_owned(), reference, submodules: false })
}

/// Everything that an error says.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// The message of a failure; it must hold all of `words`.
fn says<T: std::fmt::Debug>(result: Result<T, SourceError>, words: &[&str]) -> String {
    let text = chain(&result.expect_err("a failure"));
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in {text:?}");
    }
    text
}

/// The names in a folder, sorted.
fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
