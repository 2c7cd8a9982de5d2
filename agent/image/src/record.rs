//! What the store writes down: one JSON file per image, and one per layer. Each says which format it has, and an image's carries the
//! config's own bytes under their digest, so that damage shows.

use super::config::{self, ImageConfig};
use super::error::StoreError;
use super::store::disk;
use super::tree::LayerTree;
use coord_shared::names::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Raised when an older agent could not read what a newer one wrote.
const FORMAT: u32 = 2;
/// Records are a config (at most 4 MiB, and escaped as JSON), names and annotations; a larger file is none of ours.
const RECORD_MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Names under which one image was asked for; the oldest are forgotten. Who deploys by tag makes a new name each time.
const REFERENCES_MAX: usize = 16;
/// Annotations are kept for people to read. The OCI spec puts no limit on them; a manifest has at most 4 MiB.
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;

/// `images/HEX.json`: an image that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    format: u32,
    /// As asked for: of the index or of the manifest.
    pub(crate) digest: Digest,
    /// How people called it when it was pulled, the latest last.
    pub(crate) references: Vec<String>,
    /// Of the manifest.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Compressed, as downloaded.
    pub(crate) download_bytes: u64,
    config_digest: Digest,
    /// The config's text, byte for byte.
    config: String,
}

/// `layers/HEX/layer.json`: a layer that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    format: u32,
    pub(crate) diff_id: Digest,
    pub(crate) entries: u64,
    /// Of its files, as they are read.
    pub(crate) content_bytes: u64,
    /// Of the archive.
    pub(crate) archive_bytes: u64,
    /// Of the file of expanded contents; zero where there is none.
    pub(crate) expanded_bytes: u64,
    /// Of the index file.
    pub(crate) index_bytes: u64,
    /// Attributes and entries that an image may not have.
    pub(crate) left_out: u64,
}

/// What there is to know of an image before it is written down.
pub(crate) struct NewImage {
    pub(crate) digest: Digest,
    pub(crate) reference: String,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) download_bytes: u64,
    pub(crate) config_digest: Digest,
    pub(crate) config: String,
}

impl ImageRecord {
    pub(crate) fn new(image: NewImage) -> ImageRecord {
        let NewImage { digest, reference, mut annotations, download_bytes, config_digest, config } = image;
        let mut bytes = 0;
        annotations.retain(|name, value| {
            bytes += name.len() + value.len();
            bytes <= ANNOTATIONS_MAX_BYTES
        });
        ImageRecord { format: FORMAT, digest, references: vec![reference], annotations, download_bytes, config_digest, config }
    }

    /// One more name. Whether that is news.
    pub(crate) fn add_reference(&mut self, reference: &str) -> bool {
        if self.references.iter().any(|known| known == reference) {
            return false;
        }
        if self.references.len() >= REFERENCES_MAX {
            self.references.remove(0);
        }
        self.references.push(reference.to_owned());
        true
    }

    /// The config. The error says what is wrong with it.
    pub(crate) fn config(&self) -> Result<ImageConfig, String> {
        if Digest::of(self.config.as_bytes()) != self.config_digest {
            return Err("its config is not what it was".to_owned());
        }
        config::parse(self.config.as_bytes())
    }

    pub(crate) fn load(path: &Path, digest: &Digest) -> Result<Option<ImageRecord>, StoreError> {
        let Some(record) = load::<ImageRecord>(path)? else { return Ok(None) };
        if record.format != FORMAT || record.digest != *digest {
            return Err(StoreError::Damaged { path: path.to_owned(), problem: "it is of another image or format".to_owned() });
        }
        Ok(Some(record))
    }

    /// Written, not synced.
    pub(crate) fn write(&self, path: &Path) -> Result<(), StoreError> {
        disk::write_unsynced(path, &encode(path, self)?)
    }

    pub(crate) fn save(&self, path: &Path) -> Result<(), StoreError> {
        save(path, self)
    }
}

impl LayerRecord {
    /// Of a layer whose tree is known, by the sizes of its files.
    pub(crate) fn of(diff_id: Digest, tree: &LayerTree, archive_bytes: u64, index_bytes: u64) -> LayerRecord {
        LayerRecord {
            format: FORMAT,
            diff_id,
            entries: tree.entries,
            content_bytes: tree.content_bytes,
            archive_bytes,
            expanded_bytes: tree.expanded_bytes,
            index_bytes,
            left_out: tree.left_out,
        }
    }

    pub(crate) fn load(path: &Path, diff_id: &Digest) -> Result<Option<LayerRecord>, StoreError> {
        let Some(record) = load::<LayerRecord>(path)? else { return Ok(None) };
        if record.format != FORMAT || record.diff_id != *diff_id {
            return Err(StoreError::Damaged { path: path.to_owned(), problem: "it is of another layer or format".to_owned() });
        }
        Ok(Some(record))
    }

    /// Written, not synced.
    pub(crate) fn write(&self, path: &Path) -> Result<(), StoreError> {
        disk::write_unsynced(path, &encode(path, self)?)
    }
}

fn load<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let size = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("look at", path, e)),
    };
    let damaged = |problem: String| StoreError::Damaged { path: path.to_owned(), problem };
    if size > RECORD_MAX_BYTES {
        return Err(damaged(format!("it has {size} bytes")));
    }
    let text = fs::read(path).map_err(|e| StoreError::io("read", path, e))?;
    serde_json::from_slice(&text).map(Some).map_err(|e| damaged(e.to_string()))
}

/// Written and synced; making it appear by a rename is the caller's.
fn save<T: Serialize>(path: &Path, record: &T) -> Result<(), StoreError> {
    disk::write_file(path, &encode(path, record)?)
}

fn encode<T: Serialize>(path: &Path, record: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|e| StoreError::io("encode", path, io::Error::other(e)))
}
