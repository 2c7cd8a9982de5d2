//! Whether what is on the disk still is what was written: everything is read again, from the disk and not from memory.
//!
//! - An archive against its diff id; its index and its expanded contents against a fresh reading of it.
//! - A directory against its layer's index, name by name; its contents against the archive if that is here too, else against the sums
//!   that were taken when it was written.
//! - A chain's EROFS image against one that is made anew from the indexes, byte by byte.
//! - Records against their digests.
//!
//! What is damaged can be removed, so that the next pull or start brings it back. Running containers keep what they have open. Reading
//! goes one layer after the other, in small pieces, and gives back the memory that the kernel took for it.

mod archive;
mod directory;
mod pieces;

use super::layout::chain_of;
use super::sums::Sums;
use super::{ImageRecord, ImageStore, Inner, Scratch, disk, pins};
use crate::error::StoreError;
use crate::record::LayerRecord;
use crate::rootfs;
use crate::tree::LayerTree;
use coord_shared::names::Digest;
use pieces::Contents;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Largest index that is read: some million entries (`Limits::layer_max_entries` may be raised) of 80 bytes, with names of about 200.
const INDEX_MAX_BYTES: u64 = 1 << 30;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is damaged.
    pub object: Object,
    /// The images that have it, by digest.
    pub images: Vec<Digest>,
    /// What is wrong with it.
    pub problem: String,
    /// It was removed, or made anew.
    pub is_repaired: bool,
}

/// What can be damaged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// An image's record.
    Image(Digest),
    /// A layer, by its diff id.
    Layer(Digest),
    /// What belongs to a list of layers.
    Chain(Digest),
}

impl Finding {
    fn layer(&self) -> Option<&Digest> {
        match &self.object {
            Object::Layer(diff_id) => Some(diff_id),
            Object::Image(_) | Object::Chain(_) => None,
        }
    }
}

impl fmt::Display for Finding {
    /// What, of which images, what is wrong, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Object::Image(digest) => write!(f, "image {digest}")?,
            Object::Layer(diff_id) => write!(f, "layer {diff_id}")?,
            Object::Chain(chain) => write!(f, "root file system {chain}")?,
        }
        let others = self.images.iter().filter(|image| self.object != Object::Image((*image).clone()));
        for (number, image) in others.enumerate() {
            write!(f, "{}{image}", if number == 0 { " of " } else { ", " })?;
        }
        let cure = match (&self.object, self.is_repaired) {
            (_, false) => "verify with --repair removes it",
            (Object::Chain(_), true) => "it was removed and is made again at the next start",
            (Object::Image(_) | Object::Layer(_), true) => "it was removed; pull the image again",
        };
        write!(f, ": {}; {cure}", self.problem)
    }
}

/// A layer's problem and what helps.
struct Damage {
    problem: String,
    cure: Cure,
}

enum Cure {
    /// The layer goes and is pulled again.
    Remove,
    /// This is the index that it should have.
    Index(Vec<u8>),
    /// Only its directory goes; the archive is good.
    RemoveDirectory,
}

impl Damage {
    fn new(problem: impl Into<String>) -> Damage {
        Damage { problem: problem.into(), cure: Cure::Remove }
    }
}

impl ImageStore {
    /// Reads one image, or else everything, and says what is not as it was written, in a fixed order. With `repair` it goes, unless a
    /// pull is at work on it. Blocks: a disk reads some gigabytes a minute.
    ///
    /// # Errors
    /// When the store's folders cannot be read, or something cannot be removed.
    pub fn verify(&self, image: Option<&Digest>, repair: bool) -> Result<Vec<Finding>, StoreError> {
        let inner = &self.inner;
        let (all, mut findings) = inner.read_records(image)?;
        // Layers are shared, so whoever has one is told even if only one image is looked at.
        let chosen: Vec<&Digest> = all.keys().filter(|digest| image.is_none_or(|image| image == *digest)).collect();
        let mut layers: BTreeSet<Digest> = chosen.iter().flat_map(|digest| all[*digest].iter().cloned()).collect();
        if image.is_none() {
            layers.extend(inner.layer_ids()?);
        }
        for diff_id in &layers {
            if let Some(damage) = inner.check_layer(diff_id) {
                let images =
                    all.iter().filter(|(_, diff_ids)| diff_ids.contains(diff_id)).map(|(digest, _)| digest.clone()).collect();
                let problem = damage.problem.clone();
                let is_repaired = repair && inner.repair_layer(diff_id, damage, &all)?;
                findings.push(Finding { object: Object::Layer(diff_id.clone()), images, problem, is_repaired });
            }
        }
        let damaged: BTreeSet<&Digest> = findings.iter().filter_map(Finding::layer).collect();
        let sound = chosen.into_iter().filter(|digest| !all[*digest].iter().any(|diff_id| damaged.contains(diff_id)));
        let sound: Vec<&Digest> = sound.collect();
        for digest in sound {
            findings.extend(inner.check_chain(digest, &all, repair)?);
        }
        if repair {
            for finding in findings.iter_mut().filter(|finding| matches!(finding.object, Object::Image(_))) {
                let gone = finding.images.iter().map(|digest| inner.discard_if_there(&inner.image_path(digest)));
                pins::sweep(&gone.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect::<Vec<_>>());
                finding.is_repaired = true;
            }
        }
        findings.sort_by(|a, b| a.object.cmp(&b.object));
        // Several images may have one list of layers.
        findings.dedup_by(|a, b| a.object == b.object);
        Ok(findings)
    }
}

impl Inner {
    /// The layers of each image whose record is good, and what is wrong with the record that was asked for, or with any.
    #[expect(clippy::type_complexity, reason = "a map and a list")]
    fn read_records(&self, image: Option<&Digest>) -> Result<(BTreeMap<Digest, Vec<Digest>>, Vec<Finding>), StoreError> {
        let (mut all, mut findings) = (BTreeMap::new(), Vec::new());
        for digest in self.image_digests()? {
            let diff_ids = ImageRecord::load(&self.image_path(&digest), &digest).map_err(|error| coord_registry::chain(&error));
            match diff_ids.and_then(|record| record.map(|record| record.config()).transpose()) {
                Ok(Some(config)) => drop(all.insert(digest, config.diff_ids)),
                // Removed meanwhile.
                Ok(None) => {}
                Err(problem) if image.is_none_or(|image| *image == digest) => {
                    let object = Object::Image(digest.clone());
                    findings.push(Finding { object, images: vec![digest], problem, is_repaired: false });
                }
                Err(_) => {}
            }
        }
        Ok((all, findings))
    }

    fn check_layer(&self, diff_id: &Digest) -> Option<Damage> {
        let layer = match self.layer(diff_id) {
            Ok(Some(layer)) => layer,
            Ok(None) => return Some(Damage::new("it is missing")),
            Err(error) => return Some(Damage::new(coord_registry::chain(&error))),
        };
        self.check_files(&layer).err()
    }

    fn check_files(&self, layer: &LayerRecord) -> Result<(), Damage> {
        let has_directory = self.diff_path(&layer.diff_id).is_dir();
        let index = pieces::read_small(&self.index_path(&layer.diff_id), INDEX_MAX_BYTES);
        if !self.has_archive(layer).map_err(|error| Damage::new(coord_registry::chain(&error)))? {
            let tree = index.and_then(|index| LayerTree::decode(&index).map_err(|problem| format!("its index {problem}")));
            let tree = tree.map_err(Damage::new)?;
            let sums = pieces::read_small(&self.sums_path(&layer.diff_id), INDEX_MAX_BYTES);
            let sums = sums.and_then(|sums| Sums::decode(&sums).map_err(|problem| format!("its sums {problem}")));
            let contents = Contents::Summed(sums.map_err(Damage::new)?);
            return directory::check(&self.diff_path(&layer.diff_id), &tree, &contents).map_err(Damage::new);
        }
        let tree = archive::check(self, layer).map_err(Damage::new)?;
        let fresh = tree.encode();
        match index {
            Ok(index) if index == fresh => {}
            Ok(_) => return Err(Damage { problem: "its index is not its archive's".to_owned(), cure: Cure::Index(fresh) }),
            Err(problem) => return Err(Damage { problem, cure: Cure::Index(fresh) }),
        }
        if has_directory {
            let damage = |problem| Damage { problem, cure: Cure::RemoveDirectory };
            let contents = Contents::open(self, layer).map_err(damage)?;
            directory::check(&self.diff_path(&layer.diff_id), &tree, &contents).map_err(damage)?;
        }
        Ok(())
    }

    /// Looks at what belongs to an image's layers together, if they are good.
    fn check_chain(
        &self,
        digest: &Digest,
        all: &BTreeMap<Digest, Vec<Digest>>,
        repair: bool,
    ) -> Result<Option<Finding>, StoreError> {
        let diff_ids = &all[digest];
        if !self.are_archives(diff_ids).unwrap_or(false) {
            return Ok(None);
        }
        let problem = match rootfs::is_intact(self, diff_ids) {
            Ok(true) => return Ok(None),
            Ok(false) => "its EROFS image is not what its layers make".to_owned(),
            Err(error) => coord_registry::chain(&error),
        };
        let chain = chain_of(diff_ids);
        if repair {
            pins::sweep(&self.take_chain_out(&chain)?);
        }
        let images = all.iter().filter(|(_, other)| *other == diff_ids).map(|(digest, _)| digest.clone()).collect();
        Ok(Some(Finding { object: Object::Chain(chain), images, problem, is_repaired: repair }))
    }

    /// False while a pull needs the layer: it finds out by itself.
    fn repair_layer(&self, diff_id: &Digest, damage: Damage, all: &BTreeMap<Digest, Vec<Digest>>) -> Result<bool, StoreError> {
        let Some(claim) = self.claim(diff_id) else { return Ok(false) };
        let mut gone = Vec::new();
        match damage.cure {
            Cure::Index(index) => {
                let scratch = Scratch { path: self.tmp_path() };
                disk::write_file(&scratch.path, &index)?;
                self.commit(&scratch.path, &self.index_path(diff_id))?;
            }
            Cure::RemoveDirectory => gone.push(self.discard_if_there(&self.diff_path(diff_id))?),
            // The images go with it, records first: what has a name is to be whole. Their other layers stay for the next pull.
            Cure::Remove => {
                let images = || all.iter().filter(|(_, diff_ids)| diff_ids.contains(diff_id));
                for (digest, _) in images() {
                    gone.push(self.discard_if_there(&self.image_path(digest))?);
                }
                disk::sync_folder(&self.images_dir())?;
                for (_, diff_ids) in images() {
                    gone.extend(self.take_chain_out(&chain_of(diff_ids))?.into_iter().map(Some));
                }
                gone.push(self.discard_if_there(&self.layer_path(diff_id))?);
            }
        }
        drop(claim);
        pins::sweep(&gone.into_iter().flatten().collect::<Vec<_>>());
        Ok(true)
    }
}
