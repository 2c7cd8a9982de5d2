//! The folder source: one file, one document; or one pipeline, by another [`Sink`].
//!
//! ```text
//!  inotify --> names that changed --> quiet for a moment --> read, submit
//!  every 30 s, and after an overflow --> all names ----------^
//!  a name is gone --> still gone a little later, and the folder is the same one --> delete
//! ```
//!
//! Files are written by people and tools with habits: they truncate and write again, write beside and rename, delete and create,
//! keep a file open half-written. So a file is read when its writer closes it or moves it into place, never in between; an absence
//! has to last before it counts; and a folder that vanished, was replaced or came up empty deletes nothing: unplugging a disk must
//! not stop a fleet.

mod scan;
mod sink;
#[cfg(test)]
mod tests;
mod watcher;

pub use sink::{Documents, Sink, Taken, Words};

use super::problems::Problems;
use crate::clock;
use scan::{FileRead, FolderId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use watcher::{Dirty, Watcher};

/// The delays of the folder source. Tests shorten them.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Quiet time after a change before files are read: tools write twice in a row.
    pub quiet: Duration,
    /// Longest wait for quiet.
    pub quiet_max: Duration,
    /// How long a file must be gone before its workload is deleted: tools delete and create.
    pub gone: Duration,
    /// How often everything is looked at, whatever the kernel reported.
    pub rescan: Duration,
    /// How long a file must not have been written to before a rescan reads it: its writer may still be at it.
    pub rest: Duration,
    /// How often the folder itself is looked at.
    pub tick: Duration,
    /// How long a folder that came back must be quiet before absent files count as deleted: copying back takes a while.
    pub settle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(10),
            quiet_max: Duration::from_millis(200),
            gone: Duration::from_millis(250),
            rescan: Duration::from_secs(30),
            rest: Duration::from_secs(2),
            tick: Duration::from_secs(1),
            settle: Duration::from_secs(10),
        }
    }
}

/// Follows the files of a folder.
pub struct Folder {
    path: PathBuf,
    sink: Arc<dyn Sink>,
    words: Words,
    problems: Arc<Problems>,
    pace: Pace,
    /// Files that are gone, and when that is to be believed.
    gone: BTreeMap<String, Instant>,
    /// Files whose submission the store failed.
    retry: BTreeSet<String>,
    /// While the folder is not to be trusted with deletions: until when it must have been quiet.
    guarded: Option<Instant>,
}

impl Folder {
    /// A source over the folder `path`, whose files go to `sink`.
    pub fn new(path: PathBuf, sink: Arc<dyn Sink>, problems: Arc<Problems>, pace: Pace) -> Self {
        let words = sink.words();
        Self { path, sink, words, problems, pace, gone: BTreeMap::new(), retry: BTreeSet::new(), guarded: None }
    }

    /// Never returns; to be raced against the end of the process. A folder that is missing at first is made.
    pub async fn run(mut self) {
        if let Err(error) = std::fs::create_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), error = %error, "cannot make the folder of {}; waiting for it", self.words.files);
        }
        loop {
            match Watcher::start(&self.path) {
                Ok((watcher, id)) => {
                    self.follow(watcher, &id).await;
                    // It is another folder now, or none.
                    self.guarded = Some(clock::moment() + self.pace.settle);
                }
                Err(error) => {
                    self.guarded = Some(clock::moment() + self.pace.settle);
                    let summary = format!("cannot watch the folder {}: {error}; nothing is unpublished", self.path.display());
                    let cure = format!("make the folder readable, or set `{}` in coordinator.toml", self.words.files);
                    self.problems.set(self.words.source, summary, Some(cure));
                    tokio::time::sleep(self.pace.tick).await;
                }
            }
        }
    }

    /// Follows one folder until it is no longer the one at the path.
    async fn follow(&mut self, mut watcher: Watcher, id: &FolderId) {
        self.problems.clear(self.words.source);
        self.gone.clear();
        let mut next_rescan = clock::moment() + self.pace.rescan;
        self.look_at_all(true).await;
        loop {
            let tick = clock::moment() + self.pace.tick;
            let wake = self.gone.values().copied().chain([tick, next_rescan]).min().unwrap_or(tick);
            let mut dirty = tokio::select! {
                () = watcher.changed() => watcher.settled(self.pace.quiet, self.pace.quiet_max).await,
                () = tokio::time::sleep_until(wake) => Dirty::default(),
            };
            if scan::identity(&self.path).as_ref() != Some(id) {
                return;
            }
            if let (Some(until), false) = (&mut self.guarded, dirty.is_empty()) {
                *until = (*until).max(clock::moment() + self.pace.settle);
            }
            if dirty.everything || clock::moment() >= next_rescan {
                // Whose events were lost may still have been written to just now: those files have to rest first.
                let pause = if dirty.everything { self.pace.rest * 2 } else { self.pace.rescan };
                next_rescan = clock::moment() + pause;
                self.look_at_all(false).await;
            }
            dirty.closed.append(&mut self.retry);
            let (path, problems, words) = (&self.path, &self.problems, self.words);
            let is_touched_for_good =
                |file: &String| problems.has(&source_of(words, file)) || scan::is_complete_at_birth(&path.join(file));
            dirty.closed.extend(dirty.touched.into_iter().filter(is_touched_for_good));
            for file in &dirty.closed {
                self.look_at(file).await;
            }
            self.delete_gone(id).await;
        }
    }

    /// Looks at every file, and for the files of what is published. `is_start`: at a start also at those that were just written.
    async fn look_at_all(&mut self, is_start: bool) {
        let path = self.path.clone();
        let rest = if is_start { Duration::ZERO } else { self.pace.rest };
        let listed = tokio::task::spawn_blocking(move || scan::list(&path)).await;
        let files = match listed {
            Ok(Ok(files)) => files,
            Ok(Err(error)) => {
                let summary = format!("cannot read the folder {}: {error}", self.path.display());
                return self.problems.set(self.words.source, summary, None);
            }
            Err(_) => return,
        };
        let published = match self.sink.in_force().await {
            Ok(published) => published,
            Err(error) => return tracing::warn!(error = %coord_registry::chain(&error), "cannot read what is published"),
        };
        let documents: BTreeSet<&String> =
            files.iter().filter(|(file, _)| self.sink.check_name(file).is_some()).map(|(file, _)| file).collect();
        self.guard(documents.is_empty(), &published, is_start);
        for (file, age) in &files {
            if documents.contains(file) && age.is_none_or(|age| age >= rest) {
                self.look_at(file).await;
            }
        }
        for file in published.iter().filter(|file| !documents.contains(file)) {
            self.look_at(file).await;
        }
    }

    /// Decides whether absent files may count as deleted.
    fn guard(&mut self, is_empty: bool, published: &BTreeSet<String>, is_start: bool) {
        let is_suspicious = is_empty && !published.is_empty() && (is_start || self.guarded.is_some());
        if is_suspicious {
            self.guarded = Some(clock::moment() + self.pace.settle);
            let summary = format!(
                "the folder {} holds no {}, but {} published ones came from it; nothing is unpublished",
                self.path.display(),
                self.words.files,
                published.len()
            );
            let Words { files, thing, delete, .. } = self.words;
            let cure = format!("put the {files} back (is a disk not mounted?), or delete the {thing}s: {delete}");
            self.problems.set(self.words.source, summary, Some(cure));
            return;
        }
        self.problems.clear(self.words.source);
        if self.guarded.is_some_and(|until| clock::moment() >= until) {
            self.guarded = None;
        }
    }

    /// Reads one file and does what it asks for.
    async fn look_at(&mut self, file: &str) {
        let Some(name) = self.sink.check_name(file) else { return };
        let source = source_of(self.words, file);
        let path = self.path.join(file);
        let Ok(read) = tokio::task::spawn_blocking(move || scan::read(&path)).await else { return };
        if !matches!(read, FileRead::Gone) {
            self.gone.remove(file);
        }
        match (name, read) {
            (Err(_), FileRead::Gone) => self.problems.clear(&source),
            (Err(error), _) => {
                let summary = format!("not a {}'s name: {error}", self.words.thing);
                self.problems.set(&source, summary, Some("rename the file".to_owned()));
            }
            (Ok(_), FileRead::Gone) => {
                let believed = clock::moment() + self.pace.gone;
                self.gone.entry(file.to_owned()).or_insert(believed);
            }
            (Ok(_), FileRead::Broken(problem)) => self.problems.set(&source, problem, None),
            (Ok(()), FileRead::Text(text)) => {
                let taken = self.sink.submit(file, text).await;
                self.note(file, taken);
            }
        }
    }

    fn note(&mut self, file: &str, taken: Taken) {
        let source = source_of(self.words, file);
        match taken {
            Taken::Fine => self.problems.clear(&source),
            Taken::Broken(summary, detail) => self.problems.set(&source, summary, detail),
            Taken::Later(summary) => {
                self.problems.set(&source, summary, None);
                self.retry.insert(file.to_owned());
            }
        }
    }

    /// Deletes what came from files that have been gone for long enough.
    async fn delete_gone(&mut self, id: &FolderId) {
        if self.guarded.is_some() {
            // Found again by a later scan, should the folder be trusted by then.
            self.gone.clear();
            return;
        }
        let now = clock::moment();
        let due: Vec<String> = self.gone.iter().filter(|(_, at)| **at <= now).map(|(file, _)| file.clone()).collect();
        for file in due {
            self.gone.remove(&file);
            let is_gone = matches!(scan::read(&self.path.join(&file)), FileRead::Gone);
            if !is_gone || scan::identity(&self.path).as_ref() != Some(id) {
                continue;
            }
            let taken = self.sink.remove(&file).await;
            self.note(&file, taken);
        }
    }
}

fn source_of(words: Words, file: &str) -> String {
    format!("{}:{file}", words.source)
}
