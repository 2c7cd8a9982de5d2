//! A commit's files: the mirror is brought up to date, and the commit checked out of it.

use super::{Repository, arguments};
use crate::error::{SourceError, Trouble, folder};
use crate::folder::{Bound, empty};
use crate::run::{Order, Place, Work};
use crate::text;
use coord_shared::names::Commit;
use coord_shared::pipeline::Reference;
use coord_shared::wire::CommitView;
use jiff::Timestamp;
use std::fs;
use std::path::Path;

/// Commits of the history that go with the files: enough for `git describe` in most repositories, cheap to copy.
const HISTORY_COMMITS: u32 = 50;
/// Files of a mirror: packs and references; a reference is a file until it is packed.
const KEPT_FILES_MAX: u64 = 1_000_000;

type Log<'l> = &'l mut dyn FnMut(&str);

impl Repository<'_> {
    /// See [`crate::Source::fetch`].
    pub(crate) async fn fetch(&self, commit: &Commit, into: &Path, kept: &Path, log: Log<'_>) -> Result<CommitView, SourceError> {
        let work = self.work("fetching", self.limits.fetch, Some(kept), Some(into));
        self.obtain(&work, commit, kept, log).await?;
        self.check_out(&work, commit, into, log).await?;
        self.describe(&work, commit).await
    }

    /// See [`crate::Source::changed`].
    pub(crate) async fn changed(&self, since: &Commit, commit: &Commit, kept: &Path) -> Result<Option<Vec<String>>, SourceError> {
        let work = self.work("fetching", self.limits.fetch, Some(kept), None);
        let log: Log<'_> = &mut |_| ();
        self.obtain(&work, commit, kept, log).await?;
        if !self.has(&work, since).await? {
            return Ok(None);
        }
        let words = ["diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", since.as_str(), commit.as_str(), "--"];
        let ended = self.run_well(&work, self.in_kept(&work, &words), &mut |_| ()).await?;
        let paths = ended.output.split(|b| *b == 0).filter(|path| !path.is_empty());
        Ok(Some(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect()))
    }

    /// Makes the mirror hold the commit. A mirror that is damaged is made anew, once.
    async fn obtain(&self, work: &Work<'_>, commit: &Commit, kept: &Path, log: Log<'_>) -> Result<(), SourceError> {
        let is_new = !kept.join("HEAD").exists();
        match self.update(work, commit, kept, log).await {
            Err(SourceError::Failed { trouble: Trouble::Other, said, .. }) if !is_new => {
                log(&format!("the kept mirror cannot be used ({said}); it is made anew"));
                empty(kept)?;
                self.update(work, commit, kept, log).await
            }
            done => done,
        }
    }

    async fn update(&self, work: &Work<'_>, commit: &Commit, kept: &Path, log: Log<'_>) -> Result<(), SourceError> {
        if kept.join("HEAD").exists() {
            remove_leftovers(kept)?;
        } else {
            empty(kept)?;
            let words = ["init", "-q", "--bare", "--template=", "--", &work.seen(Place::Kept)];
            self.run_well(work, Order { arguments: arguments(&words), ..Order::default() }, log).await?;
        }
        if self.has(work, commit).await? {
            return Ok(());
        }
        log(&format!("fetching {}", work.url));
        // Its own branch first: the history that later fetches continue, with the tags on it.
        if let Reference::Branch(branch) = &self.git.reference {
            let from = branch.as_ref().map_or_else(|| "HEAD".to_owned(), |branch| format!("refs/heads/{branch}"));
            match self.fetch_references(work, &[format!("+{from}:refs/coord/branch")], kept, log).await {
                // The branch may be gone, and the commit still there.
                Ok(()) | Err(SourceError::Failed { trouble: Trouble::Other | Trouble::Missing, .. }) => {}
                Err(error) => return Err(error),
            }
            if self.has(work, commit).await? {
                return self.tidy(work, kept, log).await;
            }
        }
        // Most servers give any commit that they have by its name; the others what their branches and tags lead to.
        let named = self.fetch_references(work, &[format!("+{commit}:refs/coord/commit")], kept, log).await;
        if !self.has(work, commit).await? {
            if let Err(error @ SourceError::Failed { trouble: Trouble::Other | Trouble::Protocol, .. }) = named {
                log(&format!("{error}; fetching all branches and tags"));
                let all = ["+refs/heads/*:refs/coord/heads/*", "+refs/tags/*:refs/tags/*"].map(str::to_owned);
                self.fetch_references(work, &all, kept, log).await?;
            } else {
                named?;
            }
        }
        if !self.has(work, commit).await? {
            return Err(SourceError::NoCommit { url: work.url.clone(), commit: commit.clone() });
        }
        self.tidy(work, kept, log).await
    }

    async fn fetch_references(
        &self,
        work: &Work<'_>,
        references: &[String],
        kept: &Path,
        log: Log<'_>,
    ) -> Result<(), SourceError> {
        let words = [
            "fetch",
            "--quiet",
            "--force",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--",
            &self.git.url,
        ];
        let mut order = self.in_kept(work, &words);
        order.arguments.extend(references.iter().cloned());
        order.bound = Some(Bound { path: kept.to_owned(), bytes: self.limits.kept_bytes, files: KEPT_FILES_MAX });
        let ended = self.ask(work, order, log).await?;
        if ended.is_success { Ok(()) } else { Err(work.failed(&ended)) }
    }

    /// Packs the mirror where many fetches have left many packs. Its failure costs only space.
    async fn tidy(&self, work: &Work<'_>, kept: &Path, log: Log<'_>) -> Result<(), SourceError> {
        let mut order = self.in_kept(work, &["gc", "--auto", "--quiet"]);
        // Old packs go only after the new one is there.
        order.bound =
            Some(Bound { path: kept.to_owned(), bytes: self.limits.kept_bytes.saturating_mul(2), files: KEPT_FILES_MAX });
        self.run(work, order, log).await.map(drop)
    }

    async fn has(&self, work: &Work<'_>, commit: &Commit) -> Result<bool, SourceError> {
        let words = ["cat-file", "-e", &format!("{commit}^{{commit}}")];
        Ok(self.run(work, self.in_kept(work, &words), &mut |_| ()).await?.is_success)
    }

    /// A repository of its own with the last commits, detached at the one that is built.
    async fn check_out(&self, work: &Work<'_>, commit: &Commit, into: &Path, log: Log<'_>) -> Result<(), SourceError> {
        let (files, kept) = (work.seen(Place::Files), work.seen(Place::Kept));
        let depth = format!("--depth={HISTORY_COMMITS}");
        let reference = format!("+{commit}:refs/coord/commit");
        let steps: [&[&str]; 4] = [
            &["init", "-q", "--template="],
            &["remote", "add", "origin", &self.git.url],
            &["fetch", "-q", &depth, "--no-write-fetch-head", "--no-auto-maintenance", "--", &kept, &reference],
            &["checkout", "-q", "--detach", commit.as_str()],
        ];
        for (step, words) in steps.into_iter().enumerate() {
            let order = Order {
                arguments: arguments(&[&["-C", files.as_str()], words].concat()),
                // The mirror is a folder.
                environment: vec![("GIT_ALLOW_PROTOCOL", "file".to_owned())],
                bound: (step >= 2).then(|| self.files_bound(into)),
                ..Order::default()
            };
            self.run_well(work, order, log).await?;
        }
        if self.git.submodules {
            let words =
                ["-C", &files, "submodule", "--quiet", "update", "--init", "--recursive", "--depth=1", "--no-single-branch"];
            let order = Order { arguments: arguments(&words), bound: Some(self.files_bound(into)), ..Order::default() };
            let ended = self.ask(work, order, log).await?;
            if !ended.is_success {
                return Err(work.failed(&ended));
            }
        }
        Ok(())
    }

    fn files_bound(&self, into: &Path) -> Bound {
        Bound { path: into.to_owned(), bytes: self.limits.files_bytes, files: self.limits.files }
    }

    async fn describe(&self, work: &Work<'_>, commit: &Commit) -> Result<CommitView, SourceError> {
        let words = ["log", "-1", "--no-show-signature", "--no-color", "--format=%ct%x00%an <%ae>%x00%s", commit.as_str(), "--"];
        let ended = self.run_well(work, self.in_kept(work, &words), &mut |_| ()).await?;
        let text = String::from_utf8_lossy(&ended.output);
        let mut parts = text.splitn(3, '\0');
        let (seconds, author, subject) = (parts.next(), parts.next(), parts.next());
        let at = seconds.and_then(|seconds| Timestamp::from_second(seconds.trim().parse().ok()?).ok());
        let (Some(at), Some(author), Some(subject)) = (at, author, subject) else {
            return Err(SourceError::Answer { program: "git", url: work.url.clone(), what: format!("the commit {commit}") });
        };
        Ok(CommitView { commit: commit.clone(), author: text::line(author), subject: text::line(subject), at })
    }

    fn in_kept(&self, work: &Work<'_>, words: &[&str]) -> Order {
        let mut all = arguments(&["--git-dir", &work.seen(Place::Kept)]);
        all.extend(arguments(words));
        Order { arguments: all, ..Order::default() }
    }
}

/// What a git that was ended on the way leaves behind: its locks, which would stop every later one, and half a pack.
fn remove_leftovers(kept: &Path) -> Result<(), SourceError> {
    let mut folders = vec![kept.to_owned()];
    while let Some(path) = folders.pop() {
        for entry in fs::read_dir(&path).map_err(folder("read", &path))? {
            let entry = entry.map_err(folder("read", &path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(folder("look at", entry.path()))?;
            // Objects lie in folders of two digits, by the thousand; only their packs are ever half-written.
            if kind.is_dir() && name.len() > 2 {
                folders.push(entry.path());
            } else if !kind.is_dir() && (name.ends_with(".lock") || name.starts_with("tmp_")) {
                fs::remove_file(entry.path()).map_err(folder("remove", entry.path()))?;
            }
        }
    }
    Ok(())
}
