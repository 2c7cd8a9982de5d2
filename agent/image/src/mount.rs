//! An image as a root file system: for the runtime, and for a person who wants to look inside.
//!
//! Deliberately absent: a writable layer; that is the container's own.

use super::error::StoreError;
use super::{ImageStore, RootfsLayers};
use coord_shared::names::Digest;
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, mount_bind, mount_remount, move_mount, unmount,
};
use std::os::fd::AsFd as _;
use std::path::Path;

impl ImageStore {
    /// Makes an image's root file system ready to be stacked under a container's own layer. Blocks; may be called any number of times.
    ///
    /// # Errors
    /// `Missing` when the image is not here, `Damaged` when it is not as it was written.
    pub fn mount(&self, digest: &Digest) -> Result<RootfsLayers, StoreError> {
        let image = self.get(digest)?.ok_or_else(|| StoreError::Missing { digest: digest.clone() })?;
        // Only removal would miss it.
        if let Err(error) = self.touch(digest) {
            tracing::warn!(image = %digest, error = %coord_registry::chain(&error), "its use is not noted");
        }
        Ok(image.rootfs)
    }

    /// Shows an image, read-only, at `dir`, an existing folder of the caller's mount namespace. Blocks. Such a view never keeps the
    /// image from being removed.
    ///
    /// # Errors
    /// As `mount`; and where the kernel does not mount it.
    pub fn mount_at(&self, digest: &Digest, dir: &Path) -> Result<(), StoreError> {
        let RootfsLayers { lowers } = self.mount(digest)?;
        let failed = |source| StoreError::io("mount the image at", dir, source);
        let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
        // Overlayfs without a layer to write into wants two others at least.
        if let [only] = &lowers[..] {
            mount_bind(only, dir).map_err(failed)?;
            return mount_remount(dir, MountFlags::BIND | flags, c"").map_err(|error| {
                let _ = unmount(dir, UnmountFlags::DETACH);
                failed(error)
            });
        }
        let stacked = || {
            let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(context.as_fd(), "source", "overlay")?;
            for lower in &lowers {
                fsconfig_set_string(context.as_fd(), "lowerdir+", lower)?;
            }
            fsconfig_create(context.as_fd())?;
            let attributes =
                MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
            let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
            move_mount(mounted.as_fd(), c"", CWD, dir, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        };
        stacked().map_err(failed)
    }

    /// Takes away what `mount_at` showed; whoever still reads there may finish.
    ///
    /// # Errors
    /// When nothing is mounted there.
    pub fn unmount_at(&self, dir: &Path) -> Result<(), StoreError> {
        unmount(dir, UnmountFlags::DETACH).map_err(|source| StoreError::io("unmount", dir, source))
    }
}
