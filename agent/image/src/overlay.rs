//! What overlayfs would show wrongly of layers that are stored apart, and the one more folder on top that puts it right.
//!
//! Layers may name `tmp/x` without describing `tmp/`. Unpacked on its own, such a layer shows a plain `tmp/`, and overlayfs takes a
//! merged directory's owner and mode from the topmost layer that has it: `/tmp` would lose its sticky bit. And whiteouts in a
//! directory that no other layer has appear in its listing, as names that do not exist, because only merged directories are
//! filtered. A layer is shared and cannot be changed, so an image that needs it gets a folder of its own, above all others, with
//! nothing but the directories in question: they look right, and whatever is below them is merged.
//!
//! Only owner and mode are kept that way; times and attributes of directories are not worth a folder.

use super::error::StoreError;
use super::record::LayerRecord;
use super::unpack::{OPAQUE_XATTR, open_child};
use rustix::fs::{self, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Owner, group and permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attributes {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// A layer and its open folder.
pub(super) struct OpenLayer<'a> {
    pub(super) record: &'a LayerRecord,
    pub(super) diff: OwnedFd,
}

/// How a path looks in one layer.
enum Seen {
    Nothing,
    /// What is further down does not show.
    Covered,
    Directory {
        attributes: Attributes,
        is_opaque: bool,
    },
}

/// The layers that show, topmost first: an opaque root hides all below. Takes them bottom first.
pub(super) fn visible(layers: &[LayerRecord]) -> impl Iterator<Item = &LayerRecord> {
    let below_opaque = layers.iter().rposition(|layer| layer.opaque_root).unwrap_or(0);
    layers[below_opaque..].iter().rev()
}

/// Whether `restore` could find anything to do. Takes visible layers.
pub(super) fn may_need_restoring(layers: &[&LayerRecord]) -> bool {
    // The lowest layer has no directory below that it could misrepresent.
    let upper = layers.split_last().map_or(&[][..], |(_, upper)| upper);
    upper.iter().any(|layer| !layer.implicit.is_empty()) || layers.iter().any(|layer| !layer.whiteouts.is_empty())
}

/// Fills `target`, an empty folder, with the directories that would show wrongly. Takes visible layers, topmost first.
/// Returns whether there are any.
pub(super) fn restore(layers: &[OpenLayer<'_>], target: &OwnedFd, path: &Path) -> Result<bool, StoreError> {
    let mut wrong = BTreeMap::new();
    for layer in layers {
        for directory in layer.record.implicit.iter().chain(&layer.record.whiteouts) {
            let Some(stack) = resolve(layers, directory).map_err(|e| StoreError::io("look into", path, e))? else { continue };
            // The root is always merged, with the container's own layer.
            let shows_whiteouts = stack.parts == 1 && !directory.is_empty() && layer.record.whiteouts.contains(directory);
            if stack.shown != stack.meant || shows_whiteouts {
                wrong.insert(directory.as_slice(), stack.meant);
            }
        }
    }
    for (directory, meant) in &wrong {
        place(layers, target, directory, *meant).map_err(|e| StoreError::io("fill", path, e))?;
    }
    Ok(!wrong.is_empty())
}

/// A directory as it is merged from layers.
struct Stack {
    /// What overlayfs shows: the topmost layer's.
    shown: Attributes,
    /// What the image means: the topmost description.
    meant: Attributes,
    /// How many layers have a part in it.
    parts: usize,
}

/// None where there is no directory.
fn resolve(layers: &[OpenLayer<'_>], path: &[u8]) -> Result<Option<Stack>, Errno> {
    let mut stack: Option<Stack> = None;
    let mut is_described = false;
    for layer in layers {
        let (attributes, is_opaque) = match see(&layer.diff, path)? {
            Seen::Nothing => continue,
            Seen::Covered => break,
            Seen::Directory { attributes, is_opaque } => (attributes, is_opaque),
        };
        let stack = stack.get_or_insert(Stack { shown: attributes, meant: attributes, parts: 0 });
        stack.parts += 1;
        if !is_described && !layer.record.implicit.contains(path) {
            stack.meant = attributes;
            is_described = true;
        }
        if is_opaque {
            break;
        }
    }
    Ok(stack)
}

fn see(diff: &OwnedFd, path: &[u8]) -> Result<Seen, Errno> {
    let mut current = fs::openat(diff, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut is_opaque = false;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        current = match open_child(&current, name) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(if is_opaque { Seen::Covered } else { Seen::Nothing }),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(Seen::Covered),
            Err(errno) => return Err(errno),
        };
        is_opaque |= is_marked_opaque(&current)?;
    }
    let stat = fs::fstat(&current)?;
    Ok(Seen::Directory { attributes: Attributes { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 }, is_opaque })
}

fn is_marked_opaque(directory: &OwnedFd) -> Result<bool, Errno> {
    let mut value = [0; 1];
    match fs::fgetxattr(directory, OPAQUE_XATTR, &mut value) {
        Ok(length) => Ok(length == 1 && value == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Makes one directory in the target, and its parents as they should look.
fn place(layers: &[OpenLayer<'_>], target: &OwnedFd, path: &[u8], meant: Attributes) -> Result<(), Errno> {
    let mut current = fs::openat(target, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    set(&current, attributes_of(layers, b"")?.unwrap_or(meant))?;
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
    let mut start = 0;
    for end in ends.filter(|end| *end > 0) {
        match fs::mkdirat(&current, &path[start..end], Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        current = open_child(&current, &path[start..end])?;
        set(&current, attributes_of(layers, &path[..end])?.unwrap_or(meant))?;
        start = end + 1;
    }
    Ok(())
}

fn attributes_of(layers: &[OpenLayer<'_>], path: &[u8]) -> Result<Option<Attributes>, Errno> {
    Ok(resolve(layers, path)?.map(|stack| stack.meant))
}

fn set(directory: &OwnedFd, attributes: Attributes) -> Result<(), Errno> {
    fs::fchown(directory, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))?;
    fs::fchmod(directory, Mode::from_raw_mode(attributes.mode))
}
