//! Makes a layer's directory from its tree, as overlayfs wants to find it.
//!
//! Everything is made by descriptors of folders that were made here a moment before, one name at a time, without following a link: an
//! archive's path never reaches the kernel. Whiteouts become character devices 0:0, opaque directories get `trusted.overlay.opaque`
//! (Linux, Documentation/filesystems/overlayfs.rst).
//!
//! A file with several names is made in a folder of links first and linked from there, because either name may come first.

use crate::error::LayerError;
use crate::tree::{Attributes, Data, LayerNode, LayerTree, LayerWhat, Span};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// Where the contents of files come from.
pub(super) trait Source {
    /// Puts a content under a new name, as a file of its own. Attributes are set later.
    fn place(&mut self, content: u32, data: Data, size: u64, folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno>;
}

/// Fills `root`, an empty folder. `links` is another one on the same file system, which only serves while this runs.
pub(super) fn materialise(
    tree: &LayerTree,
    source: &mut dyn Source,
    root: OwnedFd,
    links: BorrowedFd<'_>,
) -> Result<(), LayerError> {
    let shared: BTreeSet<u32> =
        tree.nodes.iter().filter_map(|node| if let LayerWhat::HardLink { to } = node.what { Some(to) } else { None }).collect();
    let own = Some((rustix::process::geteuid(), rustix::process::getegid()));
    let mut maker = Maker { tree, source, links, shared, linked: BTreeSet::new(), open: Vec::new(), own };
    for number in 0..tree.nodes.len() {
        let number = u32::try_from(number).map_err(|_| LayerError::tar("has more entries than can be counted"))?;
        maker.close_to(number).and_then(|()| maker.make(number, &root)).map_err(|e| maker.error("make", number, e))?;
    }
    maker.close_all()?;
    Ok(())
}

struct Maker<'a> {
    tree: &'a LayerTree,
    source: &'a mut dyn Source,
    links: BorrowedFd<'a>,
    /// Nodes with more than one name.
    shared: BTreeSet<u32>,
    /// Those of them that are in the folder of links.
    linked: BTreeSet<u32>,
    /// The folder that is being filled, and those that it is in, the root first.
    open: Vec<(u32, OwnedFd)>,
    /// Whose files are that are made here.
    own: Option<(Uid, Gid)>,
}

impl Maker<'_> {
    /// One node. Depth first: its folder is the last one that is open.
    fn make(&mut self, number: u32, root: &OwnedFd) -> Result<(), Errno> {
        let node = self.node(number);
        let tree = self.tree;
        let name = bytes(&tree.bytes, node.name);
        let Some((_, folder)) = self.open.last() else {
            // The root is there.
            self.open.push((number, root.try_clone().map_err(|_| Errno::MFILE)?));
            return Ok(());
        };
        let to = match node.what {
            LayerWhat::HardLink { to } => to,
            _ if self.shared.contains(&number) => number,
            LayerWhat::Directory { .. } => {
                fs::mkdirat(folder, name, Mode::RWXU)?;
                let made = open_child(folder, name)?;
                self.open.push((number, made));
                return Ok(());
            }
            LayerWhat::Whiteout => return fs::mknodat(folder, name, FileType::CharacterDevice, Mode::empty(), 0),
            // Where all layers are known, see `top`.
            LayerWhat::LinkBelow { .. } => return Ok(()),
            LayerWhat::File { .. }
            | LayerWhat::Symlink { .. }
            | LayerWhat::CharDevice { .. }
            | LayerWhat::BlockDevice { .. }
            | LayerWhat::Fifo => return make_one(&tree.bytes, self.source, &node, folder.as_fd(), name, self.own),
        };
        let link = to.to_string();
        if self.linked.insert(to) {
            let node = self.node(to);
            make_one(&tree.bytes, self.source, &node, self.links, link.as_bytes(), self.own)?;
        }
        fs::linkat(self.links, &link, folder, name, AtFlags::empty())
    }

    /// Closes the folders that the node is not in: all that is in them has been made.
    fn close_to(&mut self, number: u32) -> Result<(), Errno> {
        let parent = self.node(number).parent;
        while self.open.last().is_some_and(|(open, _)| *open != parent) {
            self.close_last()?;
        }
        Ok(())
    }

    fn close_all(&mut self) -> Result<(), LayerError> {
        while let Some((number, _)) = self.open.last() {
            let number = *number;
            self.close_last().map_err(|e| self.error("set the attributes of", number, e))?;
        }
        Ok(())
    }

    /// Writing into a folder changes its times, so a folder's attributes come last.
    fn close_last(&mut self) -> Result<(), Errno> {
        let Some((number, folder)) = self.open.pop() else { return Ok(()) };
        let node = self.node(number);
        if let LayerWhat::Directory { opaque: true, .. } = node.what {
            fs::fsetxattr(&folder, OPAQUE_XATTR, b"y", XattrFlags::empty())?;
        }
        describe_folder(&folder, &node.attributes, &self.tree.bytes)
    }

    fn node(&self, number: u32) -> LayerNode {
        // Numbers of a tree are its own.
        self.tree.nodes[number as usize]
    }

    fn error(&self, operation: &'static str, number: u32, errno: Errno) -> LayerError {
        LayerError::io(operation, &path_of(self.tree, number), errno)
    }
}

/// Anything but a folder, with its attributes. An owner who is `own` is not set again.
pub(super) fn make_one(
    pool: &[u8],
    source: &mut dyn Source,
    node: &LayerNode,
    folder: BorrowedFd<'_>,
    name: &[u8],
    own: Option<(Uid, Gid)>,
) -> Result<(), Errno> {
    let rights = Mode::RUSR | Mode::WUSR;
    match node.what {
        LayerWhat::File { size, data, content } => source.place(content, data, size, folder, name)?,
        LayerWhat::Symlink { target } => fs::symlinkat(bytes(pool, target), folder, name)?,
        LayerWhat::CharDevice { major, minor } => {
            fs::mknodat(folder, name, FileType::CharacterDevice, rights, fs::makedev(major, minor))?
        }
        LayerWhat::BlockDevice { major, minor } => {
            fs::mknodat(folder, name, FileType::BlockDevice, rights, fs::makedev(major, minor))?
        }
        LayerWhat::Fifo => fs::mknodat(folder, name, FileType::Fifo, rights, 0)?,
        // Not with these: they are made otherwise, and no hard link leads to them.
        LayerWhat::Directory { .. } | LayerWhat::HardLink { .. } | LayerWhat::LinkBelow { .. } | LayerWhat::Whiteout => {
            return Err(Errno::INVAL);
        }
    }
    describe(folder, name, node, pool, own)
}

/// Owner, then mode (a change of owner takes set-id bits away), then attributes, then times.
fn describe(folder: BorrowedFd<'_>, name: &[u8], node: &LayerNode, pool: &[u8], own: Option<(Uid, Gid)>) -> Result<(), Errno> {
    let attributes = &node.attributes;
    let (owner, group) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    if own != Some((owner, group)) {
        fs::chownat(folder, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if !matches!(node.what, LayerWhat::Symlink { .. }) {
        // Not followed: it is no link.
        fs::chmodat(folder, name, mode(attributes), AtFlags::empty())?;
    }
    // The kernel takes attributes of users on files and folders only, and capabilities mean nothing elsewhere.
    if attributes.xattrs.len > 0 && matches!(node.what, LayerWhat::File { .. }) {
        let file = fs::openat(folder, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        set_xattrs(&file, attributes, pool)?;
    }
    fs::utimensat(folder, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW)
}

/// The same for a folder.
pub(super) fn describe_folder(folder: &OwnedFd, attributes: &Attributes, pool: &[u8]) -> Result<(), Errno> {
    fs::fchown(folder, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))?;
    fs::fchmod(folder, mode(attributes))?;
    set_xattrs(folder, attributes, pool)?;
    fs::futimens(folder, &times(attributes))
}

fn set_xattrs(file: &OwnedFd, attributes: &Attributes, pool: &[u8]) -> Result<(), Errno> {
    let mut pairs = bytes(pool, attributes.xattrs);
    while let Some((name, value, rest)) = first_pair(pairs) {
        match fs::fsetxattr(file, name, value, XattrFlags::empty()) {
            // A file system without them; what needs one will say so better than we could.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
        pairs = rest;
    }
    Ok(())
}

/// See `Attributes::xattrs`.
fn first_pair(pairs: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let ([name_length, low, high], rest) = pairs.split_first_chunk::<3>()?;
    let (name, rest) = rest.split_at_checked(usize::from(*name_length))?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
    Some((name, value, rest))
}

fn mode(attributes: &Attributes) -> Mode {
    Mode::from_raw_mode(u32::from(attributes.mode))
}

fn times(attributes: &Attributes) -> Timestamps {
    let time = Timespec { tv_sec: attributes.mtime_s, tv_nsec: i64::from(attributes.mtime_ns) };
    Timestamps { last_access: time, last_modification: time }
}

/// A folder by its name in an open one, no link followed.
pub(super) fn open_child(folder: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    fs::openat(folder, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

pub(super) fn bytes(pool: &[u8], span: Span) -> &[u8] {
    &pool[span.at as usize..][..span.len as usize]
}

/// From the root, for messages and for walking there.
pub(super) fn names_of(tree: &LayerTree, mut number: u32) -> Vec<&[u8]> {
    let mut names = Vec::new();
    while number != 0 {
        let node = &tree.nodes[number as usize];
        names.push(bytes(&tree.bytes, node.name));
        number = node.parent;
    }
    names.reverse();
    names
}

fn path_of(tree: &LayerTree, number: u32) -> Vec<u8> {
    names_of(tree, number).join(&b'/')
}
