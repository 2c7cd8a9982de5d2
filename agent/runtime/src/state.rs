//! `state.json`: what the next agent must know of a container. Written by the agent, and once by the shim.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cgroup::ContainerCgroup;
use super::error::RuntimeError;
use super::request::{MonitorConfig, PROTOCOL, ProcessId, UserRange, first_protocol};

/// A larger file is not ours. The caller's `meta` is the largest part.
const STATE_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// See the module's description.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ContainerState {
    /// [`PROTOCOL`] of the agent that started it.
    #[serde(default = "first_protocol")]
    pub(super) protocol: u32,
    /// Grows with every write.
    pub(super) generation: u64,
    /// The boot that the numbers of processes belong to.
    pub(super) boot_id: String,
    pub(super) phase: Phase,
    /// Whoever is at work on it while it is being created.
    pub(super) shim: Option<ProcessId>,
    pub(super) monitor: Option<ProcessId>,
    pub(super) init: Option<ProcessId>,
    /// Milliseconds since 1970.
    pub(super) started_at_ms: Option<i64>,
    pub(super) cgroup: ContainerCgroup,
    pub(super) monitor_config: MonitorConfig,
    /// The host's users that are this container's.
    #[serde(default)]
    pub(super) users: Option<UserRange>,
    /// See [`super::Running::weakened`].
    #[serde(default)]
    pub(super) weakened: Vec<String>,
    pub(super) meta: serde_json::Value,
}

/// How far a container has come. Later phases show in other files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    Creating,
    Running,
}

impl ContainerState {
    /// Reads `state.json` of a run folder. `None` when there is none yet, or none that can be read: the agent was
    /// killed, or the disk was full, before there was a container.
    pub(super) fn load(run: &Path) -> Result<Option<ContainerState>, RuntimeError> {
        let Some(text) = read_limited(&run.join("state.json"), STATE_MAX_BYTES)? else { return Ok(None) };
        let parsed = serde_json::from_slice::<ContainerState>(&text);
        if let Ok(state) = &parsed
            && state.protocol > PROTOCOL
        {
            tracing::warn!(folder = %run.display(), protocol = state.protocol, "a later release has started this container");
        }
        Ok(parsed.inspect_err(|error| tracing::warn!(folder = %run.display(), %error, "state.json is damaged")).ok())
    }

    /// Writes it, with the next generation, so that it is whole or as it was.
    pub(super) fn save(&mut self, run: &Path) -> Result<(), RuntimeError> {
        self.generation += 1;
        let path = run.join("state.json");
        let text = serde_json::to_vec(self).unwrap_or_default();
        write_atomically(&path, &text).map_err(|source| RuntimeError::File { operation: "write", path, source })
    }

    pub(super) fn started_at(&self) -> Timestamp {
        self.started_at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default()
    }
}

/// The content of a file, or `None` when it does not exist.
pub(super) fn read_limited(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, RuntimeError> {
    use std::io::Read as _;
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(max_bytes).read_to_end(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RuntimeError::File { operation: "read", path: path.to_owned(), source }),
    }
}

fn write_atomically(path: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("json.agent");
    let mut file = File::create(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// The number of this boot, which changes with every boot.
pub(super) fn boot_id() -> Result<String, RuntimeError> {
    let path = PathBuf::from("/proc/sys/kernel/random/boot_id");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(source) => Err(RuntimeError::File { operation: "read", path, source }),
    }
}
