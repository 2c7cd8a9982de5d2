//! Images on this host: pulled by digest, verified, unpacked, kept until nobody needs them.
//!
//! ```text
//!   pull         manifest -> platform -> config -> layers, three at a time
//!   fetch        one blob's bytes, with retries and resume         (async)
//!   pipeline     bytes -> digest, inflate, diff id, tree, archive  (threads)
//!   tree         what an archive (coord-tar) means; layers merged
//!   erofs        merged layers as an EROFS image over their archives
//!   rootfs       mounting that                   directories  layers as folders, where it cannot be mounted
//!   store        folders, records, locks, room, removal
//! ```
//!
//! Nothing half-written is ever visible: a layer is unpacked under `tmp/`, synced and renamed into place; an image's record is
//! written last. A pull that fails leaves the store as it was, except that layers which did arrive whole are kept for the next try.
//!
//! Callers see `ImageStore::mount` and nothing of the format, so that another one can take its place. Deliberately absent: a
//! container's own layer (the runtime's), deciding when to pull or to prune (the agent's), pushing, building.

mod clock;
mod config;
mod directories;
mod erofs;
mod error;
mod fetch;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod mount;
mod pipeline;
mod pull;
mod record;
mod rootfs;
mod store;
mod sys;
#[cfg(test)]
mod tests;
mod tree;

pub use config::Healthcheck;
pub use coord_shared::decide::images::Policy;
pub use coord_tar::Limits;
pub use error::{LayerError, PullError, StoreError};
pub use fetch::Retry;
pub use pull::Progress;
pub use rootfs::{Backing, Host, Shortcoming};
pub use store::{
    Finding, Format, FormatChoice, ImageDetails, ImageStore, ImageSummary, LayerDetails, Object, Options, Pruned, Usage,
};

use coord_shared::names::Digest;
use oci_spec::image::ImageConfiguration;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A complete, verified image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As asked for: of the index or of the manifest.
    pub digest: Digest,
    /// What the image says of itself: command, environment, user, working directory.
    pub config: ImageConfiguration,
    /// How it wants to be asked whether it is well.
    pub healthcheck: Option<Healthcheck>,
    /// What its manifest says for people and tools.
    pub annotations: BTreeMap<String, String>,
}

/// A root file system in read-only parts, for overlayfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsLayers {
    /// Absolute folders, topmost first; at least one, none twice. They stay while the store is told to keep the image.
    pub lowers: Vec<PathBuf>,
}
