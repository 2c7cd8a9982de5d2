//! A mount that is not anywhere yet: made, given its owners and its rights, and only then put to its place. So nobody ever
//! sees it with other rights than it is to have.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, move_mount, open_tree,
};

use crate::request::{BindPropagation, UserRange};
use crate::sys::{self, MountAttributes};

/// Programs there gain no rights, and device files there are not devices.
pub(crate) const NO_RIGHTS: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// See the module's description.
pub(crate) struct Tree(OwnedFd);

impl Tree {
    /// What lies at `path`, with all that is mounted below it if `recursive`.
    pub(crate) fn clone_of(path: &Path, recursive: bool) -> rustix::io::Result<Tree> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
        open_tree(CWD, path, flags).map(Tree)
    }

    /// The same with all that is mounted below it, where no part of `path` is a symbolic link. Whoever chose the path has followed them
    /// all; one that is met now was put there since, perhaps by a container that may write there.
    pub(crate) fn clone_exactly(path: &Path) -> rustix::io::Result<Tree> {
        let place = openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
        Tree::clone_open(place.as_fd())
    }

    /// What is open, with all that is mounted below it.
    pub(crate) fn clone_open(place: BorrowedFd<'_>) -> rustix::io::Result<Tree> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(place, "", flags | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH).map(Tree)
    }

    /// Memory, owned by root of the container.
    pub(crate) fn memory(
        size_bytes: Option<u64>,
        mode: u32,
        owner: Option<UserRange>,
        attributes: MountAttrFlags,
    ) -> io::Result<Tree> {
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let set = |key: &str, value: String| fsconfig_set_string(context.as_fd(), key, value);
        set("source", "tmpfs".to_owned())?;
        set("mode", format!("{mode:o}"))?;
        if let Some(size) = size_bytes {
            set("size", size.to_string())?;
        }
        if let Some(owner) = owner {
            set("uid", owner.first.to_string())?;
            set("gid", owner.first.to_string())?;
        }
        fsconfig_create(context.as_fd())?;
        Ok(Tree(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?))
    }

    /// Shows user `n` of the disk as the one that is user `n` in this user namespace. Fails when a file system in it cannot.
    pub(crate) fn map_users(&self, users: &File) -> io::Result<()> {
        let userns = users.as_raw_fd().cast_unsigned().into();
        let attributes = MountAttributes { set: libc::MOUNT_ATTR_IDMAP, userns, ..MountAttributes::default() };
        sys::set_mount_attributes(self.0.as_fd(), true, &attributes)
    }

    /// Sets rights, of all mounts below as well.
    pub(crate) fn restrict(&self, attributes: u64) -> io::Result<()> {
        sys::set_mount_attributes(self.0.as_fd(), true, &MountAttributes { set: attributes, ..MountAttributes::default() })
    }

    /// Sets whether mounts that appear later are seen on the other side.
    pub(crate) fn propagate(&self, propagation: BindPropagation) -> io::Result<()> {
        let propagation = match propagation {
            BindPropagation::Private => libc::MS_PRIVATE,
            BindPropagation::Slave => libc::MS_SLAVE,
            BindPropagation::Shared => libc::MS_SHARED,
        };
        sys::set_mount_attributes(self.0.as_fd(), true, &MountAttributes { propagation, ..MountAttributes::default() })
    }

    /// Whether it is a folder.
    pub(crate) fn is_folder(&self) -> rustix::io::Result<bool> {
        Ok(FileType::from_raw_mode(fstat(&self.0)?.st_mode) == FileType::Directory)
    }

    /// Puts it onto an open file or folder.
    pub(crate) fn attach(&self, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(self.0.as_fd(), c"", target, c"", flags)
    }

    /// Puts it onto a path of the host, which must not lead anywhere else.
    pub(crate) fn attach_at(&self, path: &Path) -> rustix::io::Result<()> {
        move_mount(self.0.as_fd(), c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    }
}
