//! What a person can see of this host's containers: one implementation for the command line and for the control socket.
//!
//! Derived, each time anew, from the loop's last report (or, where no agent runs, from the containers' folders), from the ledger, which
//! says what was asked for, and from the containers' own files. Deliberately absent: state of its own, and everything that changes
//! something.

mod bodies;
mod details;
pub mod happenings;
mod nested;
mod on_disk;
mod rows;

pub use bodies::{ContainerDetails, InstanceDetails, InstanceRow};
pub use details::details;
pub use nested::child_log;
pub use on_disk::{one_offs, reports, steps};
pub use rows::{rows, spec_of};

use coord_shared::names::ContainerId;
use std::path::Path;

/// The containers that run, with their first processes.
///
/// # Errors
/// When a container's files cannot be read.
pub fn running(state_dir: &Path, run_dir: &Path) -> Result<Vec<(ContainerId, i32)>, ContainersError> {
    let mut running = Vec::new();
    for id in coord_runtime::containers(run_dir).map_err(ContainersError::Files)? {
        let found = coord_runtime::inspect(state_dir, run_dir, &id).map_err(ContainersError::Files)?;
        // What is not ours is nobody's container of ours.
        if let (Ok(id), Some(pid)) = (id.parse(), found.and_then(|found| found.pid)) {
            running.push((id, pid));
        }
    }
    Ok(running)
}

/// Why containers cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ContainersError {
    /// The ledger cannot be read.
    #[error("cannot tell what should run here")]
    Ledger(#[source] crate::sync::ledger::LedgerError),
    /// A container's files cannot be read.
    #[error("cannot tell what runs here")]
    Files(#[source] coord_runtime::RuntimeError),
    /// There is no such instance or container.
    #[error("this host has no instance {wanted}")]
    NotFound {
        /// What was asked for.
        wanted: String,
    },
}

impl From<ContainersError> for coord_shared::wire::ErrorBody {
    fn from(error: ContainersError) -> Self {
        let (code, hint) = match &error {
            ContainersError::Ledger(_) => ("ledger", None),
            ContainersError::Files(_) => ("containers", Some("use sudo")),
            ContainersError::NotFound { .. } => ("no_such_instance", Some("`coord-agent ps` lists them")),
        };
        Self { code: code.to_owned(), message: crate::chain(&error), hint: hint.map(str::to_owned), detail: None }
    }
}
