//! Showing an image to people, at a folder of their choice. An overlay of nothing but lower layers: read-only, and marked by its
//! source, so that only such a view is ever taken away again.

use super::{attach, table};
use crate::error::StoreError;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount,
};
use std::io;
use std::path::{Path, PathBuf};

/// What a view says it was mounted from.
const SOURCE: &str = "coord-image";

/// Shows `lowers`, topmost first, at `dir`. `empty` is an empty folder: overlayfs wants two at least.
pub(crate) fn show(lowers: &[PathBuf], empty: &Path, dir: &Path) -> io::Result<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    if lowers == [empty] {
        return Ok(show_nothing(&dir.canonicalize()?)?);
    }
    let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).chain((lowers.len() == 1).then_some(empty)).collect();
    let dir = &dir.canonicalize()?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", SOURCE)?;
    for lower in &lowers {
        match fsconfig_set_string(&context, "lowerdir+", *lower) {
            // Before Linux 6.8.
            Err(Errno::INVAL) => return Ok(show_by_options(&lowers, dir)?),
            done => done?,
        }
    }
    match fsconfig_create(&context) {
        Err(Errno::INVAL) => return Ok(show_by_options(&lowers, dir)?),
        done => done?,
    }
    let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    attach::Detached { root }.attach(dir)
}

/// For an image without layers: overlayfs does not stack a folder upon itself.
fn show_nothing(dir: &Path) -> rustix::io::Result<()> {
    mount(SOURCE, dir, "tmpfs", MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID, c"mode=755")
}

/// For older kernels, all layers in one line.
fn show_by_options(lowers: &[&Path], dir: &Path) -> rustix::io::Result<()> {
    let mut options = b"lowerdir=".to_vec();
    for (number, lower) in lowers.iter().enumerate() {
        if number > 0 {
            options.push(b':');
        }
        for byte in lower.as_os_str().as_encoded_bytes() {
            if matches!(byte, b'\\' | b':' | b',') {
                options.push(b'\\');
            }
            options.push(*byte);
        }
    }
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    mount(SOURCE, dir, "overlay", MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID, options.as_c_str())
}

/// Takes the view at `dir` away.
pub(crate) fn hide(dir: &Path) -> Result<(), StoreError> {
    let place = dir.canonicalize().map_err(|error| StoreError::io("find", dir, error))?;
    let mounts = table::mounts_in(place.parent().unwrap_or(&place))?;
    let top = mounts.iter().rfind(|mount| mount.place == place);
    if !top.is_some_and(|mount| (mount.kind == "overlay" || mount.kind == "tmpfs") && mount.source == SOURCE) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "no image is mounted there");
        return Err(StoreError::io("unmount", dir, error));
    }
    attach::detach(&place).map_err(|error| StoreError::io("unmount", dir, error))
}
