//! Subversion, by the `svn` program.
//!
//! A commit is a revision of the folder's own: the last one that changed something in it. Externals are left out, because they name other
//! repositories. Certificates must be good; passwords travel by standard input; nothing is kept.

use crate::credentials::{Credentials, Login};
use crate::error::{SourceError, Trouble};
use crate::folder::Bound;
use crate::run::{Ended, Order, Place, Work};
use crate::ssh;
use crate::text::{self, Mask};
use crate::tools::{Limits, Tools};
use coord_shared::names::Commit;
use coord_shared::wire::{CommitView, Head};
use jiff::Timestamp;
use std::path::Path;
use std::time::Duration;

/// What an address may begin with.
pub(crate) const SCHEMES: &[&str] = &["https", "http", "svn", "svn+ssh", "file"];
const SVN: (&str, &str) = ("svn", "subversion");

/// What it says when the repository is there, and the revision or the folder in it is not.
const NO_SUCH_REVISION: &[&str] = &["E160006", "E160013", "non-existent in revision"];

type Log<'l> = &'l mut dyn FnMut(&str);

/// A folder of a repository, and how it is asked.
pub(crate) struct Folder<'a> {
    pub(crate) url: &'a str,
    pub(crate) credentials: Option<&'a Credentials>,
    pub(crate) tools: &'a Tools,
    pub(crate) limits: Limits,
}

impl<'a> Folder<'a> {
    /// The last revision that changed the folder.
    pub(crate) async fn look(&self) -> Result<Head, SourceError> {
        let work = self.work("looking at", self.limits.look, None);
        let info = self.info(&work, "HEAD").await?;
        if info.revision == 0 {
            return Err(SourceError::Empty { url: work.url });
        }
        Ok(Head { commit: commit(&work, info.revision)?, reference: info.path })
    }

    /// See [`crate::Source::fetch`].
    pub(crate) async fn fetch(&self, commit: &Commit, into: &Path, log: Log<'_>) -> Result<CommitView, SourceError> {
        let work = self.work("fetching", self.limits.fetch, Some(into));
        let number = revision(&work, commit)?;
        let info = match self.info(&work, &number).await {
            Err(SourceError::Failed { said, .. }) if NO_SUCH_REVISION.iter().any(|words| said.contains(words)) => {
                return Err(SourceError::NoCommit { url: work.url, commit: commit.clone() });
            }
            info => info?,
        };
        log(&format!("exporting {} at {commit}", work.url));
        let words = [
            "export",
            "--quiet",
            "--force",
            "--ignore-externals",
            "-r",
            &number,
            "--",
            &at(self.url, &number),
            &work.seen(Place::Files),
        ];
        let bound = Bound { path: into.to_owned(), bytes: self.limits.files_bytes, files: self.limits.files };
        self.run(&work, &words, Some(bound), log).await?;
        let words = ["propget", "svn:log", "--revprop", "-r", &number, "--", self.url];
        let message = self.run(&work, &words, None, log).await?;
        let message = String::from_utf8_lossy(&message.output).into_owned();
        let subject = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Ok(CommitView { commit: commit.clone(), author: info.author, subject: text::line(subject.trim()), at: info.at })
    }

    /// See [`crate::Source::changed`].
    pub(crate) async fn changed(&self, since: &Commit, commit: &Commit) -> Result<Option<Vec<String>>, SourceError> {
        let work = self.work("fetching", self.limits.fetch, None);
        let (from, to) = (revision(&work, since)?, revision(&work, commit)?);
        let words = ["diff", "--summarize", "-r", &format!("{from}:{to}"), "--", &at(self.url, &to)];
        let ended = match self.run(&work, &words, None, &mut |_| ()).await {
            // The folder was somewhere else then, or nowhere.
            Err(SourceError::Failed { trouble: Trouble::Missing | Trouble::Other, .. }) => {
                return Ok(None);
            }
            ended => ended?,
        };
        let output = String::from_utf8_lossy(&ended.output);
        Ok(Some(output.lines().filter_map(|line| changed_path(line, self.url)).collect()))
    }

    fn work(&self, operation: &'static str, patience: Duration, files: Option<&'a Path>) -> Work<'a> {
        Work {
            tools: self.tools,
            operation,
            url: text::shown(self.url),
            mask: Mask(self.credentials.map(Credentials::words).unwrap_or_default()),
            kept: None,
            files,
            deadline: crate::clock::after(patience),
            patience,
        }
    }

    async fn run(&self, work: &Work<'_>, words: &[&str], bound: Option<Bound>, log: Log<'_>) -> Result<Ended, SourceError> {
        let mut arguments = vec![words[0].to_owned(), "--non-interactive".to_owned(), "--no-auth-cache".to_owned()];
        arguments.extend(["--config-dir".to_owned(), format!("{}/svn", work.seen(Place::Home))]);
        let mut order = Order { bound, ..Order::default() };
        if self.url.starts_with("svn+ssh://") {
            let ssh = ssh::command(work, self.credentials, &mut order)?;
            // svn starts it without a shell, and appends USER@HOST:PORT, which ssh does not understand, and what to run there.
            let host = text::parts(self.url).map_or("", |(_, _, host)| host);
            let port = host.rsplit_once(':').map_or("", |(_, port)| port);
            let port = port.parse::<u16>().unwrap_or(22);
            order
                .environment
                .push(("SVN_SSH", format!("sh -c 'h=${{1%:{port}}}; shift; exec {ssh} -p {port} \"$h\" \"$@\"' ssh")));
        } else if let Some(credentials) = self.credentials {
            let user = text::parts(self.url).and_then(|(_, user, _)| user);
            let Login { user, password } = credentials.login(&work.url, user)?;
            arguments.extend(["--username".to_owned(), user, "--password-from-stdin".to_owned()]);
            order.input = format!("{password}\n");
        }
        arguments.extend(words[1..].iter().map(|word| (*word).to_owned()));
        work.run_well(SVN, Order { arguments, ..order }, log).await
    }

    async fn info(&self, work: &Work<'_>, revision: &str) -> Result<Info, SourceError> {
        let ended = self.run(work, &["info", "-r", revision, "--", &at(self.url, revision)], None, &mut |_| ()).await?;
        let answer = |what: &str| SourceError::Answer { program: "svn", url: work.url.clone(), what: what.to_owned() };
        Info::parse(&String::from_utf8_lossy(&ended.output)).map_err(answer)
    }
}

/// The folder at a revision, whatever its name has for characters.
fn at(url: &str, revision: &str) -> String {
    format!("{url}@{revision}")
}

fn revision(work: &Work<'_>, commit: &Commit) -> Result<String, SourceError> {
    let number = commit.as_str().strip_prefix('r').map(str::to_owned);
    number.ok_or_else(|| SourceError::NoCommit { url: work.url.clone(), commit: commit.clone() })
}

fn commit(work: &Work<'_>, revision: u64) -> Result<Commit, SourceError> {
    let answer = |_| SourceError::Answer { program: "svn", url: work.url.clone(), what: format!("the revision {revision}") };
    format!("r{revision}").parse().map_err(answer)
}

/// What `svn info` says of a folder.
#[derive(Debug, PartialEq, Eq)]
struct Info {
    revision: u64,
    author: String,
    at: Timestamp,
    path: String,
}

impl Info {
    /// The error is the line that is missing.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ").map(str::trim));
        let revision = value("Last Changed Rev").and_then(|value| value.parse().ok()).ok_or("Last Changed Rev")?;
        // `2026-11-22 10:00:00 +0000 (Sun, 22 Nov 2026)`
        let date = value("Last Changed Date").unwrap_or_default().split(" (").next().unwrap_or_default();
        let at = Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", date).map_err(|_| "Last Changed Date")?;
        let path = value("Relative URL").unwrap_or_default().trim_start_matches("^/");
        let path = if path.is_empty() { "/".to_owned() } else { decoded(path) };
        Ok(Self { revision, author: text::line(value("Last Changed Author").unwrap_or("(nobody)")), at, path })
    }
}

/// Of a line of `svn diff --summarize`: seven columns of marks, a space, and the address of what changed.
fn changed_path(line: &str, url: &str) -> Option<String> {
    let address = line.get(8..)?;
    // Addresses may differ in their escapes; below the same folder they have the same number of parts.
    let depth = url.trim_end_matches('/').split('/').count();
    let path = address.split('/').skip(depth).collect::<Vec<_>>().join("/");
    // The folder itself: its properties changed.
    Some(if path.is_empty() { ".".to_owned() } else { decoded(&path) })
}

/// `%20` and the like as the characters that they stand for (RFC 3986, section 2.1).
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_svn_are_understood() {
        let text = "Path: trunk\nURL: file:///r/trunk\nRelative URL: ^/trunk\nRevision: 9\nNode Kind: directory\nLast Changed Author: alice\n\
                    Last Changed Rev: 7\nLast Changed Date: 2026-11-22 10:00:00 +0100 (Sun, 22 Nov 2026)\n";
        let info = Info::parse(text).unwrap();
        assert_eq!((info.revision, info.author.as_str(), info.path.as_str()), (7, "alice", "trunk"));
        assert_eq!(info.at.to_string(), "2026-11-22T09:00:00Z");
        assert_eq!(Info::parse(""), Err("Last Changed Rev"));
        let check =
            |line: &str, expect: &str| assert_eq!(changed_path(line, "file:///r/trunk").as_deref(), Some(expect), "{line}");
        check("M       file:///r/trunk/src/a%20b.c", "src/a b.c");
        check(" M      file:///r/trunk", ".");
        check("D       file:///r/trunk/100%25", "100%");
    }
}
