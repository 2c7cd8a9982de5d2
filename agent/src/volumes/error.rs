//! Why something cannot be done with a volume, and the same as it is told to whoever asked.

use crate::containers::ContainersError;
use coord_shared::names::{ContainerId, NameError, VolumeName};
use coord_shared::wire::ErrorBody;
use std::path::PathBuf;

/// Why something cannot be done with a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumesError {
    /// It is not here.
    #[error("there is no volume {name} on this host")]
    NotFound {
        /// As it was asked for.
        name: VolumeName,
    },
    /// Containers have it mounted, or are about to.
    #[error("volume {name} is used by {}", list(by))]
    InUse {
        /// Which.
        name: VolumeName,
        /// The containers.
        by: Vec<ContainerId>,
    },
    /// A person has mounted something in it, which would be deleted, too.
    #[error("something is mounted at {}, in volume {name}", at.display())]
    Mounted {
        /// Which.
        name: VolumeName,
        /// Where.
        at: PathBuf,
    },
    /// What lies in a volume's place is none.
    #[error("{} is not a folder; move it away, or mount there what it points to", path.display())]
    NotAFolder {
        /// Where.
        path: PathBuf,
    },
    /// No volume can be called this.
    #[error(transparent)]
    Name(NameError),
    /// A file or folder is in trouble.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Who uses what cannot be told, so nothing may be deleted.
    #[error("cannot tell which containers run here")]
    Containers(#[source] ContainersError),
    /// The agent is ending.
    #[error("the agent is ending")]
    Ending,
}

fn list(containers: &[ContainerId]) -> String {
    containers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl From<VolumesError> for ErrorBody {
    fn from(error: VolumesError) -> Self {
        let (code, hint) = match &error {
            VolumesError::NotFound { .. } => ("no_such_volume", Some("`coord-agent volumes ls` lists them")),
            VolumesError::InUse { .. } => ("volume_in_use", Some("remove the document first, or the volume from it")),
            VolumesError::Mounted { .. } => ("volume_in_use", Some("unmount it first: deleting would reach into it")),
            VolumesError::NotAFolder { .. } => ("no_volume", None),
            VolumesError::Name(_) => ("bad_request", None),
            VolumesError::File { .. } => ("volumes", Some("see whether the disk is full or read-only")),
            VolumesError::Containers(_) => ("containers", Some("use sudo")),
            VolumesError::Ending => ("ending", None),
        };
        Self { code: code.to_owned(), message: crate::chain(&error), hint: hint.map(str::to_owned), detail: None }
    }
}
