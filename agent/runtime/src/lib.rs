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
//! Deliberately absent: pause, checkpoints.

mod cgroup;
mod clock;
mod conversation;
mod embedded;
mod error;
mod exec;
#[path = "../../shim/src/exec_request.rs"]
mod exec_request;
mod external;
mod helpers;
mod host;
mod inspect;
#[path = "../../shim/src/live.rs"]
mod live;
mod parent;
mod recover;
#[path = "../../shim/src/request.rs"]
mod request;
mod seccomp;
mod spec;
mod start;
mod state;
mod sys;
mod systemd;
mod users;
mod watch;

use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

pub use cgroup::{CgroupSurvey, CpuUsage, IoUsage, MemoryUsage, PidsUsage, Pressure, Pressures, Usage, survey};
pub use embedded::EmbeddedRuntime;
pub use error::RuntimeError;
pub use exec::{resize_terminal, signal_process};
pub use inspect::{Inspected, containers, inspect};
pub use parent::Parent;
pub use recover::peek;

/// What root may do in a container unless told otherwise.
pub use spec::CAPABILITIES as DEFAULT_CAPABILITIES;

/// How containers are kept apart on this host, whatever they ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isolation {
    /// Whether they have users of their own.
    pub user_namespaces: UserNamespaces,
    /// The first of the host's users that are set apart for containers.
    pub first_user: u32,
    /// How many there are: 65536 for each container that runs at the same time.
    pub user_count: u32,
}

impl Default for Isolation {
    /// Users behind those that distributions, systemd and container engines give away, for 4000 containers.
    fn default() -> Isolation {
        Isolation { user_namespaces: UserNamespaces::Auto, first_user: 0x7000_0000, user_count: 4000 << 16 }
    }
}

/// Whether containers have users of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserNamespaces {
    /// Where the kernel and the file systems can; else [`Running::weakened`] says why not.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Always: one that cannot have any is not started.
    Require,
}

/// Size of `/dev/shm` unless told otherwise (Docker's default).
pub const SHM_DEFAULT_BYTES: u64 = 64 << 20;

/// Everything that is needed to run one container, merged from document, image and host by the caller.
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
    /// Groups beside those of the user, by name or number: looked up inside the image.
    pub groups: Vec<String>,
    /// The container's host name.
    pub hostname: String,
    /// Which network it sees.
    pub network: NetworkMode,
    /// The text of `/etc/hosts`; made from the host name where absent.
    pub hosts_file: Option<String>,
    /// The text of `/etc/resolv.conf`; the host's on the host's network, else empty, where absent.
    pub resolv_conf: Option<String>,
    /// Limits.
    pub resources: Resources,
    /// Mounted in this order, after everything that every container has.
    pub mounts: Vec<Mount>,
    /// Size of `/dev/shm`.
    pub shm_bytes: u64,
    /// The root file system cannot be written to.
    pub read_only: bool,
    /// A small init is process 1, and the command its child.
    pub init: bool,
    /// What sets it apart from the default isolation.
    pub security: Security,
    /// Devices beside the usual pseudo devices.
    pub devices: Vec<DeviceFile>,
    /// Limits of each process: (`RLIMIT_NOFILE`, soft, hard); `u64::MAX` is unlimited.
    pub rlimits: Vec<(String, u64, u64)>,
    /// Kernel parameters of its own namespaces; others are refused.
    pub sysctls: Vec<(String, String)>,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
    /// What runs it.
    pub backend: Backend,
    /// Kept for the caller; the runtime sends the signals it is told to.
    pub stop_signal: i32,
    /// Its standard input, output and error.
    pub stdio: Stdio,
    /// Where its output goes, if it is logged.
    pub log: LogPolicy,
    /// What it is made of, its environment included, is written down in memory only: for environments that hold secrets.
    pub config_in_memory: bool,
    /// The container within which it runs; by itself where absent.
    pub parent: Option<Parent>,
    /// Others may run within it: its own processes are kept in a group below its group, so that there is room for theirs.
    pub nests: bool,
    /// Asked when all is mounted, before the command is executed.
    pub inspection: Option<Inspection>,
    /// Opaque to the runtime; given back by [`Runtime::recover`].
    pub meta: serde_json::Value,
}

impl ContainerSpec {
    /// The smallest container: root, no network, the strictest isolation, no limits.
    pub fn new(id: &str, lowers: Vec<PathBuf>, args: Vec<String>, log: LogPolicy) -> ContainerSpec {
        ContainerSpec {
            id: id.to_owned(),
            lowers,
            args,
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            groups: Vec::new(),
            hostname: "localhost".to_owned(),
            network: NetworkMode::None,
            hosts_file: None,
            resolv_conf: None,
            resources: Resources::default(),
            mounts: Vec::new(),
            shm_bytes: SHM_DEFAULT_BYTES,
            read_only: false,
            init: false,
            security: Security::default(),
            devices: Vec::new(),
            rlimits: Vec::new(),
            sysctls: Vec::new(),
            oom_score_adj: 0,
            backend: Backend::Embedded,
            stop_signal: libc::SIGTERM,
            stdio: Stdio::Logged,
            log,
            config_in_memory: false,
            parent: None,
            nests: false,
            inspection: None,
            meta: serde_json::Value::Null,
        }
    }
}

/// The network that a container sees.
#[derive(Debug, Clone)]
pub enum NetworkMode {
    /// The host's own.
    Host,
    /// A loopback interface and nothing else.
    None,
    /// A namespace of its own, which this connects before the command runs.
    Connected(Connect),
    /// That of [`ContainerSpec::parent`].
    Parent,
}

/// Looks at a container that is ready but for its command; asked once per start.
#[derive(Clone)]
pub struct Inspection(pub Arc<InspectFn>);

/// Takes the container's root folder, as its processes will see it (an `O_PATH` descriptor); an error ends the start, and is in words.
pub type InspectFn = dyn Fn(OwnedFd) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync;

impl std::fmt::Debug for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inspection")
    }
}

/// Connects a new network namespace; asked once per start, while the container is being made.
#[derive(Clone)]
pub struct Connect(pub Arc<ConnectFn>);

/// Takes the namespace; the error is in words for the operator.
pub type ConnectFn = dyn Fn(OwnedFd) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync;

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connect")
    }
}

/// Limits of a container; `None` is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory, without swap.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together; as much as `memory_bytes`, which means no swap, where absent.
    pub memory_swap_bytes: Option<u64>,
    /// What is left to it when the host runs short of memory.
    pub memory_reservation_bytes: Option<u64>,
    /// Thousandths of a processor.
    pub cpus_milli: Option<u32>,
    /// The CPUs that it may run on, as the kernel writes lists.
    pub cpuset: Option<String>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Share of disk time, 1 to 1000; 100 is usual.
    pub io_weight: Option<u16>,
}

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute; made in the container's root when it is missing there.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// It refuses writes.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A folder of ours, whose owners are the container's own users: 0 on disk is 0 in the container, whatever its user namespace.
    Volume {
        /// On the host.
        path: PathBuf,
        /// Fill it, while it is empty, with what the image has at the target, owners included; and give it the target's owner and mode.
        copy_up: bool,
    },
    /// A file or folder of the host; owners as for a volume.
    Bind {
        /// On the host; none of its parts may be a symbolic link.
        path: PathBuf,
        /// Mounts below it, and those that appear later.
        propagation: Propagation,
    },
    /// Memory.
    Tmpfs {
        /// The kernel's default where absent.
        size_bytes: Option<u64>,
        /// Permissions of its root.
        mode: u32,
    },
    /// A file or folder of [`ContainerSpec::parent`], live, with what is mounted below it; see [`EmbeddedRuntime::live_obstacle`].
    Parents {
        /// Absolute; as that container sees it. No symbolic link and no `..` leads out of it.
        path: PathBuf,
    },
}

/// Mount propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// Neither way.
    #[default]
    Private,
    /// From the host into the container.
    Slave,
    /// Both ways.
    Shared,
}

/// What sets a container apart from the default isolation. The default is the strictest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// Capabilities beside [`DEFAULT_CAPABILITIES`], in the form `CAP_NET_ADMIN`.
    pub cap_add: Vec<String>,
    /// Capabilities taken from them.
    pub cap_drop: Vec<String>,
    /// All capabilities, all devices, no seccomp, nothing masked, the host's users.
    pub privileged: bool,
    /// No system call filter.
    pub seccomp_unconfined: bool,
    /// Kernel interfaces are neither masked nor read-only.
    pub unmasked: bool,
    /// Programs may gain rights by setuid bits and file capabilities.
    pub new_privileges: bool,
    /// User 0 of the container is user 0 of the host.
    pub host_users: bool,
    /// It sees the host's processes.
    pub host_pid: bool,
    /// It shares the host's IPC.
    pub host_ipc: bool,
}

/// A device file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFile {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
}

/// What runs a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Backend {
    /// The shim itself.
    #[default]
    Embedded,
    /// An OCI runtime: this program, called by the shim.
    External(PathBuf),
}

/// A container's standard input, output and error.
#[derive(Debug, Clone, Default)]
pub enum Stdio {
    /// Nothing, and the log.
    #[default]
    Logged,
    /// These three; nothing is logged. For containers in somebody's foreground.
    Given(Arc<[OwnedFd; 3]>),
}

/// Where a container's output goes and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPolicy {
    /// To whom.
    pub driver: LogDriver,
    /// Appended to. Its folder is made.
    pub path: PathBuf,
    /// The file is rotated before it grows beyond this.
    pub max_bytes: u64,
    /// Files kept, the current one included; at least 1.
    pub max_files: u32,
    /// Bytes in a second that are written down; what is more is counted and dropped. `None`: no limit.
    pub rate_bytes_per_s: Option<u64>,
}

/// To whom output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// The file.
    #[default]
    JsonFile,
    /// The file, and the host's journal besides.
    Journald,
    /// Nobody.
    None,
}

/// A program to be run in a container that runs.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// Command and arguments; not empty.
    pub args: Vec<String>,
    /// Added to the container's environment.
    pub env: Vec<(String, String)>,
    /// The container's own where absent.
    pub cwd: Option<String>,
    /// The container's own where absent; as [`ContainerSpec::user`].
    pub user: Option<String>,
    /// A terminal of this many rows and columns is its standard input, output and error.
    pub terminal: Option<(u16, u16)>,
    /// It gets a standard input; else that is empty.
    pub stdin: bool,
}

/// A program that was started in a container. When it is dropped, the program goes on, and its end is nobody's business.
#[derive(Debug)]
pub struct Exec {
    /// Its process, as the host numbers it.
    pub pid: i32,
    /// The write end of its standard input; with a terminal, the terminal, for [`resize_terminal`].
    pub stdin: Option<OwnedFd>,
    /// The read end of its standard output; with a terminal, the terminal.
    pub stdout: OwnedFd,
    /// The read end of its standard error; `None` with a terminal.
    pub stderr: Option<OwnedFd>,
    /// Comes once, when it has ended. (A pidfd of the program is held by the runtime, so that a signal reaches no other.)
    pub ended: oneshot::Receiver<Exit>,
    /// The program itself; for [`signal_process`].
    pub process: Arc<OwnedFd>,
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
    /// What this host cannot give it of the default isolation, a few words each: `no user namespace: the kernel cannot idmap overlayfs`.
    pub weakened: Vec<String>,
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

    /// Runs a program in a container that runs. When it returns `Ok`, the program has been executed.
    fn exec(&self, id: &str, spec: ExecSpec) -> impl Future<Output = Result<Exec, RuntimeError>> + Send;

    /// Removes what is left of a container, and kills it before if it runs. Its log stays. May be repeated.
    fn remove(&self, id: &str) -> impl Future<Output = Result<(), RuntimeError>> + Send;

    /// The events. Handed out once: `None` from the second call on.
    fn events(&self) -> Option<mpsc::Receiver<RuntimeEvent>>;
}

#[cfg(test)]
mod tests;
