//! Why the centre could not do it.
//!
//! One enum for the crate's own doors; the HTTP side alone knows which code and status each one is.

use coord_shared::names::{Digest, Repository};
use coord_store::StoreError;
use std::io;
use std::path::PathBuf;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CentreError {
    /// The repository does not have this blob.
    #[error("repository {repository} has no blob {digest}")]
    NoBlob {
        /// The repository.
        repository: Repository,
        /// The blob.
        digest: Digest,
    },
    /// The repository does not have this manifest.
    #[error("repository {repository} has no manifest {reference}")]
    NoManifest {
        /// The repository.
        repository: Repository,
        /// Tag or digest.
        reference: String,
    },
    /// Nobody pushed to this repository.
    #[error("there is no repository {0}")]
    NoRepository(Repository),
    /// A manifest that cannot be taken.
    #[error("the manifest cannot be taken: {0}")]
    BadManifest(String),
    /// A manifest needs what its repository does not have.
    #[error("the manifest refers to {what} {digest}, which repository {repository} does not have; push it first")]
    Missing {
        /// `blob` or `manifest`.
        what: &'static str,
        /// Which.
        digest: Digest,
        /// Where it is missing.
        repository: Repository,
    },
    /// The bytes are not what they were said to be.
    #[error("the bytes have the digest {found}, not {wanted}")]
    WrongDigest {
        /// What was said.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// There is no such upload: it ended, it was idle too long, or it is another repository's.
    #[error("there is no upload {0}")]
    NoUpload(String),
    /// A piece does not continue where the upload stands.
    #[error("the upload stands at {stands} bytes, and the piece starts at {starts}")]
    OutOfOrder {
        /// What the upload has.
        stands: u64,
        /// Where the piece starts.
        starts: u64,
    },
    /// A piece does not have the length that was announced.
    #[error("the piece has {found} bytes instead of {announced}")]
    WrongLength {
        /// What was announced.
        announced: u64,
        /// What came.
        found: u64,
    },
    /// Its bytes are in their place already, only its record is not: nothing may be added to them.
    #[error("the upload {0} is whole; finish it, or begin another one")]
    Whole(String),
    /// The upload is being written by somebody else.
    #[error("the upload {0} is being written by another request")]
    Busy(String),
    /// More than we take.
    #[error("{what} is larger than {max_bytes} bytes")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// The limit.
        max_bytes: u64,
    },
    /// No room.
    #[error(transparent)]
    Full(#[from] crate::quota::Full),
    /// Too much at a time.
    #[error("{max} uploads are under way already; try again later")]
    TooManyUploads {
        /// The limit.
        max: usize,
    },
    /// A manifest, tag or document still needs it.
    #[error("{what} is still used by {by}; delete that first")]
    Used {
        /// What was to be deleted.
        what: String,
        /// Who needs it.
        by: String,
    },
    /// The sender stopped in the middle, or was silent for too long.
    #[error("the sender stopped: {0}")]
    Interrupted(String),
    /// The disk failed.
    #[error("cannot {operation} {}", path.display())]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The object store failed.
    #[error("cannot {operation} {object} in the object store")]
    Objects {
        /// What was tried.
        operation: &'static str,
        /// With what.
        object: String,
        /// Why it failed.
        #[source]
        source: object_store::Error,
    },
    /// A file of a secret cannot be read, or a setting of the storage cannot be used.
    #[error("the storage of the image centre cannot be used: {0}")]
    Settings(String),
    /// A blocking task ended without an answer: the process is about to end.
    #[error("the centre is shutting down")]
    Ending,
    /// The store failed.
    #[error("cannot reach the records of the image centre")]
    Store(#[from] StoreError),
    /// The registry that a repository is a copy of.
    #[error("upstream: {0}")]
    Upstream(#[source] Box<coord_registry::RegistryError>),
    /// Nobody knows what is in use, so nothing is removed.
    #[error("nothing is collected")]
    Roots(#[source] Box<crate::collect::RootsError>),
    /// Others changed the same records again and again.
    #[error("others change the same records; try again")]
    Contended,
    /// The store holds what this program did not write.
    #[error("the record {key:?} cannot be read")]
    Record {
        /// Its key; empty where it was to be written.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl CentreError {
    /// Wraps what the disk said.
    pub(crate) fn disk(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Disk { operation, path, source }
    }
}
