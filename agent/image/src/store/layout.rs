//! Where everything lies in the store's folder.
//!
//! ```text
//!   lock                      held by the one process that has the store open
//!   images/HEX.json           an image, by the digest that was asked for; modified at its last use
//!   layers/HEX/               a layer, by its diff id
//!     layer.json              what it holds
//!     tar                     its archive, byte for byte ...
//!     expanded                ... and, if some are sparse, its sparse files as they are read
//!     index                   its names and where their contents lie
//!     diff/                   the layer as a directory, as overlayfs wants it; beside the archive or instead of it
//!     sums                    checksums of the directory's files, where there is no archive
//!   chains/HEX/               what belongs to a list of layers, whatever images have it
//!     meta                    one EROFS image over the layers' archives
//!     top/                    one more folder above the layers' directories, where they would show wrongly
//!   mnt/HEX/                  where a chain's EROFS image is mounted
//!   partial/HEX.START         a download that was cut: the blob's bytes from START on
//!   trial/                    a tiny EROFS image, to find out how this host mounts one
//!   empty/                    the root of an image without layers
//!   tmp/                      whatever is not finished, or on its way out
//! ```

use super::{Inner, disk};
use crate::error::StoreError;
use coord_shared::names::Digest;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Folders that nobody but root enters.
const PRIVATE: [&str; 6] = ["images", "layers", "chains", "mnt", "partial", "tmp"];

/// Makes what is missing of the folders.
pub(super) fn create(dir: &Path) -> Result<(), StoreError> {
    for folder in PRIVATE {
        let path = dir.join(folder);
        if !path.is_dir() {
            disk::create_dir_all(&path, disk::PRIVATE)?;
        }
    }
    let empty = dir.join("empty");
    if !empty.is_dir() {
        disk::create_dir(&empty, disk::OPEN_TO_ALL)?;
    }
    Ok(())
}

/// The name of a list of layers, bottom first: the digest of their diff ids, a line each.
pub(crate) fn chain_of(diff_ids: &[Digest]) -> Digest {
    let mut hash = Sha256::new();
    for diff_id in diff_ids {
        hash.update(diff_id.as_str());
        hash.update(b"\n");
    }
    Digest::from_sha256(hash.finalize().into())
}

/// Paths, by what lies there. None of these look whether it does.
impl Inner {
    pub(crate) fn image_path(&self, digest: &Digest) -> PathBuf {
        self.images_dir().join(format!("{}.json", digest.hex()))
    }

    pub(super) fn images_dir(&self) -> PathBuf {
        self.dir.join("images")
    }

    pub(crate) fn layers_dir(&self) -> PathBuf {
        self.dir.join("layers")
    }

    pub(crate) fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.layers_dir().join(diff_id.hex())
    }

    pub(crate) fn tar_path(&self, diff_id: &Digest) -> PathBuf {
        self.layer_path(diff_id).join("tar")
    }

    pub(crate) fn expanded_path(&self, diff_id: &Digest) -> PathBuf {
        self.layer_path(diff_id).join("expanded")
    }

    pub(crate) fn index_path(&self, diff_id: &Digest) -> PathBuf {
        self.layer_path(diff_id).join("index")
    }

    pub(super) fn sums_path(&self, diff_id: &Digest) -> PathBuf {
        self.layer_path(diff_id).join("sums")
    }

    pub(crate) fn diff_path(&self, diff_id: &Digest) -> PathBuf {
        self.layer_path(diff_id).join("diff")
    }

    pub(crate) fn chain_path(&self, chain: &Digest) -> PathBuf {
        self.dir.join("chains").join(chain.hex())
    }

    pub(crate) fn meta_path(&self, chain: &Digest) -> PathBuf {
        self.chain_path(chain).join("meta")
    }

    pub(crate) fn top_path(&self, chain: &Digest) -> PathBuf {
        self.chain_path(chain).join("top")
    }

    pub(crate) fn mount_path(&self, chain: &Digest) -> PathBuf {
        self.dir.join("mnt").join(chain.hex())
    }

    pub(crate) fn partial_dir(&self) -> PathBuf {
        self.dir.join("partial")
    }

    pub(crate) fn empty_path(&self) -> PathBuf {
        self.dir.join("empty")
    }

    /// A new name under `tmp/`.
    pub(crate) fn tmp_path(&self) -> PathBuf {
        self.dir.join("tmp").join(self.counter.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// What an earlier process left under `tmp/`. New names start after it.
    pub(super) fn leftovers(&self) -> Result<Vec<PathBuf>, StoreError> {
        let paths = paths_in(&self.dir.join("tmp"))?;
        for path in &paths {
            let number: u64 = path.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0);
            self.counter.fetch_max(number.saturating_add(1), Ordering::Relaxed);
        }
        Ok(paths)
    }

    /// The images that have a record, by digest.
    pub(super) fn image_digests(&self) -> Result<Vec<Digest>, StoreError> {
        hex_names(&self.images_dir(), ".json")
    }

    /// The diff ids of which there is a layer, whole or damaged.
    pub(super) fn layer_ids(&self) -> Result<Vec<Digest>, StoreError> {
        hex_names(&self.layers_dir(), "")
    }

    /// The chains of which there is a folder, or a place to mount.
    pub(super) fn chains(&self) -> Result<Vec<Digest>, StoreError> {
        let mut chains = hex_names(&self.dir.join("chains"), "")?;
        chains.extend(hex_names(&self.dir.join("mnt"), "")?);
        chains.sort();
        chains.dedup();
        Ok(chains)
    }
}

/// All that is in a folder.
pub(super) fn paths_in(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |e| StoreError::io("read", folder, e);
    fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

/// The digests that a folder's names stand for, in order. Other names are none of ours and stay.
fn hex_names(folder: &Path, suffix: &str) -> Result<Vec<Digest>, StoreError> {
    let mut digests = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| StoreError::io("read", folder, e))? {
        let name = entry.map_err(|e| StoreError::io("read", folder, e))?.file_name();
        let digest =
            name.to_str().and_then(|name| name.strip_suffix(suffix)).and_then(|hex| format!("sha256:{hex}").parse().ok());
        digests.extend(digest);
    }
    digests.sort();
    Ok(digests)
}
