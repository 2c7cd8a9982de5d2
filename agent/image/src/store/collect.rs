//! What goes, and its going.
//!
//! An image goes by its record: first out of sight, by a rename, then what only it needed, in the same way; then all of that is removed.
//! A crash on the way leaves things under `tmp/`, which the next start empties, or layers that no image has, which the next time takes.

use super::layout::{self, chain_of};
use super::{ImageRecord, ImageStore, Inner, disk, pins};
use crate::clock;
use crate::error::StoreError;
use crate::rootfs;
use coord_shared::decide::images::{self, Disk, Part, Policy, Removal, Stored};
use coord_shared::names::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// A cut download is worth keeping while its pull may be tried again.
const PARTIAL_KEEP: Duration = Duration::from_secs(24 * 3600);

/// What a prune or a collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Images whose records are gone.
    pub images: Vec<Digest>,
    /// Number of layers.
    pub layers: usize,
    /// Content of the layers' files.
    pub content_bytes: u64,
}

impl ImageStore {
    /// Removes every image that is not in `keep`, and the layers that no image and no pull in flight needs. They are gone at once;
    /// their room on the disk comes back within moments.
    ///
    /// # Errors
    /// When something cannot be removed; what is already gone stays gone. Layers stay while an image in `keep` is damaged: they may be
    /// its own.
    pub fn prune(&self, keep: &BTreeSet<Digest>) -> Result<Pruned, StoreError> {
        let (pruned, doomed) = self.inner.take_out(&|digest| keep.contains(digest))?;
        pins::sweep_behind(doomed);
        Ok(pruned)
    }

    /// Removes images that nothing uses, as the policy says, and what no image needs. When it returns, their room on the disk is back.
    /// Blocks for as long as that takes: up to minutes, where layers are directories.
    ///
    /// # Errors
    /// As `prune`.
    pub fn collect(&self, in_use: &BTreeSet<Digest>, policy: &Policy) -> Result<Pruned, StoreError> {
        let mut going = BTreeMap::new();
        for Removal { digest, why, frees_bytes } in self.inner.choose(in_use, policy)? {
            tracing::info!(image = %digest, ?why, frees_bytes, "removing");
            let last_used = self.inner.last_used(&digest)?;
            going.insert(digest, last_used);
        }
        // One that came into use since it was chosen stays.
        let keeps =
            |digest: &Digest| going.get(digest).is_none_or(|then| self.inner.last_used(digest).is_ok_and(|now| now != *then));
        let (pruned, doomed) = self.inner.take_out(&keeps)?;
        pins::sweep(&doomed);
        Ok(pruned)
    }
}

impl Inner {
    fn choose(&self, in_use: &BTreeSet<Digest>, policy: &Policy) -> Result<Vec<Removal>, StoreError> {
        let (mut stored, mut parts) = (Vec::new(), BTreeMap::new());
        for digest in self.image_digests()? {
            let in_use = in_use.contains(&digest);
            let mut unused_for = clock::age(self.last_used(&digest)?);
            let diff_ids = match self.diff_ids_of(&digest) {
                Ok(diff_ids) => diff_ids,
                Err(error @ StoreError::Damaged { .. }) => {
                    warn_of(&error);
                    // Nobody can start it any more, so that it might as well be pulled again.
                    unused_for = Duration::MAX;
                    Vec::new()
                }
                Err(error) => return Err(error),
            };
            let mut names: BTreeSet<Digest> = diff_ids.iter().cloned().collect();
            let chain = chain_of(&diff_ids);
            parts.insert(chain.clone(), Part { bytes: self.chain_disk_bytes(&chain), is_held: false });
            names.insert(chain);
            for diff_id in diff_ids {
                let bytes = self.layer_disk_bytes(&diff_id);
                parts.insert(diff_id, Part { bytes, is_held: false });
            }
            stored.push(Stored { digest, in_use, unused_for, parts: names });
        }
        for name in self.pinned() {
            parts.entry(name).or_default().is_held = true;
        }
        let (used_bytes, free_bytes) = self.disk_room()?;
        Ok(images::collect(&stored, &parts, Disk { used_bytes, free_bytes }, policy))
    }

    /// Moves out of sight what is not to be kept, and what nobody needs. Returns where it is now.
    fn take_out(&self, keeps: &dyn Fn(&Digest) -> bool) -> Result<(Pruned, Vec<PathBuf>), StoreError> {
        let (mut pruned, mut doomed) = (Pruned::default(), Vec::new());
        let _alone = self.collecting();
        // Before the records are read: what a pull lets go from here on has a record that may be missed.
        let _noting = self.note_pins();
        let (mut needed, mut going) = (BTreeSet::new(), Vec::new());
        for digest in self.image_digests()? {
            if !keeps(&digest) {
                going.push(digest);
                continue;
            }
            match self.diff_ids_of(&digest) {
                Ok(diff_ids) => {
                    needed.insert(chain_of(&diff_ids));
                    needed.extend(diff_ids);
                }
                // Which layers are its own is not known, so all stay.
                Err(error @ StoreError::Damaged { .. }) => {
                    warn_of(&error);
                    needed.extend(self.layer_ids()?);
                    needed.extend(self.chains()?);
                }
                Err(error) => return Err(error),
            }
        }
        for digest in going {
            doomed.push(self.discard(&self.image_path(&digest))?);
            pruned.images.push(digest);
        }
        // No layer may go before the record that names it is gone for good.
        if !pruned.images.is_empty() {
            disk::sync_folder(&self.images_dir())?;
        }
        for chain in self.chains()?.iter().filter(|chain| !needed.contains(*chain)) {
            let Some(_claim) = self.claim(chain) else { continue };
            doomed.extend(self.take_chain_out(chain)?);
        }
        for diff_id in self.layer_ids()?.iter().filter(|diff_id| !needed.contains(*diff_id)) {
            let Some(_claim) = self.claim(diff_id) else { continue };
            // A damaged layer goes like any other; only its size is not known.
            pruned.content_bytes += self.layer(diff_id).ok().flatten().map_or(0, |layer| layer.content_bytes);
            pruned.layers += 1;
            doomed.push(self.discard(&self.layer_path(diff_id))?);
        }
        for partial in self.stale_partials()? {
            doomed.extend(self.discard_if_there(&partial)?);
        }
        Ok((pruned, doomed))
    }

    /// Unmounts a chain and moves what belongs to it out of sight.
    pub(super) fn take_chain_out(&self, chain: &Digest) -> Result<Vec<PathBuf>, StoreError> {
        let _alone = self.mounting();
        rootfs::clear(&self.mount_path(chain))?;
        let places = [self.mount_path(chain), self.chain_path(chain)];
        let gone = places.iter().map(|path| self.discard_if_there(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(gone.into_iter().flatten().collect())
    }

    /// The layers of an image, bottom first; none if it is not here.
    pub(crate) fn diff_ids_of(&self, digest: &Digest) -> Result<Vec<Digest>, StoreError> {
        let path = self.image_path(digest);
        let Some(record) = ImageRecord::load(&path, digest)? else { return Ok(Vec::new()) };
        record.config().map(|image| image.diff_ids).map_err(|problem| StoreError::Damaged { path, problem })
    }

    fn stale_partials(&self) -> Result<Vec<PathBuf>, StoreError> {
        let is_stale = |path: &PathBuf| {
            let modified = path.symlink_metadata().and_then(|meta| meta.modified());
            modified.is_ok_and(|modified| clock::age(modified) >= PARTIAL_KEEP)
        };
        Ok(layout::paths_in(&self.partial_dir())?.into_iter().filter(is_stale).collect())
    }
}

fn warn_of(error: &StoreError) {
    tracing::warn!(error = %coord_registry::chain(error), "damaged image");
}
