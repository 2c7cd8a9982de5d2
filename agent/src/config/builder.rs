//! `[builder]` of `agent.toml`: whether this host builds, and what builds may take of it. A host without the table builds nothing.

use coord_shared::quantity::{ByteSize, MilliCpus};
use serde::Deserialize;

/// More runs at a time than this are more than any host's disk and memory are good for.
const RUNS_MAX: u32 = 32;
/// A compiler of any language needs more than this.
const MEMORY_MIN_BYTES: u64 = 32 << 20;
/// A shell and what it starts.
const PIDS_MIN: u32 = 16;
/// Processes and threads of a step, where nobody says otherwise.
const PIDS_DEFAULT: u32 = 2048;
/// A checkout and what becomes of it.
const DISK_MIN_BYTES: u64 = 1 << 20;
/// What the workspace of a run, its caches and its containers may take, where nobody says otherwise.
const DISK_DEFAULT_BYTES: u64 = 10 << 30;
/// Whom steps on the host itself run as, where nobody says otherwise.
const USER_DEFAULT: &str = "nobody";

/// What holds for builds on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderConfig {
    /// Runs at a time.
    pub runs: u32,
    /// Whether stages without an image run, by the host's own programs.
    pub host_steps: bool,
    /// Whether a stage may have the host's network.
    pub host_network: bool,
    /// Whom such stages run as: `NAME` or `UID:GID`; not root.
    pub user: String,
    /// Memory of a step, at most.
    pub memory_bytes: u64,
    /// Thousandths of a processor of a step, at most; no limit where absent.
    pub cpus_milli: Option<u32>,
    /// Processes and threads of a step, at most.
    pub pids: u32,
    /// What workspace, caches and containers of a pipeline may take together.
    pub disk_bytes: u64,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBuilder {
    runs: Option<u32>,
    host_steps: Option<bool>,
    host_network: Option<bool>,
    user: Option<String>,
    memory: Option<ByteSize>,
    cpus: Option<f64>,
    pids: Option<u32>,
    disk: Option<ByteSize>,
}

impl RawBuilder {
    /// The checked values, with the defaults for what is not said. The error names the key and the cure.
    pub(super) fn check(self) -> Result<BuilderConfig, String> {
        let cpus = self.cpus.map(MilliCpus::from_cpus).transpose().map_err(|e| format!("builder.cpus: {e}"))?;
        let config = BuilderConfig {
            runs: self.runs.unwrap_or(1),
            host_steps: self.host_steps.unwrap_or(false),
            host_network: self.host_network.unwrap_or(false),
            user: self.user.unwrap_or_else(|| USER_DEFAULT.to_owned()),
            memory_bytes: self.memory.map_or_else(half_of_memory, |size| size.0),
            cpus_milli: cpus.map(|cpus| cpus.0),
            pids: self.pids.unwrap_or(PIDS_DEFAULT),
            disk_bytes: self.disk.map_or(DISK_DEFAULT_BYTES, |size| size.0),
        };
        if !(1..=RUNS_MAX).contains(&config.runs) {
            return Err(format!("builder.runs = {} is not between 1 and {RUNS_MAX}", config.runs));
        }
        if is_root(&config.user) {
            return Err(format!("builder.user = {:?} is root; name a user without rights, such as nobody", config.user));
        }
        if config.memory_bytes < MEMORY_MIN_BYTES {
            return Err(format!("builder.memory is less than {}; no step would end well", ByteSize(MEMORY_MIN_BYTES)));
        }
        if config.pids < PIDS_MIN {
            return Err(format!("builder.pids = {} is less than {PIDS_MIN}; no step would end well", config.pids));
        }
        if config.disk_bytes < DISK_MIN_BYTES {
            return Err(format!("builder.disk is less than {}; no checkout would fit", ByteSize(DISK_MIN_BYTES)));
        }
        Ok(config)
    }
}

/// Whether these words for a user (`NAME`, `UID`, either with a group behind a colon) mean root; nothing means root, too.
pub(crate) fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default();
    matches!(name, "" | "root") || name.bytes().all(|digit| digit == b'0')
}

/// The other half is for what the host serves.
fn half_of_memory() -> u64 {
    let info = rustix::system::sysinfo();
    let total = u64::from(info.mem_unit).saturating_mul(info.totalram);
    (total / 2).max(MEMORY_MIN_BYTES)
}
