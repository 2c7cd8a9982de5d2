//! Why something cannot be done with an image, and the same as it is told to whoever asked.

use coord_image::{PullError, StoreError};
use coord_registry::RegistryError;
use coord_shared::names::NameError;
use coord_shared::wire::ErrorBody;
use std::path::PathBuf;

/// Why something cannot be done with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// It is not here.
    #[error("there is no image {wanted} on this host")]
    NotFound {
        /// As it was asked for.
        wanted: String,
    },
    /// Several are meant.
    #[error("{wanted} means {} images: {}", found.len(), found.join(", "))]
    Ambiguous {
        /// As it was asked for.
        wanted: String,
        /// Their digests.
        found: Vec<String>,
    },
    /// No image can be called this.
    #[error(transparent)]
    BadReference(#[from] NameError),
    /// The registry does not tell what the reference means.
    #[error("cannot pull {reference}")]
    Resolve {
        /// As it was asked for.
        reference: String,
        /// What the registry client says.
        #[source]
        source: RegistryError,
    },
    /// It cannot be pulled.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The store is in trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry client cannot be set up.
    #[error("cannot set up the registry client")]
    Registry(#[source] RegistryError),
    /// What is in use cannot be told, so nothing may be removed.
    #[error("cannot tell which images are in use: {problem}")]
    Unknown {
        /// Why, with its cure.
        problem: String,
    },
    /// The place to mount at is none.
    #[error("{} {problem}", dir.display())]
    Place {
        /// Where.
        dir: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The work was dropped, because the process ends.
    #[error("the agent is ending")]
    Ending,
}

impl ImagesError {
    /// Part of the contract: programs may match on it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } | Self::Store(StoreError::Missing { .. }) => "no_such_image",
            Self::Ambiguous { .. } => "ambiguous_image",
            Self::BadReference(_) => "invalid_reference",
            Self::Resolve { .. } | Self::Pull(_) => "pull_failed",
            Self::Store(StoreError::InUse { .. }) => "store_in_use",
            Self::Store(_) => "store_failed",
            Self::Registry(_) => "invalid_configuration",
            Self::Unknown { .. } => "use_unknown",
            Self::Place { .. } => "invalid_folder",
            Self::Ending => "ending",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => {
                Some("`coord-agent image ls` shows what is here, `coord-agent image pull` brings more".to_owned())
            }
            Self::Ambiguous { .. } => Some("give more of the digest".to_owned()),
            Self::Place { .. } => Some("give an existing, empty folder".to_owned()),
            Self::Ending => Some("try again".to_owned()),
            Self::BadReference(_)
            | Self::Resolve { .. }
            | Self::Pull(_)
            | Self::Store(_)
            | Self::Registry(_)
            | Self::Unknown { .. } => None,
        }
    }
}

impl From<ImagesError> for ErrorBody {
    fn from(error: ImagesError) -> Self {
        Self { code: error.code().to_owned(), message: crate::chain(&error), hint: error.hint(), detail: None }
    }
}
