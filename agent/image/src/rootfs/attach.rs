//! Mounting an EROFS image whose contents lie in other files. The mount is made without a place and can be read as it is; giving it
//! a place is one more step, which either happens or does not.

use super::Backing;
use crate::sys;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The kernel takes values of up to 255 bytes.
const VALUE_MAX_BYTES: usize = 255;

/// A mount that is nowhere to be seen. It goes when this does, unless it got a place.
pub(crate) struct Detached {
    pub(crate) root: OwnedFd,
}

/// Mounts `meta`, with the contents in `devices`, in the order of its device table.
pub(crate) fn erofs(meta: &Path, devices: &[PathBuf], backing: Backing, direct_io: bool) -> io::Result<Detached> {
    // Held until the mount holds them.
    let mut files = Vec::new();
    let mut name = |path: &Path| match backing {
        Backing::File => short_name(path, &mut files),
        Backing::Loop => {
            let device = sys::loop_device(path)?;
            files.push(device.device);
            Ok(device.path)
        }
    };
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_set_string(&context, "source", name(meta)?)?;
    for device in devices {
        fsconfig_set_string(&context, "device", name(device)?)?;
    }
    if direct_io {
        fsconfig_set_flag(&context, "directio")?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(Detached { root })
}

/// A name that is short enough, if need be by way of an open file.
fn short_name(path: &Path, files: &mut Vec<OwnedFd>) -> io::Result<PathBuf> {
    if path.as_os_str().len() <= VALUE_MAX_BYTES {
        return Ok(path.to_owned());
    }
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let name = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    files.push(file);
    Ok(name)
}

impl Detached {
    /// Puts it onto a folder.
    pub(crate) fn attach(&self, place: &Path) -> io::Result<()> {
        move_mount(&self.root, c"", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(())
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Takes the topmost mount off a folder; whoever still uses it keeps it until he is done.
pub(crate) fn detach(place: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}
