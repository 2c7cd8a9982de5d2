//! Git, by the `git` program.
//!
//! Why not a library: see the decision on sources. One bare mirror is kept per source; the files are checked out of it into a repository
//! of their own with a short history, so that builds can ask `git describe`, and nothing that they do there reaches the mirror.

mod fetch;
mod look;
mod tags;

use crate::credentials::{Credentials, in_memory};
use crate::error::{SourceError, folder};
use crate::run::{Ended, Order, Place, Work};
use crate::ssh;
use crate::text::{self, Mask};
use crate::tools::{Limits, Tools};
use coord_shared::pipeline::Git;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

/// What an address may begin with; `user@host:path` counts as ssh.
pub(crate) const SCHEMES: &[&str] = &["https", "http", "ssh", "git", "file"];
const GIT: (&str, &str) = ("git", "git");

/// A repository, and how it is asked.
pub(crate) struct Repository<'a> {
    pub(crate) git: &'a Git,
    pub(crate) credentials: Option<&'a Credentials>,
    pub(crate) tools: &'a Tools,
    pub(crate) limits: Limits,
}

impl<'a> Repository<'a> {
    /// What one call needs.
    fn work(&self, operation: &'static str, patience: Duration, kept: Option<&'a Path>, files: Option<&'a Path>) -> Work<'a> {
        Work {
            tools: self.tools,
            operation,
            url: text::shown(&self.git.url),
            mask: Mask(self.credentials.map(Credentials::words).unwrap_or_default()),
            kept,
            files,
            deadline: crate::clock::after(patience),
            patience,
        }
    }

    /// Git with `arguments`, where it may ask the server.
    async fn ask(&self, work: &Work<'_>, mut order: Order, log: &mut dyn FnMut(&str)) -> Result<Ended, SourceError> {
        self.introduce(work, &mut order)?;
        self.run(work, order, log).await
    }

    /// Git with `arguments`.
    async fn run(&self, work: &Work<'_>, mut order: Order, log: &mut dyn FnMut(&str)) -> Result<Ended, SourceError> {
        let config = format!("{}/gitconfig", work.seen(Place::Home));
        // A mirror of files is asked for files only: whoever may write a submodule's address there may not send us into the network.
        let protocols = if self.git.url.starts_with("file://") { "file" } else { "https:http:ssh:git" };
        let fixed = [
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
            ("GIT_CONFIG_SYSTEM", "/dev/null".to_owned()),
            ("GIT_CONFIG_GLOBAL", config),
            ("GIT_ATTR_NOSYSTEM", "1".to_owned()),
            ("GIT_TERMINAL_PROMPT", "0".to_owned()),
            ("GIT_ASKPASS", "/bin/false".to_owned()),
            ("GIT_OPTIONAL_LOCKS", "0".to_owned()),
            ("GIT_PROTOCOL_FROM_USER", "0".to_owned()),
            ("GIT_ADVICE", "0".to_owned()),
        ];
        for (name, value) in fixed {
            order.environment.push((name, value));
        }
        if !order.environment.iter().any(|(name, _)| *name == "GIT_ALLOW_PROTOCOL") {
            order.environment.push(("GIT_ALLOW_PROTOCOL", protocols.to_owned()));
        }
        work.run(GIT, order, log).await
    }

    /// As [`Repository::run`]; a failure is an error.
    async fn run_well(&self, work: &Work<'_>, order: Order, log: &mut dyn FnMut(&str)) -> Result<Ended, SourceError> {
        let ended = self.run(work, order, log).await?;
        if ended.is_success { Ok(ended) } else { Err(work.failed(&ended)) }
    }

    /// Adds who asks.
    fn introduce(&self, work: &Work<'_>, order: &mut Order) -> Result<(), SourceError> {
        let is_ssh = self.git.url.starts_with("ssh://") || !self.git.url.contains("://");
        let is_http = self.git.url.starts_with("http");
        let url = &work.url;
        if is_ssh {
            let command = ssh::command(work, self.credentials, order)?;
            order.environment.push(("GIT_SSH_COMMAND", command));
            order.environment.push(("GIT_SSH_VARIANT", "ssh".to_owned()));
        }
        if let (true, Some(credentials)) = (is_http, self.credentials) {
            let (scheme, user, host) = text::parts(&self.git.url).unwrap_or_default();
            let login = credentials.login(url, user)?;
            let memory = in_memory(&format!("username={}\npassword={}\n", login.user, login.password), self.tools.user)
                .map_err(folder("make memory for", "credentials"))?;
            order.environment.push(("COORD_SOURCE_FOR", format!("{scheme}://{host}")));
            order.environment.push(("COORD_SOURCE_FD", memory.as_raw_fd().to_string()));
            order.inherited.push(memory);
        }
        Ok(())
    }
}

/// Arguments from words.
fn arguments(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
