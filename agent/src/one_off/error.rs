//! Why a one-off container has no place, or does not go away.

use coord_runtime::RuntimeError;
use coord_shared::names::NameError;
use coord_shared::wire::ErrorBody;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no place for a one-off container, or something of it does not go away.
#[derive(Debug, thiserror::Error)]
pub enum OneOffError {
    /// A file or folder of it cannot be used.
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
    /// The runtime is in trouble.
    #[error("cannot run a container of its own")]
    Runtime(#[source] RuntimeError),
    /// Our own name for it is none.
    #[error("cannot name the container")]
    Name(#[source] NameError),
}

impl OneOffError {
    pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { operation, path: path.to_owned(), source }
    }
}

impl From<OneOffError> for ErrorBody {
    fn from(error: OneOffError) -> Self {
        let hint = match &error {
            OneOffError::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some("use sudo"),
            OneOffError::Runtime(error) => error.hint(),
            OneOffError::File { .. } | OneOffError::Name(_) => None,
        };
        Self { code: "one_off".to_owned(), message: crate::chain(&error), hint: hint.map(str::to_owned), detail: None }
    }
}
