//! Credentials: the text of a secret, and how programs get it without its being seen.
//!
//! They lie in memory that is a file only to the programs that inherit it (memfd): not in arguments, which everybody may read, not in the
//! environment, not on a disk. Each of its readers opens it anew through `/proc`, so it can be read several times.

use crate::error::SourceError;
use crate::tools::User;
use rustix::fs::{MemfdFlags, Mode, SeekFrom};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

/// Longest secret, in bytes: a private key of the largest kind with lines of known hosts.
const SECRET_MAX_BYTES: usize = 64 * 1024;
/// Who asks, where a secret is a token alone: servers that take tokens as passwords ignore the name, but want one.
const TOKEN_USER: &str = "git";
/// Where a private key ends.
const KEY_END: &str = "PRIVATE KEY-----";

/// The text of a secret. Shown to nobody.
#[derive(Clone)]
pub struct Credentials(String);

impl Credentials {
    /// The secret's text; spaces and line ends around it do not count.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().trim().to_owned())
    }

    /// As `USER:PASSWORD`, or a password alone, for HTTP and Subversion. `url_user`: whom the address names.
    pub(crate) fn login(&self, url: &str, url_user: Option<&str>) -> Result<Login, SourceError> {
        let fail = |problem| SourceError::Secret { url: url.to_owned(), problem };
        if self.0.is_empty() {
            return Err(fail("is empty"));
        }
        if self.0.len() > SECRET_MAX_BYTES || self.0.contains(['\n', '\r', '\0']) {
            return Err(fail("is not one line; for this address it is USER:PASSWORD, or a token alone"));
        }
        let (user, password) = match self.0.split_once(':') {
            Some((user, password)) => (user, password),
            None => (url_user.unwrap_or(TOKEN_USER), self.0.as_str()),
        };
        Ok(Login { user: user.to_owned(), password: password.to_owned() })
    }

    /// As a private key, and below it lines of ssh's `known_hosts`.
    pub(crate) fn key(&self, url: &str) -> Result<Key, SourceError> {
        let fail = |problem| SourceError::Secret { url: url.to_owned(), problem };
        if self.0.len() > SECRET_MAX_BYTES {
            return Err(fail("is longer than 64 KiB"));
        }
        let end = self.0.rfind(KEY_END).filter(|_| self.0.starts_with("-----BEGIN"));
        let end = end.ok_or_else(|| fail("is not a private key (-----BEGIN ...), which an ssh address needs"))?;
        let (key, known_hosts) = self.0.split_at(end + KEY_END.len());
        // ssh wants a line end behind the last line.
        Ok(Key { key: format!("{key}\n"), known_hosts: known_hosts.trim().to_owned() })
    }

    /// Words that no log may show: the secret, and its parts as they may travel.
    pub(crate) fn words(&self) -> Vec<String> {
        let password = self.0.split_once(':').map_or(self.0.as_str(), |(_, password)| password);
        vec![self.0.clone(), password.to_owned()]
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// Who asks, and his password.
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// A private key, and the servers that it is shown to; none: the first key that a server shows is remembered.
pub(crate) struct Key {
    pub(crate) key: String,
    pub(crate) known_hosts: String,
}

/// Memory that the programs of `user` can read as a file while they inherit it.
pub(crate) fn in_memory(content: &str, user: Option<User>) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("source", MemfdFlags::CLOEXEC)?;
    let mut rest = content.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(&memory, rest)?;
        rest = &rest[written..];
    }
    rustix::fs::seek(&memory, SeekFrom::Start(0))?;
    // ssh refuses a key that others could read.
    rustix::fs::fchmod(&memory, Mode::RUSR)?;
    if let Some(user) = user {
        rustix::fs::fchown(&memory, Some(user.raw_uid()), Some(user.raw_gid()))?;
    }
    Ok(memory)
}
