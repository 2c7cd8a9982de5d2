//! The report: what an agent says of its host. JSON; whole after a change, otherwise a heartbeat without `full`.

use super::build::{BuildReport, HeadReport};
use crate::decide::reason::Reason;
use crate::names::{ContainerId, Digest, Generation, HostName, InstanceId, Labels, Revision};
use crate::quantity::{ByteSize, Signal};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Largest report that a coordinator reads, in bytes.
pub const REPORT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`super::WIRE_VERSION`] of the writer.
    pub version: u32,
    /// Who says it.
    pub host: HostName,
    /// The agent's own version, for people.
    pub agent_version: String,
    /// Counts this agent process's reports, from 1; an older one that arrives late is dropped.
    pub sequence: u64,
    /// Names this agent process, so that `sequence` may start again.
    pub agent_run: String,
    /// The newest host state that the agent accepted and wrote to its ledger; absent before the first.
    #[serde(default)]
    pub generation: Option<Generation>,
    /// Everything else. Absent in a heartbeat: unchanged since the last full report.
    #[serde(default)]
    pub full: Option<FullReport>,
}

/// The whole of a host, as its agent sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FullReport {
    /// From `agent.toml`.
    #[serde(default)]
    pub labels: Labels,
    /// The machine.
    pub facts: HostFacts,
    /// Every instance that is desired here or still has a container.
    #[serde(default)]
    pub instances: Vec<InstanceReport>,
    /// How far each image is that the host was asked to fetch ahead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefetch: Vec<PrefetchReport>,
    /// Whether the host builds, and how many runs at a time; absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder: Option<BuilderReport>,
    /// What the watched sources hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<HeadReport>,
    /// Every run that the host was asked to build, until it is asked no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<BuildReport>,
    /// What is wrong with the host as a whole, a sentence each with its cure: a host state that was refused, a disk that is full.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// What a host says of itself as a builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuilderReport {
    /// Runs that it builds at a time.
    pub runs: u32,
}

/// Facts of the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostFacts {
    /// For example `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// The kernel's release.
    pub kernel: String,
    /// As Rust names it: `x86_64`, `aarch64`.
    pub architecture: String,
    /// Logical CPUs.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_total_bytes: u64,
    /// Memory that is in use and cannot be had at once, in bytes.
    pub memory_used_bytes: u64,
    /// The file system of the state directory, in bytes.
    pub disk_total_bytes: u64,
    /// What is free there, in bytes.
    pub disk_free_bytes: u64,
    /// What images take of it, in bytes.
    pub images_bytes: u64,
    /// How images are kept: `erofs` or `directories`; empty where that is not known.
    pub image_format: String,
    /// Load average over one minute.
    pub load_one: f64,
    /// When the machine booted.
    pub booted_at: Option<Timestamp>,
}

/// An image that the host was asked to fetch ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefetchReport {
    /// Which.
    pub digest: Digest,
    /// How far it is.
    #[serde(flatten)]
    pub state: PrefetchState,
}

/// How far an image is that is fetched ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PrefetchState {
    /// Others come first.
    Waiting,
    /// On its way.
    Pulling {
        /// Bytes fetched so far.
        done_bytes: u64,
        /// Bytes in all, 0 while unknown.
        total_bytes: u64,
    },
    /// Complete and verified.
    Ready,
    /// The last pull failed; another try follows.
    Failed {
        /// The error, with its cure.
        error: String,
        /// Tries so far.
        attempts: u32,
        /// When the next one is due.
        retry_at: Timestamp,
    },
    /// A state of a newer agent.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for PrefetchState {
    /// As the end of a sentence about a host that waits for its turn; short, because that sentence is long.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting => f.write_str("image queued"),
            Self::Pulling { total_bytes: 0, .. } => f.write_str("image on its way"),
            Self::Pulling { done_bytes, total_bytes } => {
                let percent = done_bytes.saturating_mul(100) / total_bytes;
                write!(f, "image on its way, {percent}% of {}", ByteSize(*total_bytes).human())
            }
            Self::Ready => f.write_str("image there"),
            Self::Failed { error, attempts: 1, .. } => write!(f, "image not fetched yet: {error}"),
            Self::Failed { error, attempts, .. } => write!(f, "image not fetched yet ({attempts} tries): {error}"),
            Self::Unknown => f.write_str("image in a state that this version does not know"),
        }
    }
}

/// One instance, as its agent sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Which one.
    pub instance: InstanceId,
    /// What it does.
    pub state: InstanceState,
    /// The revision that runs, or ran last; absent if none ever did.
    #[serde(default)]
    pub revision: Option<Revision>,
    /// Whether it does its work, or has done it: running (and, once it has a health check, healthy), or a job that ended with success.
    pub ready: bool,
    /// When it came into this state.
    pub since: Timestamp,
    /// How often it was started again after it ended by itself, in this revision.
    #[serde(default)]
    pub restarts: u32,
    /// How it ended last.
    #[serde(default)]
    pub last_exit: Option<Exit>,
    /// Its container, while there is one.
    #[serde(default)]
    pub container: Option<ContainerId>,
    /// Its first process, while it runs.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Why it is not as desired; absent where it is.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// What its health check says; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthReport>,
    /// What its document, or its host, takes from the default isolation, a few words each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loosened: Vec<String>,
    /// Its addresses on the host's network of containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<std::net::IpAddr>,
    /// Its second containers and file caches; absent where it has and had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested: Option<super::nested::NestedReport>,
}

/// What a health check says of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// In one word.
    pub status: HealthStatus,
    /// Failed checks in a row.
    #[serde(default)]
    pub failures: u32,
    /// What the last failed check said, shortened.
    #[serde(default)]
    pub output: String,
}

/// Health in one word (Docker's words).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not known yet.
    Starting,
    /// Well.
    Healthy,
    /// Ill.
    Unhealthy,
    /// A status of a newer agent.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "health unknown",
        })
    }
}

/// What an instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// No container yet.
    Pending,
    /// A container is being made.
    Starting,
    /// Its first process runs.
    Running,
    /// It was asked to end.
    Stopping,
    /// It ended by itself and is not (yet) started again.
    Exited,
    /// A state of a newer agent.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for InstanceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Exited => "exited",
            Self::Unknown => "unknown",
        })
    }
}

/// How a container ended. All absent: it ended while nobody watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, if it ended by exiting.
    #[serde(default)]
    pub code: Option<i32>,
    /// The signal's number, if one ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// Whether the kernel killed it for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// The limit that it had on its memory then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<ByteSize>,
    /// When.
    pub at: Timestamp,
}

impl Exit {
    /// Whether it ended as a job that did its work.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.oom_killed, self.code, self.signal) {
            (true, _, _) => match self.memory_limit {
                Some(limit) => write!(f, "killed: out of memory (limit {})", limit.human()),
                None => f.write_str("killed: out of memory"),
            },
            (false, Some(code), _) => write!(f, "exit code {code}{}", code_in_words(code)),
            (false, None, Some(number)) => {
                let signal = Signal(number);
                write!(f, "killed by {signal}")?;
                signal.in_words().map_or(Ok(()), |words| write!(f, " ({words})"))
            }
            (false, None, None) => f.write_str("ended, exit code unknown"),
        }
    }
}

/// What shells, and whatever starts programs as they do, mean by a code (POSIX, Shell Command Language, 2.8.2); empty where the code is
/// the program's own.
fn code_in_words(code: i32) -> String {
    match code {
        126 => " (a command cannot be executed)".to_owned(),
        127 => " (a command was not found)".to_owned(),
        129..=159 => {
            let signal = Signal(code - 128);
            signal.in_words().map_or_else(|| format!(" ({signal})"), |words| format!(" ({signal}, {words})"))
        }
        _ => String::new(),
    }
}

/// The coordinator's answer to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// The coordinator does not hold this host's last full report (it restarted, or one was lost): send one.
    #[serde(default)]
    pub send_full: bool,
}
