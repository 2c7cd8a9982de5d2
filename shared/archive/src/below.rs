//! What a base image has where an archive's files are to land: its folders, and its symbolic links.
//!
//! A layer that brings `/lib/shop` onto an image whose `/lib` is a link to `/usr/lib` would hide the link, and with it the whole of
//! `/usr/lib` from whoever looks in `/lib`; and one that brings `/tmp/x` would bring its own `/tmp`, with its own mode. So a layer's
//! folders are looked up here first: links are followed, and folders keep what they are.

use crate::check::Xattrs;
use crate::{ArchiveError, input};
use coord_tar::{Archive, Entry, Kind, Limits, TarError, WHITEOUT_PREFIX, clean, is_kept, shown};
use std::collections::BTreeMap;
use std::io::Read;

/// Hides all that lower layers have in its folder.
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
/// Links that one path may lead through: what Linux allows.
const HOPS_MAX: u32 = 40;

/// Folders and symbolic links of an image, by cleaned path. Empty for an image from nothing.
#[derive(Debug, Clone, Default)]
pub struct Below {
    things: BTreeMap<Vec<u8>, Thing>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Folder(Folder),
    Link(Vec<u8>),
}

/// How a folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime_s: i64,
    pub(crate) xattrs: Xattrs,
}

impl Below {
    /// Puts one more layer on top; they come in the order of the manifest, compressed as they are. Blocks: for a thread that may.
    ///
    /// # Errors
    /// The layer is no archive, or breaks the rules or limits of layers.
    pub fn add_layer(&mut self, mut layer: impl Read, limits: &Limits) -> Result<(), ArchiveError> {
        let head = input::head(&mut layer).map_err(ArchiveError::io("read a layer of the base image"))?;
        if head.is_empty() {
            return Ok(());
        }
        let mut archive = Archive::new(input::tar(head, layer, limits)?);
        let (mut entry, mut path) = (Entry::default(), Vec::new());
        // What a layer hides is what lower ones have, wherever in the layer that is said.
        let (mut own, mut hidden) = (Vec::new(), Vec::new());
        let mut names_bytes = 0;
        while archive.next_entry(&mut entry)? {
            clean(&entry.path, &entry.path, limits, &mut path)?;
            let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => (&path[..slash], &path[slash + 1..]),
                None => (&path[..0], &path[..]),
            };
            if name == OPAQUE_MARK {
                hidden.push((parent.to_vec(), false));
                continue;
            }
            if let Some(name) = name.strip_prefix(WHITEOUT_PREFIX) {
                let separator = if parent.is_empty() { &b""[..] } else { b"/" };
                hidden.push(([parent, separator, name].concat(), true));
                continue;
            }
            let thing = match entry.kind {
                Kind::Directory => Some(Thing::Folder(folder(&mut entry))),
                Kind::Symlink => Some(Thing::Link(entry.link.clone())),
                Kind::File | Kind::HardLink | Kind::Fifo | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => None,
            };
            names_bytes += (path.len() + entry.link.len()) as u64;
            if names_bytes > limits.names_max_bytes || own.len() as u64 >= limits.layer_max_entries {
                return Err(TarError::Limit { limit: "the entries and names that a layer may have".to_owned() }.into());
            }
            // A file is of interest where it takes the place of a folder or link; those of this layer count as well.
            if thing.is_some() || self.things.contains_key(&path) || !own.is_empty() {
                own.push((path.clone(), thing));
            }
        }
        for (path, with_itself) in hidden {
            self.hide(&path, with_itself);
        }
        for (path, thing) in own {
            self.put(path, thing);
        }
        Ok(())
    }

    fn put(&mut self, path: Vec<u8>, thing: Option<Thing>) {
        match (self.things.get(&path), thing) {
            (None, None) => {}
            (Some(Thing::Folder(_)), Some(folder @ Thing::Folder(_))) | (None, Some(folder)) => {
                self.things.insert(path, folder);
            }
            (Some(_), thing) => {
                self.hide(&path, true);
                self.things.extend(thing.map(|thing| (path, thing)));
            }
        }
    }

    fn hide(&mut self, path: &[u8], with_itself: bool) {
        let inside = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let doomed = self.things.range(inside.clone()..).map(|(path, _)| path).take_while(|path| path.starts_with(&inside));
        for path in doomed.cloned().collect::<Vec<_>>() {
            self.things.remove(&path);
        }
        if with_itself {
            self.things.remove(path);
        }
    }

    /// The folder of this path, if the image has one. No link is followed.
    pub(crate) fn folder(&self, path: &[u8]) -> Option<&Folder> {
        match self.things.get(path) {
            Some(Thing::Folder(folder)) => Some(folder),
            Some(Thing::Link(_)) | None => None,
        }
    }

    /// Where a folder of this cleaned path is to be, all links followed as in a container. What the image does not have is new, and stays
    /// where it is.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let mut resolved: Vec<u8> = Vec::new();
        let mut todo: Vec<Vec<u8>> = parts(path);
        let mut hops = 0;
        while let Some(part) = todo.pop() {
            if part == b".." {
                resolved.truncate(resolved.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            let separator = if resolved.is_empty() { &b""[..] } else { b"/" };
            let next = [&resolved[..], separator, &part].concat();
            let Some(Thing::Link(target)) = self.things.get(&next) else {
                resolved = next;
                continue;
            };
            hops += 1;
            if hops > HOPS_MAX {
                let problem = "the base image has symbolic links there that lead in circles".to_owned();
                return Err(ArchiveError::Place { path: format!("/{}", shown(path)), problem });
            }
            if target.starts_with(b"/") {
                resolved.clear();
            }
            todo.extend(parts(target));
        }
        Ok(resolved)
    }
}

fn folder(entry: &mut Entry) -> Folder {
    let mut xattrs = std::mem::take(&mut entry.xattrs);
    xattrs.retain(|name, _| is_kept(name));
    Folder { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime_s: entry.mtime_s, xattrs }
}

/// The parts of a path, the nearest last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}
