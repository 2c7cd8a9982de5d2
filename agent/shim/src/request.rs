//! What the agent and the shim say to each other over the shim's standard input, a socket: lines of JSON.
//!
//! ```text
//! agent ─ one byte, with the container's own standard files if it has been given some ─▶ shim
//!       ─ Request ─▶
//!       ◀─ Message::Network: here is the new network namespace ─
//!       ─ Connected: it is connected, or why it cannot be ─▶        (meanwhile the shim goes on)
//!       ◀─ Message::Ready: all is mounted, and the command waits ─
//!       ─ Inspected: it may be executed, or why not ─▶
//!       ◀─ Message::Running or Message::Failed ─
//! ```
//! The agent compiles this very file as a module of its own (`runtime::request`), so the two can never disagree, and the
//! agent does not link libcontainer. Also here: how a monitor's command line is written, because both sides start
//! monitors. Agent and shim are of one release, which [`PROTOCOL`] makes sure of. A monitor may be of an earlier release than the agent,
//! or of a later one than the shim that becomes it: what is added here has a default, and a monitor passes over what it does not know.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Grows with every change of what agent, shim and monitor say to each other, and of `state.json`. Containers of earlier numbers, from 1
/// on, are taken over: theirs was not written down.
pub(crate) const PROTOCOL: u32 = 3;

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
    /// Groups beside the user's own, by name or number; looked up inside the mounted root.
    pub(crate) groups: Vec<String>,
    /// Which network the container sees.
    pub(crate) network: Network,
    /// The users that it gets.
    pub(crate) users: Users,
    /// Mounted into the root, in this order.
    pub(crate) mounts: Vec<MountRequest>,
    /// Made in `/dev`, beside the usual ones.
    pub(crate) devices: Vec<DeviceNode>,
    /// The container within which it runs.
    #[serde(default)]
    pub(crate) parent: Option<ParentRequest>,
    /// The agent looks at it before the command is executed.
    #[serde(default)]
    pub(crate) is_inspected: bool,
    /// Its standard files came with the first byte; else they are nothing and the FIFOs.
    pub(crate) given_stdio: bool,
    /// The first process is a small init: this program, sealed.
    pub(crate) init: Option<PathBuf>,
    /// Where the container's processes go.
    pub(crate) cgroup: CgroupPlacement,
    /// Seccomp programs to be loaded in this order, each as its length in instructions (u32, native order) and that many
    /// `sock_filter`. An empty file is no filter.
    pub(crate) seccomp: PathBuf,
    /// The filters must be loaded before capabilities are dropped: the command's programs may gain rights.
    pub(crate) filters_first: bool,
    /// The OCI runtime that makes the first process; the shim does it itself where there is none.
    pub(crate) external: Option<PathBuf>,
    /// What the shim becomes when the container runs.
    pub(crate) monitor: MonitorConfig,
}

/// Which network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Network {
    /// The host's.
    Host,
    /// Its own, with nothing but `lo`.
    Own,
    /// Its own, which the agent connects.
    Connected,
    /// That of its parent, which is not the host's.
    Parents,
}

/// A container within which another one runs. As a process, because all that they share is found there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ParentRequest {
    /// Its first process.
    pub(crate) init: ProcessId,
    /// It has processes of its own, and those of the other are among them; else it sees all of the host's.
    pub(crate) own_processes: bool,
}

/// The users of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Users {
    /// The host's, as it was asked for.
    Host,
    /// The host's, because of this, in a few words.
    HostBecause(String),
    /// Its own: user `n` of the container is user `first + n` of the host.
    Own {
        /// On the host.
        range: UserRange,
        /// Rather than with the host's users, it is not started.
        required: bool,
    },
    /// Those of its parent, which are not the host's.
    Parents {
        /// On the host.
        range: UserRange,
    },
}

/// Users and groups of the host that are one container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRange {
    /// User 0 of the container.
    pub(crate) first: u32,
    /// How many.
    pub(crate) count: u32,
}

/// Something to be mounted into the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountRequest {
    /// Absolute and without `..`; in the container.
    pub(crate) target: PathBuf,
    /// It refuses writes, and so does all that is mounted below it.
    pub(crate) read_only: bool,
    /// What.
    pub(crate) source: MountFrom,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountFrom {
    /// A folder of ours.
    Volume {
        /// On the host.
        path: PathBuf,
        /// Filled from the image while it is empty.
        copy_up: bool,
    },
    /// A file or folder of the host.
    Bind {
        /// On the host.
        path: PathBuf,
        /// Of the mounts below it.
        propagation: BindPropagation,
    },
    /// Memory.
    Tmpfs {
        /// The kernel's default where absent.
        size_bytes: Option<u64>,
        /// Permissions of its root.
        mode: u32,
    },
    /// A folder of the parent, live.
    Parents {
        /// As the parent sees it.
        path: PathBuf,
    },
}

/// Mount propagation; see `mount_namespaces(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BindPropagation {
    Private,
    Slave,
    Shared,
}

/// A device file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceNode {
    /// In the container.
    pub(crate) target: PathBuf,
    /// A block device; else a character device.
    pub(crate) block: bool,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Permissions, and the users that they are for.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
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

/// What the shim says; the last of it is `Running` or `Failed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The network namespace to be connected. The shim goes on meanwhile, and needs a [`Connected`] before the command is
    /// executed.
    Network {
        /// It can be opened here.
        namespace: PathBuf,
    },
    /// Everything is as it will be, but for the command, which is executed after an [`Inspected`].
    Ready {
        /// The container's first process.
        init: ProcessId,
    },
    /// The container's command has been executed; `state.json` says so too.
    Running {
        /// The container's first process.
        init: ProcessId,
        /// When, in milliseconds since 1970.
        started_at_ms: i64,
        /// What the host could not give it of the default isolation, a few words each.
        weakened: Vec<String>,
    },
    /// Nothing runs.
    Failed(Failure),
}

/// The agent's answer to [`Message::Network`]: an error is in words for the operator.
pub(crate) type Connected = Result<(), String>;

/// The agent's answer to [`Message::Ready`]: an error is in words for whoever wants the container.
pub(crate) type Inspected = Result<(), String>;

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
    /// Something cannot be mounted into it.
    Mount,
    /// Its network cannot be connected.
    Network,
    /// It may run with users of its own only, and the host cannot give it any.
    Users,
    /// The host refuses something that every container needs.
    Host,
    /// The agent has looked at it and does not want it to run.
    Inspection,
}
