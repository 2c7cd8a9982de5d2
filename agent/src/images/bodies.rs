//! What is told of images: by the control socket, and by the command line for programs.
//!
//! Sizes in bytes. Fields are only ever added.

use coord_shared::names::Digest;
use jiff::Timestamp;
use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// On the disk, for this image alone: what its removal brings.
    pub disk_bytes: u64,
    /// On the disk, for layers that other images have too.
    pub shared_bytes: u64,
    /// When something last used it.
    pub last_used: Option<Timestamp>,
    /// How its layers are kept: `archive` or `directory`.
    pub format: String,
    /// Whether its root file system is mounted on this host.
    pub mounted: bool,
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
    /// Compressed, as downloaded.
    pub download_bytes: u64,
    /// Bottom first.
    pub layer_details: Vec<LayerRow>,
    /// What its manifest says for people and tools.
    pub annotations: BTreeMap<String, String>,
    /// How it wants to be asked whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthcheckRow>,
    /// The image's own config (OCI image spec, config.md).
    pub config: serde_json::Value,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRow {
    /// Digest of its archive.
    pub diff_id: Digest,
    /// Size of its archive.
    pub archive_bytes: u64,
    /// Of its archive.
    pub entries: u64,
    /// Of its files, as they are read.
    pub content_bytes: u64,
    /// On the disk, about.
    pub disk_bytes: u64,
    /// Attributes and entries that an image may not have and that were left out.
    pub left_out: u64,
    /// How it is kept: `archive` or `directory`.
    pub format: String,
}

/// A healthcheck as Docker's image configs have it; absent values are the defaults of whoever runs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthcheckRow {
    /// `["CMD", ...]`, `["CMD-SHELL", ...]` or `["NONE"]`.
    pub command: Vec<String>,
    /// Seconds between two checks.
    pub interval_s: Option<f64>,
    /// Seconds that one may take.
    pub timeout_s: Option<f64>,
    /// Seconds after the start in which failures do not count.
    pub start_period_s: Option<f64>,
    /// Seconds between two checks during that time.
    pub start_interval_s: Option<f64>,
    /// Failures in a row from which it is unhealthy.
    pub retries: Option<u32>,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `image`, `layer` or `chain`: an image's record, a layer, or what belongs to a list of layers.
    pub kind: String,
    /// Of the image, of the layer's archive, or of the list of layers.
    pub digest: Digest,
    /// The images that have it.
    pub images: Vec<Digest>,
    /// What is wrong with it.
    pub problem: String,
    /// It was removed or made anew.
    pub is_repaired: bool,
    /// All of that, and what to do, in one sentence.
    pub text: String,
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

/// An image ready to be stacked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadyImage {
    /// Which.
    pub digest: Digest,
    /// What the image says of itself.
    pub config: ImageConfiguration,
    /// Absolute folders, topmost first.
    pub lowers: Vec<PathBuf>,
}
