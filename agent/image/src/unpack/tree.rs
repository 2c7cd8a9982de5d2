//! The folder that a layer is unpacked into, reached only by directory descriptors.
//!
//! Parents are opened by openat2 with RESOLVE_IN_ROOT: a symbolic link among them is followed as a container would follow it, within
//! the layer, whatever it says. The last component is never followed.

use super::super::error::LayerError;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// A resolution with `..` is given up by the kernel when somebody renames elsewhere at that moment; again is all it takes.
const OPEN_TRIES: usize = 64;
/// Attributes of directories that no entry describes.
const IMPLICIT_MODE: u32 = 0o755;

/// A layer's folder and what is remembered of it.
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    /// The last parent, because entries come directory by directory. Dropped whenever something is removed.
    cached: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Directories that were needed but not described.
    pub(super) implicit: BTreeSet<Vec<u8>>,
    /// How many of those were made, later ones that were replaced or described included.
    pub(super) made: u64,
    /// Length of their paths.
    pub(super) name_bytes: u64,
}

/// What lies under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Tree {
        Tree { root: Rc::new(root), cached: None, implicit: BTreeSet::new(), made: 0, name_bytes: 0 }
    }

    pub(super) fn root(&self) -> Rc<OwnedFd> {
        Rc::clone(&self.root)
    }

    /// The directory `path`, made if need be, and its parents too. `entry` is for the error.
    pub(super) fn parent(&mut self, path: &[u8], entry: &[u8]) -> Result<Rc<OwnedFd>, LayerError> {
        if let Some((cached, fd)) = &self.cached
            && cached == path
        {
            return Ok(Rc::clone(fd));
        }
        let fd = match self.open(path, ResolveFlags::IN_ROOT) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_directories(path, entry)?,
            Err(Errno::LOOP) => return Err(LayerError::entry(entry, "lies below symbolic links that lead in circles")),
            Err(errno) => return Err(LayerError::io("open the folder of", entry, errno)),
        };
        self.cached = Some((path.to_vec(), Rc::clone(&fd)));
        Ok(fd)
    }

    /// An existing directory, its last component followed only within the layer.
    pub(super) fn open_existing(&self, path: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        self.open(path, ResolveFlags::IN_ROOT)
    }

    fn open(&self, path: &[u8], how: ResolveFlags) -> Result<Rc<OwnedFd>, Errno> {
        if path.is_empty() {
            return Ok(self.root());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let how = how | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let mut tries = 0;
        loop {
            match fs::openat2(&*self.root, path, flags, Mode::empty(), how) {
                Err(Errno::AGAIN) if tries < OPEN_TRIES => tries += 1,
                other => return other.map(Rc::new),
            }
        }
    }

    /// From the root down, so that each missing one is made in a parent that exists.
    fn make_directories(&mut self, path: &[u8], entry: &[u8]) -> Result<Rc<OwnedFd>, LayerError> {
        let mut current = self.root();
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        let mut start = 0;
        for end in ends {
            let (prefix, name) = (&path[..end], &path[start..end]);
            current = match self.open(prefix, ResolveFlags::IN_ROOT) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR) => self.make_directory(&current, prefix, name, entry)?,
                Err(errno) => return Err(LayerError::io("open the folder of", entry, errno)),
            };
            start = end + 1;
        }
        Ok(current)
    }

    fn make_directory(&mut self, parent: &OwnedFd, path: &[u8], name: &[u8], entry: &[u8]) -> Result<Rc<OwnedFd>, LayerError> {
        let found = look(parent, name).map_err(|e| LayerError::io("look at the folder of", entry, e))?;
        match found {
            Found::Nothing => {}
            Found::Whiteout => self.remove(parent, path, name)?,
            Found::Directory | Found::Other => {
                return Err(LayerError::entry(
                    entry,
                    format!("lies below {:?}, which is no folder in this layer", path.escape_ascii().to_string()),
                ));
            }
        }
        let failed = |e: Errno| LayerError::io("make the folder of", entry, e);
        fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
        let fd = open_child(parent, name).map_err(failed)?;
        // The caller's umask must not show in the image.
        fs::fchmod(&fd, Mode::from_raw_mode(IMPLICIT_MODE)).map_err(failed)?;
        if found == Found::Whiteout {
            mark_opaque(&fd).map_err(failed)?;
        }
        self.made += 1;
        self.name_bytes += path.len() as u64;
        // Reached through a link, it is not at `path`; and what is below a link's target has no directory to take after.
        if self.open(path, ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH).is_ok() {
            self.implicit.insert(path.to_vec());
        }
        Ok(Rc::new(fd))
    }

    /// Removes what lies under a name, with everything below it.
    pub(super) fn remove(&mut self, parent: &OwnedFd, path: &[u8], name: &[u8]) -> Result<(), LayerError> {
        self.cached = None;
        let below: Vec<Vec<u8>> = self
            .implicit
            .range(path.to_vec()..)
            .take_while(|other| other.starts_with(path))
            .filter(|other| is_at_or_below(other, path))
            .cloned()
            .collect();
        for gone in below {
            self.implicit.remove(&gone);
        }
        remove_all(parent, name).map_err(|e| LayerError::io("replace", path, e))
    }
}

fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// What lies under a name of a directory, no link followed.
pub(super) fn look(parent: &OwnedFd, name: &[u8]) -> Result<Found, Errno> {
    let stat = match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        Err(errno) => return Err(errno),
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Directory,
        FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
        FileType::RegularFile
        | FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Found::Other,
    })
}

/// A directory by its name in an open one, no link followed.
pub(crate) fn open_child(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    fs::openat(parent, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Tells overlayfs to show nothing of lower layers in this directory.
pub(super) fn mark_opaque(directory: &OwnedFd) -> Result<(), Errno> {
    fs::fsetxattr(directory, OPAQUE_XATTR, b"y", XattrFlags::empty())
}

fn remove_all(parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        other => return other,
    }
    let directory = open_child(parent, name)?;
    for child in fs::Dir::read_from(&directory)? {
        let child = child?;
        let child = child.file_name().to_bytes();
        if child != b"." && child != b".." {
            remove_all(&directory, child)?;
        }
    }
    fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
