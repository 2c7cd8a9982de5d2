//! The image centre's registry: the OCI Distribution spec 1.1 over blobs that are streamed to disk and hashed on the way.
//!
//! Blobs lie in a folder (or an object store) by digest, once, whoever uses them. What repositories hold (manifests, tags, which blobs are
//! visible where) are records of the coordinator's store, changed by compare-and-set, so that a crash leaves a whole state: at worst an
//! upload that is resumed or swept. Deliberately absent: who may do what (the caller's [`Access`] says), and what images are for.

mod access;
mod clock;
mod error;
mod names;
pub mod records;

pub use access::{Access, Action, Refusal};
pub use error::CentreError;
pub use names::{Reference, ReferenceError, Tag, TagError};
