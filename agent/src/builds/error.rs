//! Why something of a build cannot be done on this host.

use std::io;
use std::path::{Path, PathBuf};

/// See the module's description.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or folder cannot be used.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// In words.
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What was noted of a run cannot be written down.
    #[error("cannot note how far {run} is")]
    Note {
        /// Which.
        run: String,
        /// Why not.
        #[source]
        source: crate::durable::DurableError,
    },
    /// A folder that a step has filled does not go away.
    #[error("cannot remove the folder of a build")]
    Remove(#[source] crate::volumes::VolumesError),
    /// The runtime is in trouble.
    #[error("cannot run containers of builds")]
    Runtime(#[source] coord_runtime::RuntimeError),
}

impl BuildError {
    pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { operation, path: path.to_owned(), source }
    }
}
