//! The ledger: the last accepted host state, and what the instances went through. All that the agent must not forget.
//!
//! Two files, because they change at different times: `ledger.json` when the coordinator says something new, `history.json` when a
//! container starts or ends. A host state is in the ledger before anything is done about it; so an agent that starts while no
//! coordinator answers goes on exactly where it was. Generations only grow: an older one is refused, an equal one must be identical.

use crate::durable::{self, DurableError};
use coord_shared::decide::planner::History;
use coord_shared::names::{Generation, HostName, InstanceId};
use coord_shared::wire::{DesiredInstance, HostState, RegistryLogin, WIRE_VERSION};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why the ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused.
    #[error("ledger")]
    File(#[source] DurableError),
    /// The file is that of another host.
    #[error(
        "{} is the ledger of host {theirs}, and this host is {ours}: was the disk copied? Put host = \"{theirs}\" into agent.toml, \
         or run `coord-agent purge` to begin anew",
        path.display()
    )]
    OtherHost {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        theirs: HostName,
        /// Who we are.
        ours: HostName,
    },
    /// The file is there and makes no sense: it was cut or edited.
    #[error(
        "{} is damaged ({problem}); containers are left alone. Restore it, or move it away to accept the coordinator's word anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        problem: String,
    },
}

/// Why a host state was not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is for another host.
    #[error("the host state is for host {theirs}; check host and token in agent.toml")]
    OtherHost {
        /// Whom it is for.
        theirs: String,
    },
    /// It is older than what was accepted.
    #[error(
        "the coordinator offers generation {offered}, older than the accepted {accepted}: was it restored from a backup? \
         Move ledger.json away to accept its word anew"
    )]
    Older {
        /// Theirs.
        offered: Generation,
        /// Ours.
        accepted: Generation,
    },
    /// It has the number of what was accepted, and other content.
    #[error("the coordinator offers generation {0} with other content than was accepted under that number")]
    NotIdentical(Generation),
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct LedgerFile {
    version: u32,
    state: Option<HostState>,
    /// What ran before, for instances whose newest revision has not yet taken its place.
    #[serde(default)]
    previous: Vec<DesiredInstance>,
}

/// The ledger, in memory and on disk.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: LedgerFile,
}

impl Ledger {
    /// Reads the ledger below `state_dir`, or begins an empty one. Errors if it is another host's: this machine, or its disk, was
    /// copied from that one.
    pub fn open(state_dir: &Path, host: &HostName) -> Result<Self, LedgerError> {
        let Self { path, file } = Self::of_any_host(state_dir)?;
        match file.state.as_ref().map(|state| &state.host) {
            Some(theirs) if theirs != host => Err(LedgerError::OtherHost { path, theirs: theirs.clone(), ours: host.clone() }),
            Some(_) | None => Ok(Self { path, file }),
        }
    }

    /// The same for whoever only reads, whichever host it is of.
    pub fn of_any_host(state_dir: &Path) -> Result<Self, LedgerError> {
        let path = state_dir.join("ledger.json");
        let file: LedgerFile = read_json(&path)?.unwrap_or_default();
        Ok(Self { path, file })
    }

    /// The last accepted host state.
    pub fn state(&self) -> Option<&HostState> {
        self.file.state.as_ref()
    }

    /// Its generation.
    pub fn generation(&self) -> Option<Generation> {
        self.state().map(|state| state.generation)
    }

    /// How to get at registries, as the coordinator last said.
    pub fn registries(&self) -> &[RegistryLogin] {
        self.state().map_or(&[], |state| &state.registries)
    }

    /// What ran before, by instance.
    pub fn previous(&self) -> &[DesiredInstance] {
        &self.file.previous
    }

    /// Judges an offered host state: `Ok(true)` if it is news, `Ok(false)` if it is what we have. What is to be fetched ahead and how
    /// to log in may be news under an equal generation: an agent of an older release accepted it without them.
    pub fn judge(&self, offered: &HostState, host: &HostName) -> Result<bool, Refusal> {
        if offered.host != *host {
            return Err(Refusal::OtherHost { theirs: offered.host.to_string() });
        }
        let Some(accepted) = self.state() else { return Ok(true) };
        match offered.generation.cmp(&accepted.generation) {
            std::cmp::Ordering::Less => Err(Refusal::Older { offered: offered.generation, accepted: accepted.generation }),
            std::cmp::Ordering::Equal if offered.instances != accepted.instances => {
                Err(Refusal::NotIdentical(offered.generation))
            }
            std::cmp::Ordering::Equal => Ok(offered.prefetch != accepted.prefetch || offered.registries != accepted.registries),
            std::cmp::Ordering::Greater => Ok(true),
        }
    }

    /// Makes `state` the accepted one, durably. `previous` is what ran before, where it still matters.
    pub fn accept(&mut self, state: &HostState, previous: Vec<DesiredInstance>) -> Result<(), LedgerError> {
        let state = HostState { sessions: Vec::new(), ..state.clone() };
        let file = LedgerFile { version: WIRE_VERSION, state: Some(state), previous };
        write_json(&self.path, &file)?;
        self.file = file;
        Ok(())
    }
}

/// Histories of instances, on disk.
#[derive(Debug)]
pub struct HistoryFile {
    path: PathBuf,
}

impl HistoryFile {
    /// The file below `state_dir` and what is in it. One that is damaged costs only counts and backoffs: it is begun anew.
    pub fn open(state_dir: &Path) -> (Self, BTreeMap<InstanceId, History>) {
        let path = state_dir.join("history.json");
        let histories = read_json(&path).unwrap_or_else(|error| {
            let problem = match &error {
                LedgerError::Damaged { problem, .. } => problem.clone(),
                LedgerError::File(_) | LedgerError::OtherHost { .. } => crate::chain(&error),
            };
            tracing::warn!(file = %path.display(), %problem, "damaged; restart counts begin anew");
            None
        });
        (Self { path }, histories.unwrap_or_default())
    }

    /// Writes `histories`, durably.
    pub fn save(&self, histories: &BTreeMap<InstanceId, History>) -> Result<(), LedgerError> {
        write_json(&self.path, histories)
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, LedgerError> {
    let Some(bytes) = durable::read(path).map_err(LedgerError::File)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|e| LedgerError::Damaged { path: path.to_owned(), problem: e.to_string() })
}

fn write_json<T: Serialize>(path: &Path, content: &T) -> Result<(), LedgerError> {
    let bytes = serde_json::to_vec(content).expect("maps of strings to plain structs always serialise");
    durable::write(path, &bytes).map_err(LedgerError::File)
}

#[cfg(test)]
mod tests;
