//! Why an image is not here: errors of the store, of a pull, and of a layer's bytes.

use coord_registry::RegistryError;
use coord_shared::names::Digest;
use coord_shared::quantity::ByteSize;
use coord_tar::TarError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The store's own folder is in trouble.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("image store: cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The disk is full.
    #[error("image store: no space left on the disk of {}; free some, or let unused images be removed", path.display())]
    NoSpace {
        /// The folder that could not grow.
        path: PathBuf,
    },
    /// What is asked for would take the disk's reserve.
    #[error(
        "image store: {} are needed, but {} has {} free, and {} are kept in reserve; the images here hold {}: remove those that nothing uses (coord-agent image prune --all), or make room on the disk",
        human(*needed_bytes), path.display(), human(*free_bytes), human(*reserve_bytes), human(*store_bytes)
    )]
    Reserve {
        /// The store's folder.
        path: PathBuf,
        /// About this much will be written.
        needed_bytes: u64,
        /// That the disk has free.
        free_bytes: u64,
        /// Of these, what no pull may take.
        reserve_bytes: u64,
        /// Held by all images here, used or not.
        store_bytes: u64,
    },
    /// Two agents on one folder would remove each other's layers.
    #[error("image store: {} is in use by another process; stop it, or give this agent a state_dir of its own", path.display())]
    InUse {
        /// The store's folder.
        path: PathBuf,
    },
    /// There is no such image.
    #[error("image store: there is no image {digest}; pull it first")]
    Missing {
        /// The one that was asked for.
        digest: Digest,
    },
    /// The layers of an image are whole, but make no image.
    #[error("image store: the layers do not fit together: {problem}; build the image again")]
    Unfit {
        /// Why not.
        problem: String,
    },
    /// What is on disk is not what was written.
    #[error("image store: {} is damaged ({problem}); pulling the image again repairs it", path.display())]
    Damaged {
        /// The record or layer.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// An image could not be pulled. The store is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry did not give what was asked for.
    #[error("cannot pull {image}")]
    Registry {
        /// The image, as asked for.
        image: String,
        /// What the registry client says.
        #[source]
        source: RegistryError,
    },
    /// The image is not for this host.
    #[error(
        "cannot pull {image}: it is not for {host}, but for {offered}; build it for this platform too, or choose other hosts"
    )]
    Platform {
        /// The image, as asked for.
        image: String,
        /// This host's platform.
        host: String,
        /// What there is.
        offered: String,
    },
    /// Manifest and config contradict themselves or each other.
    #[error("cannot pull {image}: {problem}; push the image again")]
    BadImage {
        /// The image, as asked for.
        image: String,
        /// What is wrong.
        problem: String,
    },
    /// A layer cannot be unpacked.
    #[error("cannot pull {image}: layer {layer}")]
    Layer {
        /// The image, as asked for.
        image: String,
        /// The layer's digest.
        layer: Digest,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// The store cannot take it.
    #[error("cannot pull {image}")]
    Store {
        /// The image, as asked for.
        image: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Another pull of the same image, at the same time, has failed.
    #[error(transparent)]
    Shared {
        /// Its error.
        source: Arc<PullError>,
    },
}

impl PullError {
    /// Whether the same pull may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Registry { source, .. } => source.is_retryable(),
            Self::Shared { source } => source.is_retryable(),
            Self::Layer { source: LayerError::NoSpace | LayerError::Reserve { .. } | LayerError::Stopped, .. }
            | Self::Store { source: StoreError::NoSpace { .. } | StoreError::Reserve { .. }, .. } => true,
            Self::Platform { .. } | Self::BadImage { .. } | Self::Layer { .. } | Self::Store { .. } => false,
        }
    }
}

/// What is wrong with a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The blob is not the one that the manifest names.
    #[error("its bytes have the digest {actual}; the registry or something before it is broken")]
    Digest {
        /// Of the bytes that came.
        actual: Digest,
    },
    /// The archive is not the one that the config names.
    #[error("its archive has the diff id {actual} instead of {expected}; push the image again")]
    DiffId {
        /// As the config says.
        expected: Digest,
        /// Of what was unpacked.
        actual: Digest,
    },
    /// It cannot be decompressed.
    #[error("cannot be decompressed; push the image again")]
    Compression {
        /// The decoder's words.
        #[source]
        source: io::Error,
    },
    /// Its archive is malformed.
    #[error("its archive {problem}; build the image again")]
    Tar {
        /// What is wrong.
        problem: String,
    },
    /// An entry that an image must not have.
    #[error("its entry {path:?} {problem}; build the image without it")]
    Entry {
        /// The entry's name, printable.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Larger than we are willing to unpack.
    #[error("has more than {limit}; is it a bomb? if not, make the image smaller")]
    Limit {
        /// The limit, with its unit.
        limit: String,
    },
    /// An entry could not be written.
    #[error("cannot {operation} {path:?}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The entry's name, printable.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The disk is full.
    #[error("does not fit on the disk; free some space, or let unused images be removed")]
    NoSpace,
    /// The disk's reserve is reached.
    #[error("does not fit: the disk has {} free and {} are its reserve; free some space, or let unused images be removed", human(*free_bytes), human(*reserve_bytes))]
    Reserve {
        /// That the disk has free.
        free_bytes: u64,
        /// What no pull may take.
        reserve_bytes: u64,
    },
    /// The other side of a channel ended first; its error is the one to tell.
    #[error("unpacking was stopped")]
    Stopped,
}

impl LayerError {
    pub(super) fn tar(problem: impl Into<String>) -> LayerError {
        LayerError::Tar { problem: problem.into() }
    }

    pub(super) fn entry(path: &[u8], problem: impl Into<String>) -> LayerError {
        LayerError::Entry { path: coord_tar::shown(path), problem: problem.into() }
    }

    pub(super) fn io(operation: &'static str, path: &[u8], source: impl Into<io::Error>) -> LayerError {
        let source = source.into();
        if is_no_space(&source) {
            LayerError::NoSpace
        } else {
            LayerError::Io { operation, path: path.escape_ascii().to_string(), source }
        }
    }
}

impl From<TarError> for LayerError {
    fn from(error: TarError) -> LayerError {
        match error {
            TarError::Malformed { problem } => LayerError::Tar { problem },
            TarError::Entry { path, problem } => LayerError::Entry { path, problem },
            TarError::Limit { limit } => LayerError::Limit { limit },
            // The archive's reader only fails when the thread that fills it has ended, which then has the better error.
            TarError::Input { source: _ } => LayerError::Stopped,
        }
    }
}

impl StoreError {
    pub(super) fn io(operation: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> StoreError {
        let (path, source) = (path.into(), source.into());
        if is_no_space(&source) { StoreError::NoSpace { path } } else { StoreError::Io { operation, path, source } }
    }
}

fn human(bytes: u64) -> String {
    ByteSize(bytes).human()
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
