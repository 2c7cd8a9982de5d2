//! Runs containers: takes a [`ContainerSpec`], gives back a [`Running`], and says by an event when it ended.
//!
//! The runtime knows no document, no image store, no ledger, and decides nothing: whoever calls it says what to start,
//! when to kill and when to remove. A container survives its agent: it has a monitor of its own (`coord-monitor`), which
//! holds its output and its exit status, and [`Runtime::recover`] finds both again.
//!
//! ```text
//! start ─▶ CREATING ─▶ RUNNING ─▶ EXITED ─▶ removed        on disk   STATE/c/ID/{config.json,etc/,upper/,work/,rootfs/}
//!              │           └─ LOST (monitor dead, init       in memory RUN/c/ID/{state.json,out.fifo,err.fifo,exit.json}
//!              ▼              alive): a new monitor
//!          cleaned, one error
//! ```
//! Deliberately absent so far: exec, pause, user namespaces, networks other than the host's and none.

mod cgroup;
mod embedded;
mod error;
mod helpers;
mod recover;
#[path = "../../shim/src/request.rs"]
mod request;
mod seccomp;
mod spec;
mod start;
mod state;
mod sys;
mod systemd;
mod watch;

use std::future::Future;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use cgroup::{CgroupSurvey, survey};
pub use embedded::EmbeddedRuntime;
pub use error::RuntimeError;
pub use recover::peek;

/// Everything that is needed to run one container, merged from document and image by the caller.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// Unique for all time on this host: letters, digits, `.`, `_`, `-`; at most 128 characters.
    pub id: String,
    /// The image's layers as directories, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Command and arguments; not empty.
    pub args: Vec<String>,
    /// Environment. `PATH`, `HOME` and `HOSTNAME` are added where missing.
    pub env: Vec<(String, String)>,
    /// Working directory; empty is `/`. Made when the image lacks it.
    pub cwd: String,
    /// `""` (root), `"app"`, `"1000:1000"`, `"app:staff"`: looked up inside the image.
    pub user: String,
    /// The container's host name.
    pub hostname: String,
    /// Which network it sees.
    pub network: NetworkMode,
    /// Limits.
    pub resources: Resources,
    /// The root file system cannot be written to.
    pub read_only: bool,
    /// Kept for the caller; the runtime sends the signals it is told to.
    pub stop_signal: i32,
    /// Where its output goes.
    pub log: LogPolicy,
    /// Opaque to the runtime; given back by [`Runtime::recover`].
    pub meta: serde_json::Value,
}

/// The network that a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMode {
    /// The host's own.
    Host,
    /// A loopback interface and nothing else.
    None,
}

/// Limits of a container; `None` is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory and swap together.
    pub memory_bytes: Option<u64>,
    /// Thousandths of a processor.
    pub cpus_milli: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// Where a container's output goes and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPolicy {
    /// Appended to. Its folder is made.
    pub path: PathBuf,
    /// The file is rotated before it grows beyond this.
    pub max_bytes: u64,
    /// Files kept, the current one included; at least 1.
    pub max_files: u32,
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// As given.
    pub id: String,
    /// Its first process, as the host numbers it.
    pub pid: i32,
    /// When its command was executed.
    pub started_at: Timestamp,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status of the first process.
    pub code: Option<i32>,
    /// Or the signal that ended it.
    pub signal: Option<i32>,
    /// It did not end well, and the kernel had killed processes of this container for want of memory.
    pub oom_killed: bool,
    /// When.
    pub at: Timestamp,
    /// It ended while nobody could see how.
    pub unknown: bool,
}

/// A container that an earlier agent has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The container.
    pub id: String,
    /// What [`ContainerSpec::meta`] was.
    pub meta: serde_json::Value,
    /// What has become of it.
    pub state: RecoveredState,
}

/// What has become of a container while there was no agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveredState {
    /// It runs, and is watched from now on.
    Running(Running),
    /// It has ended.
    Exited(Exit),
    /// It has ended, and nobody saw how.
    Unknown,
}

/// What a runtime tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A container that ran has ended. Once for each.
    Exited {
        /// The container.
        id: String,
        /// How.
        exit: Exit,
    },
}

/// A way to run containers. One implementation so far; tests bring their own.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// Starts a container. When it returns `Ok`, the command has been executed. When it fails, nothing is left of it.
    /// It goes on to its end when the future is dropped.
    fn start(&self, spec: ContainerSpec) -> impl Future<Output = Result<Running, RuntimeError>> + Send;

    /// To be called once, before any start: finds the containers of earlier agents and watches those that run. Cleans
    /// what cannot be used any more: half-created containers, those of an earlier boot.
    fn recover(&self) -> Result<Vec<Recovered>, RuntimeError>;

    /// Sends a signal to the container's first process.
    fn signal(&self, id: &str, signal: i32) -> Result<(), RuntimeError>;

    /// Kills all processes of the container.
    fn kill(&self, id: &str) -> Result<(), RuntimeError>;

    /// Removes what is left of a container, and kills it before if it runs. Its log stays. May be repeated.
    fn remove(&self, id: &str) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// The events. Handed out once: `None` from the second call on.
    fn events(&self) -> Option<mpsc::Receiver<RuntimeEvent>>;
}

#[cfg(test)]
mod tests;
