//! Images on this host: pulled by digest, verified, unpacked, kept until nobody needs them.
//!
//! ```text
//!   pull     manifest -> platform -> config -> layers, three at a time
//!   fetch    one blob's bytes, with retries and resume          (async)
//!   layer    bytes -> digest, inflate, diff id, files           (threads)
//!   tar, unpack                                                 (what an archive says; what may become of it)
//!   overlay  what stacked folders would show wrongly, put right
//!   store    folders, records, locks, removal
//! ```
//!
//! Nothing half-written is ever visible: a layer is unpacked under `tmp/`, synced and renamed into place; an image's record is
//! written last. A pull that fails leaves the store as it was, except that layers which did arrive whole are kept for the next try.
//!
//! Callers see `ImageStore::mount` and nothing of the format, so that another one can take its place. Deliberately absent: a
//! container's own layer (the runtime's), deciding when to pull or to prune (the agent's), pushing, building.

mod clock;
mod config;
mod erofs;
mod error;
mod fetch;
mod layer;
mod limits;
mod mount;
mod overlay;
mod pull;
mod record;
mod rootfs;
mod store;
mod sys;
#[allow(dead_code, reason = "becomes the way of every layer")]
mod tar;
#[cfg(test)]
mod tests;
#[allow(dead_code, unused_imports, reason = "becomes the way of every layer")]
mod tree;
mod unpack;

pub use config::Healthcheck;
pub use coord_shared::decide::images::Policy;
pub use error::{LayerError, PullError, StoreError};
pub use fetch::Retry;
pub use limits::Limits;
pub use pull::Progress;
pub use rootfs::{Backing, Host, Shortcoming};
pub use store::{Format, FormatChoice, ImageDetails, ImageStore, ImageSummary, LayerDetails, Options, Pruned, Usage};

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
    /// Its files.
    pub rootfs: RootfsLayers,
}

/// A root file system in read-only parts, for overlayfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsLayers {
    /// Absolute folders, topmost first; at least one, none twice. They stay while the store is told to keep the image.
    pub lowers: Vec<PathBuf>,
}
