//! A layer's directory against its tree: nothing missing, nothing more, everything as it should be. Names are followed by descriptors
//! and never through links.

use super::pieces::Contents;
use crate::tree::{Attributes, LayerNode, LayerTree, LayerWhat};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Largest value of an attribute (XATTR_SIZE_MAX), and the largest list of their names.
const XATTRS_MAX_BYTES: usize = 64 * 1024;
/// Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
const OPAQUE_XATTR: &[u8] = b"trusted.overlay.opaque";

/// Compares a directory with the tree that it was made from, contents too. The error says the first difference.
pub(super) fn check(directory: &Path, tree: &LayerTree, contents: &Contents) -> Result<(), String> {
    let root = fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| format!("its directory cannot be opened: {e}"))?;
    let mut check = Check { tree, contents, open: Vec::new(), inodes: vec![0; tree.nodes.len()], later: Vec::new() };
    for (number, node) in tree.nodes.iter().enumerate() {
        let checked = check.node(number, node, &root);
        checked.map_err(|problem| format!("its entry {:?} {problem}", path(tree, number)))?;
    }
    check.close_to(None)?;
    check.links()
}

struct Check<'a> {
    tree: &'a LayerTree,
    contents: &'a Contents,
    /// The folder that the last node is in, and those that it is in, the root first.
    open: Vec<Open>,
    /// Of each node that is something.
    inodes: Vec<u64>,
    /// Hard links, by their and their target's number.
    later: Vec<(usize, usize)>,
}

struct Open {
    number: usize,
    fd: OwnedFd,
    /// How many names it should have.
    names: usize,
}

impl Check<'_> {
    fn node(&mut self, number: usize, node: &LayerNode, root: &OwnedFd) -> Result<(), String> {
        let name = &self.tree.bytes[node.name.range()];
        if number == 0 {
            let fd = fs::openat(root, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            return self.folder(0, node, fd.map_err(|e| e.to_string())?);
        }
        self.close_to(Some(node.parent as usize))?;
        let Some(folder) = self.open.last_mut() else { return Err("is in no folder".to_owned()) };
        // What it links to is in another layer, and so is the link.
        if matches!(node.what, LayerWhat::LinkBelow { .. }) {
            return Ok(());
        }
        folder.names += 1;
        let stat = match fs::statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Err("is missing".to_owned()),
            other => other.map_err(|e| format!("cannot be looked at: {e}"))?,
        };
        self.inodes[number] = stat.st_ino;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_device = |major: u32, minor: u32| stat.st_rdev == fs::makedev(major, minor);
        let is_right = match node.what {
            LayerWhat::Directory { .. } => kind == FileType::Directory,
            LayerWhat::File { .. } => kind == FileType::RegularFile,
            LayerWhat::Symlink { .. } => kind == FileType::Symlink,
            LayerWhat::CharDevice { major, minor } => kind == FileType::CharacterDevice && is_device(major, minor),
            LayerWhat::BlockDevice { major, minor } => kind == FileType::BlockDevice && is_device(major, minor),
            LayerWhat::Fifo => kind == FileType::Fifo,
            LayerWhat::Whiteout => kind == FileType::CharacterDevice && is_device(0, 0),
            LayerWhat::HardLink { .. } | LayerWhat::LinkBelow { .. } => true,
        };
        if !is_right {
            return Err("is something else".to_owned());
        }
        match node.what {
            LayerWhat::Directory { .. } => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = fs::openat(&folder.fd, name, flags, Mode::empty()).map_err(|e| format!("cannot be opened: {e}"))?;
                self.folder(number, node, fd)
            }
            LayerWhat::HardLink { to } => {
                self.later.push((number, to as usize));
                Ok(())
            }
            LayerWhat::Whiteout => Ok(()),
            LayerWhat::File { .. } => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = fs::openat(&folder.fd, name, flags, Mode::empty()).map_err(|e| format!("cannot be opened: {e}"))?;
                self.file(node, &stat, file)
            }
            LayerWhat::Symlink { target } => {
                let actual = fs::readlinkat(&folder.fd, name, Vec::new()).map_err(|e| format!("cannot be read: {e}"))?;
                if actual.to_bytes() != &self.tree.bytes[target.range()] {
                    return Err("leads elsewhere".to_owned());
                }
                attributes(node, &stat)
            }
            LayerWhat::CharDevice { .. } | LayerWhat::BlockDevice { .. } | LayerWhat::Fifo | LayerWhat::LinkBelow { .. } => {
                attributes(node, &stat)
            }
        }
    }

    fn folder(&mut self, number: usize, node: &LayerNode, fd: OwnedFd) -> Result<(), String> {
        let stat = fs::fstat(&fd).map_err(|e| e.to_string())?;
        attributes(node, &stat)?;
        let is_opaque = matches!(node.what, LayerWhat::Directory { opaque: true, .. });
        xattrs(&fd, &node.attributes, &self.tree.bytes, is_opaque)?;
        self.open.push(Open { number, fd, names: 0 });
        Ok(())
    }

    fn file(&mut self, node: &LayerNode, stat: &Stat, file: OwnedFd) -> Result<(), String> {
        let LayerWhat::File { size, data, content } = node.what else { return Ok(()) };
        attributes(node, stat)?;
        if u64::try_from(stat.st_size) != Ok(size) {
            return Err(format!("has {} bytes instead of {size}", stat.st_size));
        }
        xattrs(&file, &node.attributes, &self.tree.bytes, false)?;
        match self.contents.equal(content, data, size, &File::from(file)) {
            Ok(true) => Ok(()),
            Ok(false) => Err("has another content".to_owned()),
            Err(error) => Err(format!("cannot be compared: {error}")),
        }
    }

    /// Closes the folders down to this one: all that should be in them was seen.
    fn close_to(&mut self, parent: Option<usize>) -> Result<(), String> {
        while let Some(last) = self.open.last().filter(|last| Some(last.number) != parent) {
            let mut names = 0;
            for entry in fs::Dir::read_from(&last.fd).map_err(|e| e.to_string())? {
                let entry = entry.map_err(|e| e.to_string())?;
                names += usize::from(!matches!(entry.file_name().to_bytes(), b"." | b".."));
            }
            if names != last.names {
                return Err(format!("its folder {:?} has {names} names instead of {}", path(self.tree, last.number), last.names));
            }
            self.open.pop();
        }
        Ok(())
    }

    fn links(&self) -> Result<(), String> {
        match self.later.iter().find(|(link, to)| self.inodes[*link] != self.inodes[*to]) {
            Some((link, to)) => {
                Err(format!("its entries {:?} and {:?} are not one file", path(self.tree, *link), path(self.tree, *to)))
            }
            None => Ok(()),
        }
    }
}

/// Owner, mode and time; links have no mode of their own.
fn attributes(node: &LayerNode, stat: &Stat) -> Result<(), String> {
    let Attributes { mode, uid, gid, mtime_s, mtime_ns, xattrs: _ } = node.attributes;
    if (stat.st_uid, stat.st_gid) != (uid, gid) {
        return Err(format!("belongs to {}:{} instead of {uid}:{gid}", stat.st_uid, stat.st_gid));
    }
    let actual = stat.st_mode & 0o7777;
    if !matches!(node.what, LayerWhat::Symlink { .. }) && actual != u32::from(mode) {
        return Err(format!("has the mode {actual:o} instead of {mode:o}"));
    }
    if (stat.st_mtime, u64::from(mtime_ns)) != (mtime_s, stat.st_mtime_nsec) {
        return Err("was modified".to_owned());
    }
    Ok(())
}

/// A file system that keeps none has nothing to compare.
fn xattrs(file: &OwnedFd, expected: &Attributes, pool: &[u8], is_opaque: bool) -> Result<(), String> {
    let mut list = vec![0; XATTRS_MAX_BYTES];
    let length = match fs::flistxattr(file, &mut list) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(format!("does not tell its attributes: {errno}")),
    };
    let mut actual = Vec::new();
    let mut value = vec![0; XATTRS_MAX_BYTES];
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    for name in names.filter(|name| is_ours(name)) {
        let length = fs::fgetxattr(file, name, &mut value).map_err(|e| format!("does not tell an attribute: {e}"))?;
        actual.push((name.to_vec(), value[..length].to_vec()));
    }
    actual.sort();
    let mut wanted = Vec::new();
    if is_opaque {
        wanted.push((OPAQUE_XATTR.to_vec(), b"y".to_vec()));
    }
    let mut pairs = &pool[expected.xattrs.range()];
    while let Some(([name_length, low, high], rest)) = pairs.split_first_chunk::<3>() {
        let cut = "has attributes that are cut off in the index";
        let (name, rest) = rest.split_at_checked(usize::from(*name_length)).ok_or(cut)?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*low, *high]))).ok_or(cut)?;
        wanted.push((name.to_vec(), value.to_vec()));
        pairs = rest;
    }
    wanted.sort();
    if actual == wanted { Ok(()) } else { Err("has other attributes".to_owned()) }
}

/// What an image may set; the host's own labels come and go (SELinux).
fn is_ours(name: &[u8]) -> bool {
    name == b"security.capability" || name == OPAQUE_XATTR || name.starts_with(b"user.")
}

/// From the root, printable.
fn path(tree: &LayerTree, mut number: usize) -> String {
    let mut names = Vec::new();
    while let Some(node) = tree.nodes.get(number).filter(|_| number != 0) {
        names.push(tree.bytes[node.name.range()].escape_ascii().to_string());
        number = node.parent as usize;
    }
    names.reverse();
    format!("/{}", names.join("/"))
}
