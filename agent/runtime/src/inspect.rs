//! What a container's own files say of it: for whoever looks from outside, with or without an agent.
//!
//! Reads, and looks after nothing: what it says may be over the moment it is said.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Exit;
use super::embedded::list;
use super::error::RuntimeError;
use super::start::open_process;
use super::state::{ContainerState, read_limited};
use super::watch::{has_ended, read_exit};

/// Larger files are not ours.
const FILE_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// One container, as its files tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspected {
    /// Its ID.
    pub id: String,
    /// Its first process, as the host numbers it, while that runs.
    pub pid: Option<i32>,
    /// When its command was executed.
    pub started_at: Option<Timestamp>,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
    /// What its caller keeps beside it.
    pub meta: Value,
    /// What the next agent would know of it: processes, groups, log.
    pub state: Value,
    /// The OCI configuration that it was made from; null where that is gone.
    pub config: Value,
}

/// The IDs of all containers below `run_dir`, however they are.
///
/// # Errors
/// When the folder cannot be read.
pub fn containers(run_dir: &Path) -> Result<Vec<String>, RuntimeError> {
    let folder = run_dir.join("c");
    if folder.exists() { list(&folder) } else { Ok(Vec::new()) }
}

/// Reads one container's files; `None` when there is no such container.
///
/// # Errors
/// When a file cannot be read.
pub fn inspect(state_dir: &Path, run_dir: &Path, id: &str) -> Result<Option<Inspected>, RuntimeError> {
    let run = run_dir.join("c").join(id);
    let Some(state) = ContainerState::load(&run)? else { return Ok(None) };
    let alive = state.init.filter(|init| open_process(*init).is_some_and(|process| !has_ended(&process)));
    let config = read_limited(&state_dir.join("c").join(id).join("config.json"), FILE_MAX_BYTES)?;
    Ok(Some(Inspected {
        id: id.to_owned(),
        pid: alive.map(|init| init.pid),
        started_at: state.started_at_ms.map(|_| state.started_at()),
        exit: read_exit(&run),
        meta: state.meta.clone(),
        config: config.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default(),
        state: serde_json::to_value(&state).unwrap_or_default(),
    }))
}
