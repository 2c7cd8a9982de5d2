//! What is told of images: by the control socket, and by the command line for programs.
//!
//! Sizes in bytes. Fields are only ever added.

use coord_shared::names::Digest;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A line about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRow {
    /// As it was asked for.
    pub digest: Digest,
    /// How people called it when it was pulled.
    pub references: Vec<String>,
    /// Number of layers, those shared with other images included.
    pub layers: usize,
    /// Content of its files, shared layers included.
    pub content_bytes: u64,
    /// The instances that run it or are to run it; empty where nothing needs it.
    pub used_by: Vec<String>,
}

/// How far a pull has come. All zero until the manifest is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullProgress {
    /// As downloaded, of all layers, those already here included.
    pub total_bytes: u64,
    /// Of these, how many are here.
    pub done_bytes: u64,
    /// Number of layers.
    pub total_layers: u64,
    /// Of these, how many are complete.
    pub done_layers: u64,
}

/// A pull that ended well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pulled {
    /// What it was called.
    pub reference: String,
    /// What that is, by content.
    pub digest: Digest,
    /// Whether all of it was here already.
    pub was_here: bool,
    /// As downloaded, all layers together.
    pub download_bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// An image that is shown somewhere, or no longer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Where.
    pub dir: PathBuf,
    /// Which image; absent where it was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// Everything about an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageDetails {
    /// As in the list.
    #[serde(flatten)]
    pub row: ImageRow,
    /// The image's own config (OCI image spec, config.md).
    pub config: serde_json::Value,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The image or layer.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What a verification found; nothing, where all is as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Number of images looked at.
    pub images: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Images.
    pub images: Vec<Digest>,
    /// Number of layers.
    pub layers: usize,
    /// Content of the layers' files.
    pub content_bytes: u64,
}
