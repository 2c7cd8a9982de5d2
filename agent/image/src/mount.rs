//! An image as a root file system: for the runtime, and for a person who wants to look inside.
//!
//! Deliberately absent: a writable layer; that is the container's own.

use super::directories;
use super::error::StoreError;
use super::rootfs;
use super::store::Pins;
use super::{ImageStore, RootfsLayers};
use coord_shared::names::Digest;
use std::path::{Path, PathBuf};

impl ImageStore {
    /// Makes an image's root file system ready to be stacked under a container's own layer. Blocks; may be called any number of times.
    ///
    /// # Errors
    /// `Missing` when the image is not here, `Damaged` when it is not as it was written; and where the kernel does not mount it.
    pub fn mount(&self, digest: &Digest) -> Result<RootfsLayers, StoreError> {
        self.get(digest)?.ok_or_else(|| StoreError::Missing { digest: digest.clone() })?;
        // Only removal would miss it.
        if let Err(error) = self.touch(digest) {
            tracing::warn!(image = %digest, error = %coord_registry::chain(&error), "its use is not noted");
        }
        let diff_ids = self.inner.diff_ids_of(digest)?;
        // From here on no prune takes the layers; one that did before shows in their being missing.
        let _pins = Pins::new(&self.inner, diff_ids.clone());
        if self.inner.are_archives(&diff_ids)? {
            match rootfs::mount(&self.inner, &diff_ids) {
                Ok(place) => return Ok(RootfsLayers { lowers: vec![place] }),
                // Such as too few loop devices. It takes longer the other way, but it runs.
                Err(error @ (StoreError::Io { .. } | StoreError::Unfit { .. })) => {
                    tracing::warn!(image = %digest, error = %coord_registry::chain(&error), "not mounted by EROFS; unpacked");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(RootfsLayers { lowers: directories::stack(&self.inner, &diff_ids)? })
    }

    /// Shows an image, read-only, at `dir`, an existing folder of the caller's mount namespace. Blocks. Such a view never keeps the
    /// image from being removed.
    ///
    /// # Errors
    /// As `mount`; and where the kernel does not mount it.
    pub fn mount_at(&self, digest: &Digest, dir: &Path) -> Result<(), StoreError> {
        let RootfsLayers { lowers } = self.mount(digest)?;
        rootfs::show(&lowers, &self.inner.empty_path(), dir).map_err(|source| StoreError::io("mount the image at", dir, source))
    }

    /// Takes away what `mount_at` showed; whoever still reads there may finish.
    ///
    /// # Errors
    /// When no image is shown there, whatever else may be mounted.
    pub fn unmount_at(&self, dir: &Path) -> Result<(), StoreError> {
        rootfs::hide(dir)
    }

    /// The folders of this store at which images are mounted.
    ///
    /// # Errors
    /// When the kernel's table cannot be read.
    pub fn mounted(&self) -> Result<Vec<PathBuf>, StoreError> {
        rootfs::mounted_in(&self.inner.dir().join("mnt"))
    }

    /// Takes all mounts of this store away, before its folder is removed. Containers keep what they use.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unmount_all(&self) -> Result<(), StoreError> {
        self.mounted()?.iter().try_for_each(|place| rootfs::clear(place))
    }
}
