//! What the store writes down: one JSON file per image, and one per layer. Each says which format it has, and an image's carries the
//! config's own bytes under their digest, so that damage shows.

use super::error::StoreError;
use super::store::disk;
use super::unpack::Summary;
use coord_shared::names::Digest;
use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// Raised when an older agent could not read what a newer one wrote.
const FORMAT: u32 = 1;
/// Records are a config (at most 4 MiB), or a layer's remembered paths twice over (`Limits::names_max_bytes`); a larger file is none of ours.
const RECORD_MAX_BYTES: u64 = 80 * 1024 * 1024;

/// `images/HEX.json`: an image that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ImageRecord {
    format: u32,
    /// As asked for: of the index or of the manifest.
    pub(super) digest: Digest,
    /// How people called it when it was pulled.
    pub(super) reference: String,
    config_digest: Digest,
    /// The config's text, byte for byte.
    config: String,
}

/// `layers/HEX/layer.json`: a layer that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    format: u32,
    pub(super) diff_id: Digest,
    pub(super) entries: u64,
    pub(super) content_bytes: u64,
    pub(super) opaque_root: bool,
    /// See `Summary`; paths in hex digits, because they are bytes.
    #[serde(with = "hex_paths")]
    pub(super) implicit: BTreeSet<Vec<u8>>,
    #[serde(with = "hex_paths")]
    pub(super) whiteouts: BTreeSet<Vec<u8>>,
}

impl ImageRecord {
    pub(super) fn new(digest: Digest, reference: String, config_digest: Digest, config: String) -> ImageRecord {
        ImageRecord { format: FORMAT, digest, reference, config_digest, config }
    }

    /// The config and its diff ids, bottom first. The error says what is wrong with it.
    pub(super) fn config(&self) -> Result<(ImageConfiguration, Vec<Digest>), String> {
        if Digest::of(self.config.as_bytes()) != self.config_digest {
            return Err("its config is not what it was".to_owned());
        }
        parse_config(self.config.as_bytes())
    }

    pub(super) fn load(path: &Path, digest: &Digest) -> Result<Option<ImageRecord>, StoreError> {
        let Some(record) = load::<ImageRecord>(path)? else { return Ok(None) };
        if record.format != FORMAT || record.digest != *digest {
            return Err(StoreError::Damaged { path: path.to_owned(), problem: "it is of another image or format".to_owned() });
        }
        Ok(Some(record))
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), StoreError> {
        save(path, self)
    }
}

impl LayerRecord {
    pub(super) fn new(diff_id: Digest, summary: Summary) -> LayerRecord {
        let Summary { entries, content_bytes, opaque_root, implicit, whiteouts, devices_left_out: _ } = summary;
        LayerRecord { format: FORMAT, diff_id, entries, content_bytes, opaque_root, implicit, whiteouts }
    }

    pub(super) fn load(path: &Path, diff_id: &Digest) -> Result<Option<LayerRecord>, StoreError> {
        let Some(record) = load::<LayerRecord>(path)? else { return Ok(None) };
        if record.format != FORMAT || record.diff_id != *diff_id {
            return Err(StoreError::Damaged { path: path.to_owned(), problem: "it is of another layer or format".to_owned() });
        }
        Ok(Some(record))
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), StoreError> {
        save(path, self)
    }
}

/// A config and its diff ids, bottom first. The error says what is wrong, not with which image.
pub(super) fn parse_config(bytes: &[u8]) -> Result<(ImageConfiguration, Vec<Digest>), String> {
    let config: ImageConfiguration = serde_json::from_slice(bytes).map_err(|e| format!("its config is malformed: {e}"))?;
    let diff_ids =
        config.rootfs().diff_ids().iter().map(|id| id.parse().map_err(|e| format!("its config has a bad diff id: {e}")));
    let diff_ids = diff_ids.collect::<Result<Vec<Digest>, String>>()?;
    Ok((config, diff_ids))
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
    let text = serde_json::to_vec(record).map_err(|e| StoreError::io("encode", path, io::Error::other(e)))?;
    disk::write_file(path, &text)
}

/// Sets of byte strings as lists of hex digits.
mod hex_paths {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use std::collections::BTreeSet;

    pub(super) fn serialize<S: Serializer>(paths: &BTreeSet<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(paths.iter().map(|path| path.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Vec<u8>>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| decode(text).ok_or_else(|| D::Error::custom("not hex digits"))).collect()
    }

    fn decode(text: &str) -> Option<Vec<u8>> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        rest.is_empty().then_some(())?;
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
    }
}
