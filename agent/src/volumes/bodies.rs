//! What is told of volumes on this host, beside the bodies that also travel to the coordinator.

use coord_shared::names::VolumeName;
use coord_shared::wire::VolumeView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything about one volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeDetails {
    /// As in the list.
    #[serde(flatten)]
    pub view: VolumeView,
    /// Its content, on the host.
    pub path: PathBuf,
    /// The labels of the document for which it was made.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `POST /v1/volumes/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveAsked {
    /// Which.
    pub name: VolumeName,
}
