//! A host's volumes, as its agent tells of them.

use crate::names::{ContainerId, InstanceId, VolumeName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The answer to [`super::VolumesRequest::List`], and of the agent's own control socket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VolumesView {
    /// By name.
    pub volumes: Vec<VolumeView>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeView {
    /// Its name on the host.
    pub name: VolumeName,
    /// When it was made; absent where nobody wrote that down.
    #[serde(default)]
    pub created: Option<Timestamp>,
    /// The instance for which it was made first.
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// Whether it belongs to that instance alone, and has its name from it.
    #[serde(default)]
    pub anonymous: bool,
    /// The containers that have it mounted now.
    #[serde(default)]
    pub used_by: Vec<ContainerId>,
    /// Bytes on disk; absent while they are counted.
    #[serde(default)]
    pub disk_bytes: Option<u64>,
}
