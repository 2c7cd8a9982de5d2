//! `[centre]`: what the image centre may store, what it keeps, and which registries it stands in for.

use coord_centre::collect::CollectSettings;
use coord_centre::quota::QuotaSettings;
use coord_centre::retention::RetentionRule;
use coord_centre::through::ThroughRule;
use coord_centre::{CentreConfig, StorageConfig, UPLOAD_MAX_BYTES};
use coord_shared::quantity::{ByteSize, Span};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shortest grace period: a client may take this long between asking for a layer and naming it in a manifest.
const GRACE_MIN: Duration = Duration::from_secs(60);
/// Shortest time between two collections: each reads all records.
const COLLECT_EVERY_MIN: Duration = Duration::from_secs(60);

/// `[centre]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CentreSection {
    /// Where blobs and uploads lie; absent: `centre` in the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Where blobs lie: `"local"`, or `{ s3 = { ... } }`.
    pub storage: StorageConfig,
    /// Largest blob.
    pub max_upload: ByteSize,
    /// What all blobs together may take; absent: as much as the disk has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<ByteSize>,
    /// What stays free of the disk.
    pub disk_reserve: ByteSize,
    /// How often is collected what nothing needs.
    pub collect_every: Span,
    /// What was pushed or asked for less than this ago is never collected.
    pub grace: Span,
    /// Registries that the centre stands in for, by prefix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<ThroughRule>,
    /// Which tags may go; without a rule all stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retention: Vec<RetentionRule>,
}

impl Default for CentreSection {
    fn default() -> Self {
        Self {
            dir: None,
            storage: StorageConfig::default(),
            max_upload: ByteSize(UPLOAD_MAX_BYTES),
            quota: None,
            // Enough for the store and the logs beside it for long after the centre is full.
            disk_reserve: ByteSize(1024 * 1024 * 1024),
            collect_every: Span(Duration::from_secs(3600)),
            grace: Span(Duration::from_secs(3600)),
            through: Vec::new(),
            retention: Vec::new(),
        }
    }
}

impl CentreSection {
    /// What is wrong with it, with the cure.
    pub fn problem(&self) -> Option<String> {
        if self.grace.0 < GRACE_MIN {
            return Some(
                "[centre] grace must be 1m at least: a push takes that long between its layers and its manifest".to_owned(),
            );
        }
        if self.collect_every.0 < COLLECT_EVERY_MIN {
            return Some("[centre] collect_every must be 1m at least".to_owned());
        }
        let through = self.through.iter().find_map(ThroughRule::problem);
        through.or_else(|| self.retention.iter().find_map(RetentionRule::problem))
    }

    /// As the centre takes it.
    pub fn centre(&self, data_dir: &Path) -> CentreConfig {
        let dir = self.dir.clone().unwrap_or_else(|| data_dir.join("centre"));
        CentreConfig {
            storage: self.storage.clone(),
            quota: QuotaSettings { bytes: self.quota.map(|quota| quota.0), disk_reserve_bytes: self.disk_reserve.0 },
            upload_max_bytes: self.max_upload.0,
            ..CentreConfig::new(dir)
        }
    }

    /// What a collection may do.
    pub fn collect(&self) -> CollectSettings {
        CollectSettings { grace: self.grace.0, rules: self.retention.clone() }
    }
}
