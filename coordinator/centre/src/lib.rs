//! The image centre's registry: the OCI Distribution spec 1.1 over blobs that are streamed to disk and hashed on the way.
//!
//! Blobs lie in a folder (or an object store) by digest, once, whoever uses them. What repositories hold (manifests, tags, which blobs are
//! visible where) are records of the coordinator's store, changed by compare-and-set, so that a crash leaves a whole state: at worst an
//! upload that is resumed or swept. Deliberately absent: who may do what (the caller's [`Access`] says), and what images are for.

mod access;
mod blobs;
mod centre;
mod clock;
pub mod collect;
mod config;
mod error;
mod http;
mod lists;
mod locks;
mod manifests;
mod names;
mod outline;
pub mod quota;
pub mod records;
pub mod retention;
mod storage;
#[cfg(test)]
mod tests;
pub mod through;
mod uploads;

pub use access::{Access, Action, Refusal};
pub use centre::Centre;
pub use config::{CentreConfig, S3Config, SILENCE_MAX, StorageConfig, UPLOAD_IDLE_MAX, UPLOAD_MAX_BYTES, UPLOADS_MAX};
pub use error::CentreError;
pub use lists::Page;
pub use manifests::{Manifest, NewManifest, Taken};
pub use names::{Reference, ReferenceError, Tag, TagError};
pub use outline::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, MANIFEST_MAX_BYTES, OCI_INDEX, OCI_MANIFEST, is_manifest_type};
pub use storage::{BlobStream, Stored};
pub use uploads::Upload;
