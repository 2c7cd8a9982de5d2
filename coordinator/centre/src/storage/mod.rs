//! Where the bytes of blobs lie, by digest: files in a folder, or objects in a bucket.
//!
//! A blob appears under its digest whole or not at all: a synced file is renamed, an object is put in one go or by a multipart upload that
//! its last request makes visible. Who may read what, and what may go, is written in the records; this module knows digests only.

mod local;
mod objects;

use crate::config::{CentreConfig, StorageConfig};
use crate::error::CentreError;
use bytes::Bytes;
use coord_shared::names::Digest;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use std::path::PathBuf;

pub(crate) use local::Local;
pub(crate) use objects::Objects;

/// Bytes of a blob as they are read.
pub type BlobStream = BoxStream<'static, Result<Bytes, CentreError>>;

/// Some bytes that lie in the storage, whether a record knows them or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Their digest, by their name.
    pub digest: Digest,
    /// How many.
    pub bytes: u64,
    /// Since when.
    pub since: Timestamp,
}

/// Where blobs lie.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    Local(Local),
    Objects(Objects),
}

impl Storage {
    pub(crate) fn open(config: &CentreConfig) -> Result<Self, CentreError> {
        Ok(match &config.storage {
            StorageConfig::Local => Self::Local(Local::open(&config.dir)?),
            StorageConfig::S3(s3) => Self::Objects(Objects::open(s3)?),
        })
    }

    /// Makes a staged file, whose digest was checked, the blob of its digest. The file may be gone afterwards, or not. What lay there
    /// before is replaced, so pushing a blob again mends it.
    pub(crate) async fn commit(&self, staged: PathBuf, digest: &Digest) -> Result<(), CentreError> {
        match self {
            Self::Local(local) => local.commit(staged, digest).await,
            Self::Objects(objects) => objects.commit(staged, digest).await,
        }
    }

    /// The bytes from `offset` on, `length` of them; `None` if there is no such blob.
    pub(crate) async fn read(&self, digest: &Digest, offset: u64, length: u64) -> Result<Option<BlobStream>, CentreError> {
        match self {
            Self::Local(local) => local.read(digest, offset, length).await,
            Self::Objects(objects) => objects.read(digest, offset, length).await,
        }
    }

    /// Removes the bytes, if they are there.
    pub(crate) async fn remove(&self, digest: &Digest) -> Result<(), CentreError> {
        match self {
            Self::Local(local) => local.remove(digest).await,
            Self::Objects(objects) => objects.remove(digest).await,
        }
    }

    /// Everything that lies there.
    pub(crate) async fn list(&self) -> Result<Vec<Stored>, CentreError> {
        match self {
            Self::Local(local) => local.list().await,
            Self::Objects(objects) => objects.list().await,
        }
    }
}

/// Runs file work where it may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CentreError> + Send + 'static,
) -> Result<T, CentreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(CentreError::Ending))
}
