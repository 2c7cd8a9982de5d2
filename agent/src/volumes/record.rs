//! `volume.json`: when a volume was made, and for whom. For people; a volume without one is a volume.

use super::VolumesError;
use crate::clock;
use crate::durable;
use coord_shared::names::{InstanceId, VolumeName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Largest record that is read: labels are at most as long as a document.
const RECORD_MAX_BYTES: u64 = 256 * 1024;
const FILE: &str = "volume.json";

/// For whom a volume is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The instance that wants it.
    pub instance: InstanceId,
    /// Whether it belongs to that instance alone.
    pub anonymous: bool,
    /// Of its document.
    pub labels: BTreeMap<String, String>,
}

/// What was written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The volume that it is about.
    pub(super) name: VolumeName,
    #[serde(default)]
    pub(super) created: Option<Timestamp>,
    #[serde(default)]
    pub(super) instance: Option<InstanceId>,
    #[serde(default)]
    pub(super) anonymous: bool,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
}

/// Writes the record of a new volume.
pub(super) fn write(volume: &Path, name: &VolumeName, origin: &Origin) -> Result<(), VolumesError> {
    let Origin { instance, anonymous, labels } = origin.clone();
    let record = Record { name: name.clone(), created: Some(clock::now().wall), instance: Some(instance), anonymous, labels };
    let path = volume.join(FILE);
    // Plain data with text for keys, which always serialises.
    let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
    durable::write(&path, &text).map_err(|error| VolumesError::File {
        operation: "write",
        path,
        source: std::io::Error::other(error),
    })
}

/// The record in a volume's folder; `None` where there is none that is about this volume.
pub(super) fn read(volume: &Path) -> Option<Record> {
    // Not through a link, and without waiting for whoever would write to a FIFO: what lies here may have been put here by anybody's hand.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(volume.join(FILE)).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(RECORD_MAX_BYTES).read_to_end(&mut text).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    (volume.file_name()?.to_str()? == record.name.as_str()).then_some(record)
}
