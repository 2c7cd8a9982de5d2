//! Writes a layer's entries into a folder, as overlayfs wants to find them.
//!
//! Nothing that an archive names reaches outside, see `tree`. Whiteouts become character devices 0:0, opaque directories get
//! `trusted.overlay.opaque` (Linux, Documentation/filesystems/overlayfs.rst). An archive cannot bring those itself: device nodes are
//! left out (containers get /dev from the runtime, on a tmpfs), and extended attributes pass by a list of names.
//!
//! Directories that the archive needs but does not describe are made with plain attributes and remembered as implicit: what they
//! should look like depends on the layers below.

pub(super) mod tar;
mod tree;

use super::error::LayerError;
use super::limits::Limits;
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::os::fd::OwnedFd;
use tar::{Archive, Entry, Kind};
use tree::{Found, Tree, look, mark_opaque};
pub(super) use tree::{OPAQUE_XATTR, open_child};

const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Hides what lower layers have in its directory (OCI image spec, layer.md, "Opaque Whiteout").
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
/// Other marks of AUFS (hard link stores and the like), which mean nothing to anybody else.
const AUFS_PREFIX: &[u8] = b".wh..wh.";
/// Longest path that the kernel takes in one piece, without its final NUL.
const PATH_MAX_BYTES: usize = 4095;

/// What a layer turned out to be.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) entries: u64,
    /// Of the files' contents.
    pub(super) content_bytes: u64,
    pub(super) devices_left_out: u64,
    /// The layer hides everything below it.
    pub(super) opaque_root: bool,
    /// Directories that were needed but not described, relative to the layer's root.
    pub(super) implicit: BTreeSet<Vec<u8>>,
    /// Directories with whiteouts in them.
    pub(super) whiteouts: BTreeSet<Vec<u8>>,
}

/// Unpacks a whole archive into `root`, an empty directory.
pub(super) fn unpack<R: BufRead>(mut archive: Archive<R>, root: OwnedFd, limits: &Limits) -> Result<Summary, LayerError> {
    let mut unpacker =
        Unpacker { tree: Tree::new(root), limits, times: BTreeMap::new(), name_bytes: 0, summary: Summary::default() };
    while let Some(entry) = archive.next_entry()? {
        unpacker.apply(&entry, &mut archive)?;
    }
    archive.drain()?;
    unpacker.finish()
}

struct Unpacker<'a> {
    tree: Tree,
    limits: &'a Limits,
    /// Of directories. Writing into one changes its time, so they are set at the end.
    times: BTreeMap<Vec<u8>, (i64, u32)>,
    /// Length of all paths in `times` and `summary`.
    name_bytes: u64,
    summary: Summary,
}

/// An entry's cleaned path: where it goes.
struct Place<'p> {
    path: &'p [u8],
    parent: &'p [u8],
    name: &'p [u8],
}

impl Unpacker<'_> {
    fn apply<R: BufRead>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<(), LayerError> {
        self.summary.entries += 1;
        // Folders that nobody described take room as well.
        if self.summary.entries + self.tree.made > self.limits.layer_max_entries {
            return Err(LayerError::Limit { limit: format!("{} entries", self.limits.layer_max_entries) });
        }
        if self.name_bytes + self.tree.name_bytes > self.limits.names_max_bytes {
            return Err(LayerError::Limit { limit: format!("{} bytes of folders' names", self.limits.names_max_bytes) });
        }
        let path = self.clean(&entry.path, &entry.path)?;
        let Some(place) = Place::of(&path) else { return self.root(entry) };
        if place.name.starts_with(WHITEOUT_PREFIX) {
            return self.whiteout(&place);
        }
        match entry.kind {
            Kind::Directory => self.directory(&place, entry),
            Kind::File => self.file(&place, entry, archive),
            Kind::Symlink => self.symlink(&place, entry),
            Kind::HardLink => self.hard_link(&place, entry),
            Kind::Fifo => self.fifo(&place, entry),
            Kind::Device => {
                self.summary.devices_left_out += 1;
                Ok(())
            }
        }
    }

    /// A path relative to the root without empty or `.` parts. Absolute ones mean the same, as a container sees them.
    fn clean(&self, raw: &[u8], entry: &[u8]) -> Result<Vec<u8>, LayerError> {
        if raw.contains(&0) {
            return Err(LayerError::entry(entry, "has a NUL in its name"));
        }
        let mut clean = Vec::with_capacity(raw.len());
        let mut depth = 0;
        for part in raw.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            if part == b".." {
                return Err(LayerError::entry(entry, "has \"..\" in its path"));
            }
            // A whiteout has nothing below it: only the last part may be one.
            if clean.split(|byte| *byte == b'/').next_back().is_some_and(|parent| parent.starts_with(WHITEOUT_PREFIX)) {
                return Err(LayerError::entry(entry, "lies below a whiteout"));
            }
            if !clean.is_empty() {
                clean.push(b'/');
            }
            clean.extend_from_slice(part);
            depth += 1;
        }
        if depth > self.limits.depth_max {
            return Err(LayerError::Limit { limit: format!("{} folders within folders", self.limits.depth_max) });
        }
        if clean.len() > PATH_MAX_BYTES {
            return Err(LayerError::entry(entry, "has a path of more than 4095 bytes"));
        }
        Ok(clean)
    }

    fn root(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if entry.kind != Kind::Directory {
            return Err(LayerError::entry(&entry.path, "stands for the image's root and is no directory"));
        }
        self.times.insert(Vec::new(), entry.mtime);
        describe(&self.tree.root(), entry)
    }

    fn whiteout(&mut self, place: &Place<'_>) -> Result<(), LayerError> {
        if place.name == OPAQUE_MARK {
            self.summary.opaque_root |= place.parent.is_empty();
            let parent = self.tree.parent(place.parent, place.path)?;
            return mark_opaque(&parent).map_err(|e| LayerError::io("make opaque", place.parent, e));
        }
        if place.name.starts_with(AUFS_PREFIX) {
            return Ok(());
        }
        let hidden = &place.name[WHITEOUT_PREFIX.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(LayerError::entry(place.path, "is a whiteout of nothing"));
        }
        let parent = self.tree.parent(place.parent, place.path)?;
        let failed = |e| LayerError::io("write the whiteout", place.path, e);
        match look(&parent, hidden).map_err(failed)? {
            Found::Nothing => {
                if self.summary.whiteouts.insert(place.parent.to_vec()) {
                    self.name_bytes += place.parent.len() as u64;
                }
                fs::mknodat(&*parent, hidden, FileType::CharacterDevice, Mode::empty(), 0).map_err(failed)
            }
            // A whiteout hides what is below this layer, whatever the order: the layer's own entry stays.
            Found::Directory => mark_opaque(&open_child(&parent, hidden).map_err(failed)?).map_err(failed),
            Found::Whiteout | Found::Other => Ok(()),
        }
    }

    fn directory(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), LayerError> {
        let parent = self.tree.parent(place.parent, place.path)?;
        let failed = |e| LayerError::io("make", place.path, e);
        let mut hides_lower = false;
        match look(&parent, place.name).map_err(failed)? {
            Found::Directory => {}
            Found::Nothing => fs::mkdirat(&*parent, place.name, Mode::RWXU).map_err(failed)?,
            found @ (Found::Whiteout | Found::Other) => {
                hides_lower = found == Found::Whiteout;
                self.tree.remove(&parent, place.path, place.name)?;
                fs::mkdirat(&*parent, place.name, Mode::RWXU).map_err(failed)?;
            }
        }
        let directory = open_child(&parent, place.name).map_err(failed)?;
        if hides_lower {
            mark_opaque(&directory).map_err(failed)?;
        }
        self.tree.implicit.remove(place.path);
        if self.times.insert(place.path.to_vec(), entry.mtime).is_none() {
            self.name_bytes += place.path.len() as u64;
        }
        describe(&directory, entry)
    }

    fn file<R: BufRead>(&mut self, place: &Place<'_>, entry: &Entry, archive: &mut Archive<R>) -> Result<(), LayerError> {
        self.summary.content_bytes += entry.size;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.make(place, |parent| fs::openat(parent, place.name, flags, Mode::RUSR | Mode::WUSR))?;
        loop {
            let mut piece = archive.content()?;
            if piece.is_empty() {
                break;
            }
            let length = piece.len();
            while !piece.is_empty() {
                let written = rustix::io::write(&file, piece).map_err(|e| LayerError::io("write", place.path, e))?;
                piece = &piece[written..];
            }
            archive.consume(length);
        }
        describe(&file, entry)?;
        fs::futimens(&file, &times(entry.mtime)).map_err(|e| LayerError::io("set the time of", place.path, e))
    }

    fn symlink(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), LayerError> {
        if entry.link.is_empty() || entry.link.contains(&0) {
            return Err(LayerError::entry(place.path, "is a symbolic link to nothing"));
        }
        self.make(place, |parent| fs::symlinkat(entry.link.as_slice(), parent, place.name))?;
        self.describe_by_name(place, entry)
    }

    fn fifo(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), LayerError> {
        self.make(place, |parent| fs::mknodat(parent, place.name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0))?;
        self.describe_by_name(place, entry)?;
        let parent = self.tree.parent(place.parent, place.path)?;
        let mode = Mode::from_raw_mode(entry.mode);
        fs::chmodat(&*parent, place.name, mode, AtFlags::empty()).map_err(|e| LayerError::io("set the mode of", place.path, e))
    }

    /// Within its own layer only: a link to a lower layer's file cannot be kept when layers are stored apart.
    fn hard_link(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), LayerError> {
        let target = self.clean(&entry.link, place.path)?;
        if target == place.path {
            return Err(LayerError::entry(place.path, "is a hard link to itself"));
        }
        let missing = || {
            LayerError::entry(
                place.path,
                format!("is a hard link to {:?}, which is no file in this layer", entry.link.escape_ascii().to_string()),
            )
        };
        let target = Place::of(&target).ok_or_else(missing)?;
        let failed = |e| LayerError::io("link", place.path, e);
        let target_parent = self.tree.open_existing(target.parent).map_err(|_| missing())?;
        if look(&target_parent, target.name).map_err(failed)? != Found::Other {
            return Err(missing());
        }
        self.make(place, |parent| fs::linkat(&*target_parent, target.name, parent, place.name, AtFlags::empty()))
    }

    /// Makes one thing under its name; what the layer had there before gives way, because later entries win.
    fn make<T>(&mut self, place: &Place<'_>, make: impl Fn(&OwnedFd) -> Result<T, Errno>) -> Result<T, LayerError> {
        let parent = self.tree.parent(place.parent, place.path)?;
        let made = match make(&parent) {
            Err(Errno::EXIST) => {
                self.tree.remove(&parent, place.path, place.name)?;
                make(&parent)
            }
            other => other,
        };
        made.map_err(|e| LayerError::io("make", place.path, e))
    }

    /// For what cannot be opened: owner and time of the name itself.
    fn describe_by_name(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), LayerError> {
        let parent = self.tree.parent(place.parent, place.path)?;
        let (owner, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        fs::chownat(&*parent, place.name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| LayerError::io("set the owner of", place.path, e))?;
        fs::utimensat(&*parent, place.name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| LayerError::io("set the time of", place.path, e))
    }

    fn finish(mut self) -> Result<Summary, LayerError> {
        for (path, mtime) in &self.times {
            // Gone or no directory any more: a later entry replaced it.
            let Ok(directory) = self.tree.open_existing(path) else { continue };
            fs::futimens(&*directory, &times(*mtime)).map_err(|e| LayerError::io("set the time of", path, e))?;
        }
        if !self.times.contains_key(&Vec::new()) {
            self.tree.implicit.insert(Vec::new());
        }
        self.summary.implicit = std::mem::take(&mut self.tree.implicit);
        Ok(self.summary)
    }
}

impl<'p> Place<'p> {
    /// None for the root, which has no name.
    fn of(path: &'p [u8]) -> Option<Place<'p>> {
        if path.is_empty() {
            return None;
        }
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        Some(Place { path, parent, name })
    }
}

/// Owner, then mode (a change of owner takes set-id bits away), then attributes.
fn describe(fd: &OwnedFd, entry: &Entry) -> Result<(), LayerError> {
    fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
        .map_err(|e| LayerError::io("set the owner of", &entry.path, e))?;
    fs::fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(|e| LayerError::io("set the mode of", &entry.path, e))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name)) {
        match fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
            Ok(()) => {}
            // A file system without them; what needs one will say so better than we could.
            Err(Errno::OPNOTSUPP) => {
                tracing::debug!(path = %entry.path.escape_ascii(), "the file system keeps no such attribute")
            }
            Err(e) => return Err(LayerError::io("set an attribute of", &entry.path, e)),
        }
    }
    Ok(())
}

/// File capabilities and what users left. Not `trusted.*` nor `user.overlay.*`: they would steer overlayfs itself (a redirect shows
/// any file of a lower layer). Not other `security.*` either: labels belong to the host's policy.
fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") && !name.contains(&0))
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
    Timestamps { last_access: time, last_modification: time }
}
