//! What the centre is told: where its bytes lie, and how much it takes.

use crate::error::CentreError;
use crate::quota::QuotaSettings;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest blob, in bytes, where nothing else is configured: larger than any layer that we met, smaller than a disk.
pub const UPLOAD_MAX_BYTES: u64 = 64 * 1024 * 1024 * 1024;
/// Most uploads that lie unfinished at a time: each holds a folder, and while it is written a file and a megabyte of memory.
pub const UPLOADS_MAX: usize = 512;
/// How long an upload may lie untouched: a client that resumes does it within minutes, a person on the next morning.
pub const UPLOAD_IDLE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a sender may be silent in the middle of a body.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest file with a key of the object store, in bytes.
const KEY_FILE_MAX_BYTES: u64 = 4096;

/// How a centre is set up.
#[derive(Debug, Clone)]
pub struct CentreConfig {
    /// Where unfinished uploads lie, and blobs too unless `storage` says otherwise. Made if it is not there.
    pub dir: PathBuf,
    /// Where blobs lie.
    pub storage: StorageConfig,
    /// What all blobs may take.
    pub quota: QuotaSettings,
    /// Largest blob, in bytes.
    pub upload_max_bytes: u64,
    /// Most unfinished uploads.
    pub uploads_max: usize,
    /// How long an upload may lie untouched before it is swept.
    pub upload_idle_max: Duration,
    /// How long a sender may be silent in the middle of a body.
    pub silence_max: Duration,
}

impl CentreConfig {
    /// A centre in `dir` with the usual limits and a folder of files.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            storage: StorageConfig::Local,
            quota: QuotaSettings::default(),
            upload_max_bytes: UPLOAD_MAX_BYTES,
            uploads_max: UPLOADS_MAX,
            upload_idle_max: UPLOAD_IDLE_MAX,
            silence_max: SILENCE_MAX,
        }
    }
}

/// Where blobs lie: `"local"`, or `{ s3 = { ... } }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageConfig {
    /// Files below the centre's folder.
    #[default]
    #[serde(rename = "local")]
    Local,
    /// A bucket of an S3-compatible object store. Uploads are staged in the centre's folder first.
    #[serde(rename = "s3")]
    S3(S3Config),
}

/// A bucket of an S3-compatible object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket; it must exist.
    pub bucket: String,
    /// What all keys start with; absent: nothing.
    #[serde(default)]
    pub prefix: String,
    /// `http://` or `https://` address of the store; absent: Amazon's own, by region.
    pub endpoint: Option<String>,
    /// The region; stores of one's own usually ignore it.
    #[serde(default = "default_region")]
    pub region: String,
    /// A file that holds the access key's name.
    pub access_key_file: PathBuf,
    /// A file that holds the access key's secret.
    pub secret_key_file: PathBuf,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

impl S3Config {
    /// The access key and its secret, from their files.
    pub(crate) fn keys(&self) -> Result<(String, String), CentreError> {
        Ok((key_from(&self.access_key_file)?, key_from(&self.secret_key_file)?))
    }
}

fn key_from(path: &Path) -> Result<String, CentreError> {
    let bytes = std::fs::metadata(path).map_err(CentreError::disk("read", path))?.len();
    if bytes > KEY_FILE_MAX_BYTES {
        return Err(CentreError::Settings(format!("{} is too large to hold a key", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(CentreError::disk("read", path))?;
    let key = text.trim();
    if key.is_empty() {
        return Err(CentreError::Settings(format!("{} is empty; it must hold a key of the object store", path.display())));
    }
    Ok(key.to_owned())
}
