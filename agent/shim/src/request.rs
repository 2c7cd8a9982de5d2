//! What the agent and the shim say to each other over the shim's standard input, a socket: one [`Request`] in, one
//! [`Outcome`] back, both as JSON.
//!
//! The agent compiles this very file as a module of its own (`runtime::request`), so the two can never disagree, and the
//! agent does not link libcontainer. Also here: how a monitor's command line is written, because both sides start
//! monitors. Agent and shim are of one release, which [`PROTOCOL`] makes sure of. A monitor may be of an earlier release than the agent,
//! or of a later one than the shim that becomes it: what is added here has a default, and a monitor passes over what it does not know.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Grows with every change of what agent, shim and monitor say to each other, and of `state.json`. Containers of earlier numbers, from 1
/// on, are taken over: theirs was not written down.
pub(crate) const PROTOCOL: u32 = 2;

/// The number of a release that did not write it down.
pub(crate) fn first_protocol() -> u32 {
    1
}

/// Everything the shim needs to start one container. All paths are absolute and made by the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// [`PROTOCOL`] of the agent.
    #[serde(default = "first_protocol")]
    pub(crate) protocol: u32,
    /// The container's ID.
    pub(crate) id: String,
    /// Holds `config.json`, `upper/`, `work/`, `rootfs/`: on disk.
    pub(crate) bundle: PathBuf,
    /// Holds `state.json`, the FIFOs and, in the end, `exit.json`: in memory.
    pub(crate) run: PathBuf,
    /// The read-only layers, topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    /// As the document or the image says it; looked up inside the mounted root.
    pub(crate) user: String,
    /// A new network namespace with nothing but `lo`. Otherwise the network of the host is shared.
    pub(crate) own_network: bool,
    /// Where the container's processes go.
    pub(crate) cgroup: CgroupPlacement,
    /// Two seccomp programs, each as its length in instructions (u32, native order) and that many `sock_filter`.
    pub(crate) seccomp: PathBuf,
    /// What the shim becomes when the container runs.
    pub(crate) monitor: MonitorConfig,
}

/// How the container enters its cgroup, which the agent has made and limited already.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CgroupPlacement {
    /// Path of the container's group in the cgroup v2 tree, from the tree's mount point; `None` when the host has none.
    pub(crate) unified: Option<PathBuf>,
    /// The v2 tree is mounted here; anything else than `/sys/fs/cgroup` is a hybrid host.
    pub(crate) unified_mount: PathBuf,
    /// `tasks` files of cgroup v1 to be entered besides. (A thread that moves itself moves at once; the move of a process
    /// makes the kernel wait for all processors.)
    pub(crate) v1_tasks: Vec<PathBuf>,
}

/// What a monitor is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MonitorConfig {
    /// The program `coord-monitor`.
    pub(crate) program: PathBuf,
    /// The log file, appended to.
    pub(crate) log: PathBuf,
    /// The log is rotated before it grows beyond this.
    pub(crate) log_max_bytes: u64,
    /// How many files there are at most, the current one included; at least 1.
    pub(crate) log_max_files: u32,
    /// A file with a line `oom_kill N`: cgroup v2's `memory.events`, v1's `memory.oom_control`.
    pub(crate) oom_events: Option<PathBuf>,
    /// Whom the output is for.
    #[serde(default)]
    pub(crate) target: LogTarget,
    /// Bytes in a second that are written down.
    #[serde(default)]
    pub(crate) rate_bytes_per_s: Option<u64>,
    /// The container's ID, and what people call it.
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
}

/// Whom a container's output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogTarget {
    /// The file.
    #[default]
    File,
    /// The file and the host's journal.
    Journald,
    /// Nobody.
    Nobody,
}

impl MonitorConfig {
    /// The monitor's arguments (without the program's name) for the container in `run` whose first process is `init`.
    pub(crate) fn arguments(&self, run: &Path, init: ProcessId) -> Vec<OsString> {
        let path = |key: &str, path: &Path| {
            let mut argument = OsString::from(key);
            argument.push(path);
            argument
        };
        let mut arguments = vec![
            path("run=", run),
            format!("init={}", init.pid).into(),
            format!("start={}", init.start_ticks).into(),
            path("log=", &self.log),
            format!("max-bytes={}", self.log_max_bytes).into(),
            format!("max-files={}", self.log_max_files).into(),
        ];
        if let Some(events) = &self.oom_events {
            arguments.push(path("oom=", events));
        }
        match self.target {
            LogTarget::File => {}
            LogTarget::Journald => {
                arguments.extend([
                    "driver=journald".into(),
                    format!("id={}", self.id).into(),
                    format!("name={}", self.name).into(),
                ]);
            }
            LogTarget::Nobody => arguments.push("driver=none".into()),
        }
        if let Some(rate) = self.rate_bytes_per_s {
            arguments.push(format!("rate={rate}").into());
        }
        arguments
    }
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    /// As seen from the host.
    pub(crate) pid: i32,
    /// Start time in clock ticks after boot: field 22 of `/proc/PID/stat`.
    pub(crate) start_ticks: u64,
}

impl ProcessId {
    /// The identity of the process that has this number now, or `None` when there is none.
    pub(crate) fn of(pid: i32) -> Option<ProcessId> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name, in parentheses, may hold anything: count from behind it.
        let after_name = &stat[stat.rfind(')')? + 1..];
        let start_ticks = after_name.split_ascii_whitespace().nth(19)?.parse().ok()?;
        Some(ProcessId { pid, start_ticks })
    }
}

/// The shim's one answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The container's command has been executed; `state.json` says so too.
    Running {
        /// The container's first process.
        init: ProcessId,
        /// When, in milliseconds since 1970.
        started_at_ms: i64,
    },
    /// Nothing runs.
    Failed(Failure),
}

/// Why a container could not be started, in terms of what its owner can change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What sort of failure.
    pub(crate) kind: FailureKind,
    /// What it is about: a command, a user, a path.
    pub(crate) object: String,
    /// The system's words for it; may be empty.
    pub(crate) detail: String,
}

/// The sorts of [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailureKind {
    /// The command is not in the image.
    CommandNotFound,
    /// The command is there and may not be executed.
    CommandNotExecutable,
    /// The command is no program for this machine.
    CommandFormat,
    /// User or group is not in the image's `/etc/passwd` or `/etc/group`.
    User,
    /// The working directory cannot be made or entered.
    WorkingDirectory,
    /// The root file system cannot be put together.
    Root,
    /// The host refuses something that every container needs.
    Host,
}
