//! What people and the agent are told of the images here. Reads records and looks at files, never at their contents.

use super::layout::chain_of;
use super::{ImageRecord, ImageStore, Inner};
use crate::config::{Healthcheck, ImageConfig};
use crate::error::StoreError;
use crate::record::LayerRecord;
use crate::rootfs;
use coord_shared::names::{Digest, ImageReference};
use oci_spec::image::ImageConfiguration;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::SystemTime;

/// Digits of a digest that may stand for an image: fewer are more likely a name.
const DIGEST_MIN_DIGITS: usize = 6;
/// Room that a file takes in a directory besides its content, on average: half a block, an inode, a name.
const FILE_OVERHEAD_BYTES: u64 = 2560;

/// How a layer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// As its archive, shown through EROFS.
    Archive,
    /// As a directory, stacked by overlayfs.
    Directory,
}

/// A line about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// As it was asked for.
    pub digest: Digest,
    /// How people called it when it was pulled, the latest last.
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
    pub last_used: SystemTime,
    /// Archives, if all its layers are such.
    pub format: Format,
    /// Whether its root file system is mounted on this host. Directories are not: each container stacks them for itself.
    pub mounted: bool,
}

/// All there is to know about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDetails {
    /// As in the list.
    pub summary: ImageSummary,
    /// What the image says of itself.
    pub config: ImageConfiguration,
    /// What its manifest says for people and tools.
    pub annotations: BTreeMap<String, String>,
    /// How it wants to be asked whether it is well.
    pub healthcheck: Option<Healthcheck>,
    /// Compressed, as downloaded.
    pub download_bytes: u64,
    /// Bottom first.
    pub layers: Vec<LayerDetails>,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDetails {
    /// Digest of its archive.
    pub diff_id: Digest,
    /// Size of its archive.
    pub archive_bytes: u64,
    /// Of its archive; a name may have several.
    pub entries: u64,
    /// Of its files, as they are read.
    pub content_bytes: u64,
    /// On the disk, about.
    pub disk_bytes: u64,
    /// Attributes and entries that an image may not have and that were left out.
    pub left_out: u64,
    /// How it is kept.
    pub format: Format,
}

/// What is known of an image before others are looked at.
struct Known {
    digest: Digest,
    record: ImageRecord,
    image: ImageConfig,
    layers: Vec<LayerRecord>,
}

impl ImageStore {
    /// The images that a text names: a reference, as it was written or in full; a digest, or its first 6 digits or more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn find(&self, text: &str) -> Result<Vec<Digest>, StoreError> {
        let reference = text.parse::<ImageReference>().map(|image| image.to_string()).ok();
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let mut found = Vec::new();
        for digest in self.inner.image_digests()? {
            let is_prefix = digits.len() >= DIGEST_MIN_DIGITS && digest.hex().starts_with(digits);
            let is_called = || {
                let record = ImageRecord::load(&self.inner.image_path(&digest), &digest).ok().flatten();
                record.is_some_and(|record| {
                    record.references.iter().any(|known| known == text || Some(known) == reference.as_ref())
                })
            };
            if is_prefix || is_called() {
                found.push(digest);
            }
        }
        Ok(found)
    }

    /// All images, by digest. Damaged ones are left out with a warning: `get` says what is wrong with one.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<ImageSummary>, StoreError> {
        let mut images = Vec::new();
        for digest in self.inner.image_digests()? {
            match self.inner.known(&digest) {
                Ok(known) => images.extend(known),
                Err(error) => tracing::warn!(image = %digest, %error, "damaged image"),
            }
        }
        let users = users(&images);
        let mounted = self.inner.mounted_chains();
        images.iter().map(|known| self.inner.summary(known, &users, &mounted)).collect()
    }

    /// All about one image; None where it is not here.
    ///
    /// # Errors
    /// `Damaged` when its record or a layer is not as it was written.
    pub fn inspect(&self, digest: &Digest) -> Result<Option<ImageDetails>, StoreError> {
        let inner = &self.inner;
        let Some(known) = inner.known(digest)? else { return Ok(None) };
        let others = inner.image_digests()?.into_iter().filter(|other| other != digest);
        let mut images: Vec<Known> = others.filter_map(|other| inner.known(&other).ok().flatten()).collect();
        images.push(known);
        let users = users(&images);
        let mounted = inner.mounted_chains();
        let Some(known) = images.pop() else { return Ok(None) };
        let summary = inner.summary(&known, &users, &mounted)?;
        let layers = known.layers.iter().map(|layer| inner.layer_details(layer)).collect::<Result<_, StoreError>>()?;
        let ImageConfig { config, healthcheck, diff_ids: _ } = known.image;
        let ImageRecord { annotations, download_bytes, .. } = known.record;
        Ok(Some(ImageDetails { summary, config, annotations, healthcheck, download_bytes, layers }))
    }
}

/// How many images have each layer.
fn users(images: &[Known]) -> BTreeMap<Digest, usize> {
    let mut users = BTreeMap::new();
    for known in images {
        for diff_id in known.image.diff_ids.iter().collect::<BTreeSet<_>>() {
            *users.entry(diff_id.clone()).or_default() += 1;
        }
    }
    users
}

impl Inner {
    fn known(&self, digest: &Digest) -> Result<Option<Known>, StoreError> {
        let path = self.image_path(digest);
        let Some(record) = ImageRecord::load(&path, digest)? else { return Ok(None) };
        let damaged = |problem: String| StoreError::Damaged { path: path.clone(), problem };
        let image = record.config().map_err(damaged)?;
        let mut layers = Vec::with_capacity(image.diff_ids.len());
        for diff_id in &image.diff_ids {
            layers.push(self.layer(diff_id)?.ok_or_else(|| damaged(format!("its layer {diff_id} is missing")))?);
        }
        Ok(Some(Known { digest: digest.clone(), record, image, layers }))
    }

    fn summary(
        &self,
        known: &Known,
        users: &BTreeMap<Digest, usize>,
        mounted: &BTreeSet<String>,
    ) -> Result<ImageSummary, StoreError> {
        let last_used = self.last_used(&known.digest)?;
        let chain = chain_of(&known.image.diff_ids);
        let (mut disk_bytes, mut shared_bytes) = (self.chain_disk_bytes(&chain), 0);
        let mut format = Format::Archive;
        let mut counted = BTreeSet::new();
        for layer in &known.layers {
            format = format.max(self.format_of(layer)?);
            if counted.insert(&layer.diff_id) {
                let is_shared = users.get(&layer.diff_id).is_some_and(|users| *users > 1);
                *if is_shared { &mut shared_bytes } else { &mut disk_bytes } += self.disk_bytes_of(layer)?;
            }
        }
        Ok(ImageSummary {
            digest: known.digest.clone(),
            references: known.record.references.clone(),
            layers: known.layers.len(),
            content_bytes: known.layers.iter().map(|layer| layer.content_bytes).sum(),
            disk_bytes,
            shared_bytes,
            last_used,
            format,
            mounted: mounted.contains(chain.hex()),
        })
    }

    /// When an image was last used: when its record was last modified.
    pub(super) fn last_used(&self, digest: &Digest) -> Result<SystemTime, StoreError> {
        let path = self.image_path(digest);
        fs::metadata(&path).and_then(|meta| meta.modified()).map_err(|e| StoreError::io("look at", &path, e))
    }

    fn layer_details(&self, layer: &LayerRecord) -> Result<LayerDetails, StoreError> {
        Ok(LayerDetails {
            diff_id: layer.diff_id.clone(),
            archive_bytes: layer.archive_bytes,
            entries: layer.entries,
            content_bytes: layer.content_bytes,
            disk_bytes: self.disk_bytes_of(layer)?,
            left_out: layer.left_out,
            format: self.format_of(layer)?,
        })
    }

    fn format_of(&self, layer: &LayerRecord) -> Result<Format, StoreError> {
        Ok(if self.has_archive(layer)? { Format::Archive } else { Format::Directory })
    }

    /// What a layer takes on the disk. Exact for archives; for a directory an estimate, because looking at each file takes too long.
    pub(super) fn disk_bytes_of(&self, layer: &LayerRecord) -> Result<u64, StoreError> {
        let mut bytes = layer.index_bytes;
        if self.has_archive(layer)? {
            bytes += layer.archive_bytes + layer.expanded_bytes;
        }
        if self.diff_path(&layer.diff_id).is_dir() {
            bytes += layer.content_bytes + layer.entries.saturating_mul(FILE_OVERHEAD_BYTES);
        }
        Ok(bytes)
    }

    /// Of the EROFS image; the topmost folder is nothing to speak of.
    pub(super) fn chain_disk_bytes(&self, chain: &Digest) -> u64 {
        self.meta_path(chain).metadata().map_or(0, |meta| meta.len())
    }

    /// The chains that are mounted, in hex digits. What the kernel does not tell is not mounted.
    fn mounted_chains(&self) -> BTreeSet<String> {
        let places = rootfs::mounted_in(&self.dir.join("mnt")).unwrap_or_default();
        places.iter().filter_map(|place| Some(place.file_name()?.to_str()?.to_owned())).collect()
    }
}
