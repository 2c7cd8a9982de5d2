//! What goes, and its going.

use super::{ImageStore, Inner, layout, pins};
use crate::error::StoreError;
use coord_shared::names::Digest;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a prune removed.
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
    /// When something cannot be removed, or the record of an image in `keep` is damaged; what is already gone stays gone.
    pub fn prune(&self, keep: &BTreeSet<Digest>) -> Result<Pruned, StoreError> {
        let (pruned, doomed) = self.inner.take_out(keep)?;
        pins::sweep_behind(doomed);
        Ok(pruned)
    }
}

impl Inner {
    /// Moves what is not to be kept out of sight. Returns where it is now.
    fn take_out(&self, keep: &BTreeSet<Digest>) -> Result<(Pruned, Vec<PathBuf>), StoreError> {
        let (mut pruned, mut doomed) = (Pruned::default(), Vec::new());
        // Pulls pin before they look, so whatever is decided under this lock is true for them.
        let pins = self.pins();
        let mut needed: BTreeSet<Digest> = pins.keys().cloned().collect();
        for digest in self.image_digests()? {
            if keep.contains(&digest) {
                let diff_ids = self.diff_ids_of(&digest)?.unwrap_or_default();
                needed.insert(layout::chain_of(&diff_ids));
                needed.extend(diff_ids);
            } else {
                doomed.push(self.discard(&self.image_path(&digest))?);
                doomed.extend(self.discard_if_there(&self.dirs_path(&digest))?);
                pruned.images.push(digest);
            }
        }
        for chain in self.chains()?.iter().filter(|chain| !needed.contains(*chain)) {
            unmount(&self.mount_path(chain))?;
            doomed.extend(self.discard_if_there(&self.mount_path(chain))?);
            doomed.extend(self.discard_if_there(&self.chain_path(chain))?);
        }
        for diff_id in self.layer_ids()?.iter().filter(|diff_id| !needed.contains(*diff_id)) {
            // A damaged layer goes like any other; only its size is not known.
            pruned.content_bytes += self.layer(diff_id).ok().flatten().map_or(0, |layer| layer.content_bytes);
            pruned.layers += 1;
            doomed.push(self.discard(&self.layer_path(diff_id))?);
        }
        Ok((pruned, doomed))
    }

    /// The layers of an image, bottom first; `None`: it is not here.
    pub(crate) fn diff_ids_of(&self, digest: &Digest) -> Result<Option<Vec<Digest>>, StoreError> {
        let path = self.image_path(digest);
        let Some(record) = super::ImageRecord::load(&path, digest)? else { return Ok(None) };
        record.config().map(|image| Some(image.diff_ids)).map_err(|problem| StoreError::Damaged { path, problem })
    }
}

/// Takes every mount away from a folder. Whoever is still using one keeps it.
fn unmount(path: &Path) -> Result<(), StoreError> {
    loop {
        super::crash::point("unmount");
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Not mounted, or not even a folder.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(StoreError::io("unmount", path, errno)),
        }
    }
}
