//! Why no image was made.

use coord_archive::ArchiveError;
use coord_centre::{CentreError, TagError};
use coord_registry::RegistryError;
use std::io;

/// Why no image was made. No tag has moved.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The archive cannot become a layer.
    #[error("the archive cannot become a layer")]
    Archive {
        /// Why not, with its cure.
        #[source]
        source: ArchiveError,
    },
    /// A tag is none.
    #[error("cannot tag the image")]
    Tag {
        /// Which, and why not.
        #[source]
        source: TagError,
    },
    /// The base image is not there, or cannot be had.
    #[error("cannot get the base image {image}")]
    Registry {
        /// As the recipe names it.
        image: String,
        /// What the registry client says.
        #[source]
        source: RegistryError,
    },
    /// The base image is there, and cannot be built on.
    #[error("cannot build on the base image {image}: {problem}")]
    Base {
        /// As the recipe names it.
        image: String,
        /// Why not, with its cure.
        problem: String,
    },
    /// The base image's layers cannot be read.
    #[error("cannot build on the base image {image}: layer {layer}")]
    BaseLayer {
        /// As the recipe names it.
        image: String,
        /// Which layer.
        layer: String,
        /// Why not.
        #[source]
        source: ArchiveError,
    },
    /// The recipe wants a platform that no image here can have.
    #[error("platform {platform:?}: {problem}")]
    Platform {
        /// As the recipe names it.
        platform: String,
        /// Why not, with its cure.
        problem: &'static str,
    },
    /// The image centre does not take it.
    #[error("cannot put the image into the image centre")]
    Centre {
        /// Why not.
        #[source]
        source: CentreError,
    },
    /// Our own disk.
    #[error("cannot {operation}")]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The process is about to end.
    #[error("the coordinator is about to end; try again")]
    Ending,
}

impl AssembleError {
    /// Whether the same may succeed later without anybody changing archive or recipe.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Registry { source, .. } => source.is_retryable(),
            Self::Archive { source } | Self::BaseLayer { source, .. } => source.is_ours(),
            Self::Disk { .. } | Self::Ending => true,
            Self::Centre { source } => !matches!(source, CentreError::BadManifest(_) | CentreError::TooLarge { .. }),
            Self::Tag { .. } | Self::Base { .. } | Self::Platform { .. } => false,
        }
    }
}

impl From<CentreError> for AssembleError {
    fn from(source: CentreError) -> Self {
        Self::Centre { source }
    }
}
