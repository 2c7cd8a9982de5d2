//! What can go wrong with a container, each with its object and its cure.

use std::io;
use std::path::PathBuf;

use super::request::{Failure, FailureKind};

/// An error of the runtime. `Display` says what and why; [`RuntimeError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// One of the two helper programs cannot be used.
    #[error("cannot use the helper {}", path.display())]
    Helper {
        /// The program.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The specification itself is wrong.
    #[error("container {id}: {what}")]
    Specification {
        /// The container.
        id: String,
        /// What is wrong.
        what: String,
    },
    /// There is a container of this ID already.
    #[error("container {id} exists already")]
    Exists {
        /// The container.
        id: String,
    },
    /// There is no running container of this ID.
    #[error("there is no container {id}")]
    NotFound {
        /// The container.
        id: String,
    },
    /// The container has ended, or ended while something was to be done in it.
    #[error("container {id} does not run")]
    NotRunning {
        /// The container.
        id: String,
    },
    /// A file or folder of the runtime cannot be used.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// In words: "make", "read", "write", "remove".
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel does not take a limit.
    #[error("container {id}: the host refuses the limit {limit} = {value}")]
    Limit {
        /// The container.
        id: String,
        /// Name of the limit, as in the document.
        limit: &'static str,
        /// Its value, as it was written to the kernel.
        value: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// systemd does not make a scope for the container.
    #[error("container {id}: systemd does not make its scope: {what}")]
    Systemd {
        /// The container.
        id: String,
        /// systemd's answer.
        what: String,
    },
    /// The container's command cannot be run.
    #[error("container {id}: {}", Described(.failure))]
    Start {
        /// The container.
        id: String,
        /// What and why.
        failure: StartFailure,
    },
    /// It was ready, and whoever has looked at it did not want it to run; see [`super::Inspection`].
    #[error("container {id}: {what}")]
    Inspection {
        /// The container.
        id: String,
        /// In the words of whoever has looked.
        what: String,
    },
    /// The container within which it was to run has ended meanwhile.
    #[error("container {id}: the container {parent}, within which it was to run, has ended")]
    ParentEnded {
        /// The container.
        id: String,
        /// The one within which it was to run.
        parent: String,
    },
    /// A command cannot be run in the container.
    #[error("container {id}: {}", Described(.failure))]
    Exec {
        /// The container.
        id: String,
        /// What and why.
        failure: StartFailure,
    },
    /// The shim ended without an answer, which it never should.
    #[error("container {id}: the shim ended without an answer: {detail}")]
    ShimDied {
        /// The container.
        id: String,
        /// What it left on standard error.
        detail: String,
    },
    /// The start took too long, and was given up.
    #[error("container {id} did not start within {seconds} s: {detail}")]
    Timeout {
        /// The container.
        id: String,
        /// How long it was waited for.
        seconds: u64,
        /// What the shim left on standard error.
        detail: String,
    },
    /// A signal cannot be sent.
    #[error("cannot send signal {signal} to container {id}")]
    Signal {
        /// The container.
        id: String,
        /// The signal's number.
        signal: i32,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The runtime's own fault.
    #[error("container {id}: internal error: {what}")]
    Internal {
        /// The container.
        id: String,
        /// What happened.
        what: String,
    },
}

impl RuntimeError {
    /// What the operator can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            RuntimeError::Helper { .. } => {
                "install coord-shim and coord-monitor beside coord-agent, or set `helpers` in agent.toml"
            }
            RuntimeError::Limit { limit: "memory", .. } => "choose a larger `memory` in [resources]",
            RuntimeError::Limit { .. } => {
                "choose another value in [resources], and see that the host has this cgroup controller (cgroup.controllers)"
            }
            RuntimeError::File { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => "free some space on this disk",
            RuntimeError::File { .. } => "the agent must run as root and own its state and run folders",
            RuntimeError::Systemd { .. } => "see `journalctl -u init.scope` and `systemctl status coord.slice`",
            RuntimeError::Start { failure, .. } => failure.hint()?,
            RuntimeError::Exec { failure, .. } => failure.exec_hint()?,
            RuntimeError::ShimDied { .. } | RuntimeError::Timeout { .. } => {
                "check that coord-shim, coord-monitor and coord-agent are of one release; else see the kernel's log (dmesg)"
            }
            RuntimeError::Specification { .. }
            | RuntimeError::Exists { .. }
            | RuntimeError::NotFound { .. }
            | RuntimeError::NotRunning { .. }
            | RuntimeError::Inspection { .. }
            | RuntimeError::ParentEnded { .. }
            | RuntimeError::Signal { .. }
            | RuntimeError::Internal { .. } => return None,
        })
    }
}

impl RuntimeError {
    /// Whether the reason may lie in what every container needs, rather than in what was asked for.
    pub(super) fn may_be_the_hosts(&self) -> bool {
        match self {
            RuntimeError::Start { failure, .. } => failure.kind == FailureKind::Host,
            RuntimeError::File { .. } | RuntimeError::ShimDied { .. } | RuntimeError::Timeout { .. } => true,
            RuntimeError::Limit { .. } | RuntimeError::Internal { .. } => true,
            RuntimeError::Helper { .. }
            | RuntimeError::Specification { .. }
            | RuntimeError::Exists { .. }
            | RuntimeError::NotFound { .. }
            | RuntimeError::NotRunning { .. }
            | RuntimeError::Systemd { .. }
            | RuntimeError::Inspection { .. }
            | RuntimeError::ParentEnded { .. }
            | RuntimeError::Exec { .. }
            | RuntimeError::Signal { .. } => false,
        }
    }

    /// The exit status by which shells and container engines tell the same: 127 for a command that is not there, 126 for one that
    /// cannot be executed, 125 for all else.
    pub fn exit_status(&self) -> u8 {
        match self {
            RuntimeError::Start { failure, .. } | RuntimeError::Exec { failure, .. } => match failure.kind {
                FailureKind::CommandNotFound => 127,
                FailureKind::CommandNotExecutable | FailureKind::CommandFormat => 126,
                FailureKind::User
                | FailureKind::WorkingDirectory
                | FailureKind::Root
                | FailureKind::Mount
                | FailureKind::Network
                | FailureKind::Users
                | FailureKind::Inspection
                | FailureKind::Host => 125,
            },
            RuntimeError::Helper { .. }
            | RuntimeError::Specification { .. }
            | RuntimeError::Exists { .. }
            | RuntimeError::NotFound { .. }
            | RuntimeError::NotRunning { .. }
            | RuntimeError::Inspection { .. }
            | RuntimeError::ParentEnded { .. }
            | RuntimeError::File { .. }
            | RuntimeError::Limit { .. }
            | RuntimeError::Systemd { .. }
            | RuntimeError::ShimDied { .. }
            | RuntimeError::Timeout { .. }
            | RuntimeError::Signal { .. }
            | RuntimeError::Internal { .. } => 125,
        }
    }
}

/// Why a container's command cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    kind: FailureKind,
    object: String,
    detail: String,
}

impl StartFailure {
    /// As told by the shim, with what it left on standard error where the failure is not the document's or the image's.
    pub(super) fn new(failure: Failure, stderr: &str) -> StartFailure {
        let Failure { kind, object, mut detail } = failure;
        if kind == FailureKind::Host && !stderr.is_empty() {
            detail = format!("{detail} ({stderr})");
        }
        StartFailure { kind, object, detail }
    }

    /// For a command that was to be run in a container besides its own.
    fn exec_hint(&self) -> Option<&'static str> {
        match self.kind {
            FailureKind::CommandNotFound => Some("check the command, and the PATH of the container; many images have no shell"),
            FailureKind::CommandNotExecutable | FailureKind::CommandFormat => Some("name another command"),
            FailureKind::WorkingDirectory => Some("choose a folder that the container has"),
            FailureKind::User => self.hint(),
            FailureKind::Root | FailureKind::Mount | FailureKind::Network | FailureKind::Users | FailureKind::Host => None,
            FailureKind::Inspection => None,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self.kind {
            FailureKind::CommandNotFound => {
                "check `command` and the image's PATH; a script also needs its interpreter in the image"
            }
            FailureKind::CommandNotExecutable => "set the executable bit when the image is built, or name another `command`",
            FailureKind::CommandFormat => {
                "check that the image was built for this machine; a script needs a first line like #!/bin/sh"
            }
            FailureKind::User => "use a user of the image, or numbers: user = \"1000:1000\"",
            FailureKind::WorkingDirectory => "choose another `working_dir`",
            FailureKind::Root => "check the image; `coordctl status` shows the message",
            FailureKind::Mount => "check the mounts in the document: their sources on this host, and their targets in the image",
            FailureKind::Users => {
                "set host_users = true in the document, or user_namespaces = \"auto\" in agent.toml, to let it have the host's users"
            }
            FailureKind::Network | FailureKind::Host | FailureKind::Inspection => return None,
        })
    }
}

struct Described<'a>(&'a StartFailure);

impl std::fmt::Display for Described<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let StartFailure { kind, object, detail } = self.0;
        match kind {
            FailureKind::CommandNotFound => write!(formatter, "command {object:?} is not in the image"),
            FailureKind::CommandNotExecutable => write!(formatter, "command {object:?} cannot be executed: {detail}"),
            FailureKind::CommandFormat => write!(formatter, "command {object:?} is no program for this machine: {detail}"),
            FailureKind::User => write!(formatter, "user {object:?}: {detail}"),
            FailureKind::WorkingDirectory => write!(formatter, "working directory {object:?}: {detail}"),
            FailureKind::Root => write!(formatter, "root file system, {object}: {detail}"),
            FailureKind::Mount => write!(formatter, "cannot mount {object}: {detail}"),
            FailureKind::Network => write!(formatter, "cannot connect its network: {detail}"),
            FailureKind::Users => write!(formatter, "it cannot have users of its own: {detail}"),
            FailureKind::Inspection => formatter.write_str(detail),
            FailureKind::Host if object.is_empty() => formatter.write_str(detail),
            FailureKind::Host => write!(formatter, "{object}: {detail}"),
        }
    }
}
