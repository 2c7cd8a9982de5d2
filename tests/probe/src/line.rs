//! A line of the isolation table: what is tried, and what came of it.
//!
//! Every finding carries an exposure: 0 is closed, more is more open. It is a number and not a verdict, so that two engines
//! can be compared on lines that have no yes or no, such as the count of capabilities. Deliberately absent: which exposure
//! is good enough; whoever compares decides.

use std::time::Duration;

use serde_json::{Value, json};

use crate::sys::{self, Answer};

/// No probe but the bombs takes more than a blink.
pub(crate) const USUAL_LIMIT: Duration = Duration::from_secs(5);

/// One thing to try.
pub(crate) struct Line {
    /// Short and stable: tests and documents name it.
    pub(crate) name: &'static str,
    /// Which chapter of the table.
    pub(crate) chapter: &'static str,
    /// In words.
    pub(crate) what: &'static str,
    /// Tries it. Runs in a process of its own.
    pub(crate) probe: fn() -> Finding,
    /// After which the probe is ended.
    pub(crate) limit: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `None`: it could not be told.
    pub(crate) exposure: Option<u64>,
    /// In a few words.
    pub(crate) detail: String,
}

impl Finding {
    pub(crate) fn refused(detail: impl Into<String>) -> Finding {
        Finding { exposure: Some(0), detail: detail.into() }
    }

    pub(crate) fn open(detail: impl Into<String>) -> Finding {
        Finding { exposure: Some(1), detail: detail.into() }
    }

    pub(crate) fn unknown(detail: impl Into<String>) -> Finding {
        Finding { exposure: None, detail: detail.into() }
    }

    pub(crate) fn measured(exposure: u64, detail: impl Into<String>) -> Finding {
        Finding { exposure: Some(exposure), detail: detail.into() }
    }

    /// Of a system call: it was refused if the kernel says that it is not allowed, or not there. Any other error means that the call
    /// was let through and failed for another reason, such as nonsense in its arguments: the probe's are nonsense on purpose.
    pub(crate) fn of_call(answer: Answer) -> Finding {
        match answer {
            Ok(_) => Finding::open("works"),
            Err(error @ (libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EROFS)) => Finding::refused(name(error)),
            Err(error) => Finding::open(format!("let through: {}", name(error))),
        }
    }

    /// Of something that is opened: what is not there is closed, too.
    pub(crate) fn of_open(answer: Answer) -> Finding {
        match answer {
            Ok(_) => Finding::open("opens"),
            Err(error) => Finding::refused(name(error)),
        }
    }

    pub(crate) fn to_line(&self) -> String {
        let exposure = self.exposure.map_or_else(|| "-".to_owned(), |exposure| exposure.to_string());
        format!("{exposure} {}", self.detail)
    }

    pub(crate) fn from_line(line: &str) -> Finding {
        let (exposure, detail) = line.split_once(' ').unwrap_or(("-", line));
        Finding { exposure: exposure.parse().ok(), detail: detail.to_owned() }
    }
}

impl Line {
    /// Tries it, and tells the result as a line of JSON.
    pub(crate) fn run(&self) -> Value {
        let finding = sys::in_child(self.limit, || {
            // Where the right to mount is there, what one line mounts is not to confuse the next; where it is not, this changes nothing.
            let _ = sys::call(libc::SYS_unshare, &[libc::CLONE_NEWNS as usize]);
            (self.probe)()
        });
        json!({
            "name": self.name, "chapter": self.chapter, "what": self.what,
            "exposure": finding.exposure, "detail": finding.detail,
        })
    }
}

/// An error as the manual pages call it.
pub(crate) fn name(error: i32) -> String {
    let known = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"),
        (libc::ESTALE, "ESTALE"),
        (libc::EDQUOT, "EDQUOT"),
        (libc::ENOEXEC, "ENOEXEC"),
    ];
    let found = known.iter().find(|(number, _)| *number == error);
    found.map_or_else(|| format!("errno {error}"), |(_, name)| (*name).to_owned())
}
