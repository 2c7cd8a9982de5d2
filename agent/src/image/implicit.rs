//! What directories look like when the layer that shows them does not say.
//!
//! Layers may name `tmp/x` without describing `tmp/`. Unpacked on its own, such a layer shows a plain `tmp/`, and overlayfs takes a
//! merged directory's owner and mode from the topmost layer that has it: `/tmp` would lose its sticky bit. The layer is shared and
//! cannot be changed, so an image that needs it gets one more folder on top, with nothing but the directories in question.
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

/// Fills `target`, an empty folder, with the directories whose attributes would be lost. Takes visible layers, topmost first.
/// Returns whether there are any.
pub(super) fn restore(layers: &[OpenLayer<'_>], target: &OwnedFd, path: &Path) -> Result<bool, StoreError> {
    let mut lost = BTreeMap::new();
    for layer in layers {
        for directory in &layer.record.implicit {
            if let Some((shown, wanted)) = resolve(layers, directory).map_err(|e| StoreError::io("look into", path, e))?
                && shown != wanted
            {
                lost.insert(directory.as_slice(), wanted);
            }
        }
    }
    for (directory, wanted) in &lost {
        place(layers, target, directory, *wanted).map_err(|e| StoreError::io("fill", path, e))?;
    }
    Ok(!lost.is_empty())
}

/// What overlayfs would show of a directory, and what the image means: the topmost description. None where there is no directory.
fn resolve(layers: &[OpenLayer<'_>], path: &[u8]) -> Result<Option<(Attributes, Attributes)>, Errno> {
    let mut shown = None;
    for layer in layers {
        match see(&layer.diff, path)? {
            Seen::Nothing => {}
            Seen::Covered => break,
            Seen::Directory { attributes, is_opaque } => {
                let top = *shown.get_or_insert(attributes);
                if !layer.record.implicit.contains(path) {
                    return Ok(Some((top, attributes)));
                }
                if is_opaque {
                    break;
                }
            }
        }
    }
    Ok(shown.map(|top| (top, top)))
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
fn place(layers: &[OpenLayer<'_>], target: &OwnedFd, path: &[u8], wanted: Attributes) -> Result<(), Errno> {
    let mut current = fs::openat(target, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    set(&current, attributes_of(layers, b"")?.unwrap_or(wanted))?;
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
    let mut start = 0;
    for end in ends.filter(|end| *end > 0) {
        match fs::mkdirat(&current, &path[start..end], Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        current = open_child(&current, &path[start..end])?;
        set(&current, attributes_of(layers, &path[..end])?.unwrap_or(wanted))?;
        start = end + 1;
    }
    Ok(())
}

fn attributes_of(layers: &[OpenLayer<'_>], path: &[u8]) -> Result<Option<Attributes>, Errno> {
    Ok(resolve(layers, path)?.map(|(_, wanted)| wanted))
}

fn set(directory: &OwnedFd, attributes: Attributes) -> Result<(), Errno> {
    fs::fchown(directory, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))?;
    fs::fchmod(directory, Mode::from_raw_mode(attributes.mode))
}
