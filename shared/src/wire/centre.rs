//! The bodies about collecting the image centre. What it holds is in `pipelines`.

use serde::{Deserialize, Serialize};

/// `POST /v1/images/collect`: what went, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedView {
    /// Whether it only was looked for.
    #[serde(default)]
    pub dry_run: bool,
    /// Tags that the rules let go, as `repository:tag`.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Images that nothing needs, as `repository@digest`.
    #[serde(default)]
    pub manifests: Vec<String>,
    /// How many blobs went.
    #[serde(default)]
    pub blobs: usize,
    /// What they took.
    #[serde(default)]
    pub freed_bytes: u64,
    /// What was about to go, and was used by somebody in that moment.
    #[serde(default)]
    pub gave_way: usize,
    /// What the blobs take that stay.
    #[serde(default)]
    pub kept_bytes: u64,
}

/// `DELETE /v1/images`: what was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedImages {
    /// Tags, as `repository:tag`.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Images, as `repository@digest`.
    #[serde(default)]
    pub manifests: Vec<String>,
}
