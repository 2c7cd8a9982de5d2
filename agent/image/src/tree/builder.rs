//! A layer's tree while its archive is read: a folder, so to say, in which later entries take the place of earlier ones.
//!
//! Names and what they name are apart, as on a disk: a hard link is a second name of one thing, and a thing whose last name is taken
//! is left behind and not reached any more. A folder's entries hang on the thing, so they go with it.
//!
//! Parents that are symbolic links of this layer are followed as a container would, `..` from the root being the root.

use super::finish;
use super::table::{Hash, Table};
use super::{Attributes, Data, LayerTree, LayerWhat, Span};
use crate::error::LayerError;
use coord_tar::Limits;

pub(super) const ROOT: u32 = 0;
/// In place of a thing's number: a name that only hides what is below.
pub(super) const NOTHING: u32 = u32::MAX;
/// Links that one path may lead through: what Linux allows (MAXSYMLINKS, include/linux/namei.h).
const HOPS_MAX: u32 = 40;
/// Parts of links' targets that are looked up, all entries of a layer together: seconds of work. Real layers need a few per entry.
const FOLLOW_STEPS_MAX: u64 = 100_000_000;
/// Of folders that nobody describes and no lower layer has.
const IMPLICIT_MODE: u16 = 0o755;

/// A tree in the making.
pub(super) struct Builder {
    pub(super) names: Vec<Name>,
    pub(super) things: Vec<Thing>,
    /// Names, link targets, attributes, as they came.
    pub(super) bytes: Vec<u8>,
    /// Numbers of names, by folder and name.
    table: Table,
    limits: Limits,
    /// Folders that nobody described were made for entries, and count like them.
    implicit: u64,
    steps: u64,
    /// The last parent and its path, because entries come folder by folder. Dropped whenever something is replaced.
    cached: Option<u32>,
    cached_path: Vec<u8>,
}

/// A name in a folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    /// The folder, a thing.
    pub(super) parent: u32,
    /// Where the name begins in the pool.
    pub(super) at: u32,
    /// What it names, or `NOTHING`.
    pub(super) thing: u32,
    pub(super) length: u8,
    /// There is a whiteout for it: what lower layers have of this name is hidden, whatever comes to stand here.
    pub(super) hides: bool,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thing {
    pub(super) what: LayerWhat,
    pub(super) attributes: Attributes,
    /// Of a folder: its name's number (of the root, nonsense).
    name: u32,
    /// Of a folder: how many are above it.
    depth: u32,
}

/// What a path of a hard link leads to.
pub(super) enum Target {
    /// This thing of the layer, no folder.
    Here(u32),
    /// Nothing of this layer; this path, if lower layers have it.
    Below(Vec<u8>),
    /// A folder, or something that the layer hides.
    Nowhere,
}

impl Builder {
    pub(super) fn new(limits: &Limits) -> Builder {
        let root = Thing { what: implicit_directory(), attributes: implicit_attributes(), name: NOTHING, depth: 0 };
        Builder {
            names: Vec::new(),
            things: vec![root],
            bytes: Vec::new(),
            table: Table::default(),
            limits: *limits,
            implicit: 0,
            steps: 0,
            cached: None,
            cached_path: Vec::new(),
        }
    }

    /// Folders that were made because entries needed them.
    pub(super) fn implicit(&self) -> u64 {
        self.implicit
    }

    /// Puts bytes into the pool.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Result<Span, LayerError> {
        let limit =
            || LayerError::Limit { limit: format!("{} bytes of names, links and attributes", self.limits.names_max_bytes) };
        let span = Span { at: narrow(self.bytes.len()).ok_or_else(limit)?, len: narrow(bytes.len()).ok_or_else(limit)? };
        if (self.bytes.len() + bytes.len()) as u64 > self.limits.names_max_bytes {
            return Err(limit());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(span)
    }

    pub(super) fn text(&self, span: Span) -> &[u8] {
        &self.bytes[span.range()]
    }

    /// What is under a name, no link followed. None: the layer says nothing of it.
    pub(super) fn look(&self, parent: u32, name: &[u8]) -> Option<&Name> {
        self.find(self.table.hash(parent, name), parent, name).map(|number| &self.names[number as usize])
    }

    pub(super) fn what(&self, thing: u32) -> LayerWhat {
        self.things[thing as usize].what
    }

    /// The folder of this path, made if need be, with its parents. `entry` is for errors.
    pub(super) fn parent(&mut self, path: &[u8], entry: &[u8]) -> Result<u32, LayerError> {
        if let Some(folder) = self.cached
            && self.cached_path == path
        {
            return Ok(folder);
        }
        let mut folder = ROOT;
        let mut hops = 0;
        for (end, name) in parts(path) {
            let stands_in_the_way = || {
                let prefix = path[..end].escape_ascii().to_string();
                LayerError::entry(entry, format!("lies below {prefix:?}, which is no folder in this layer"))
            };
            let found = self.look(folder, name).copied();
            let Some(thing) = found.map(|found| found.thing).filter(|thing| *thing != NOTHING) else {
                folder = self.make_implicit(folder, name)?;
                continue;
            };
            let what = self.what(thing);
            folder = if what.is_directory() {
                thing
            } else {
                let LayerWhat::Symlink { target } = what else { return Err(stands_in_the_way()) };
                self.follow(folder, target, &mut hops, entry)?.ok_or_else(stands_in_the_way)?
            };
        }
        self.cached = Some(folder);
        self.cached_path.clear();
        self.cached_path.extend_from_slice(path);
        Ok(folder)
    }

    /// What a hard link's target is, as the layer stands now.
    pub(super) fn target(&mut self, path: &[u8], entry: &[u8]) -> Result<Target, LayerError> {
        let mut folder = ROOT;
        let mut hops = 0;
        let mut hidden = self.is_opaque(ROOT);
        for (end, name) in parts(path) {
            let Some(found) = self.look(folder, name).copied() else {
                let mut below = self.path_of(folder);
                below.extend_from_slice(if below.is_empty() { b"" } else { b"/" });
                below.extend_from_slice(&path[end - name.len()..]);
                return Ok(if hidden { Target::Nowhere } else { Target::Below(below) });
            };
            if found.thing == NOTHING {
                return Ok(Target::Nowhere);
            }
            let what = self.what(found.thing);
            if end == path.len() {
                return Ok(if what.is_directory() { Target::Nowhere } else { Target::Here(found.thing) });
            }
            if let LayerWhat::Directory { opaque, .. } = what {
                hidden |= opaque || found.hides;
                folder = found.thing;
            } else {
                let LayerWhat::Symlink { target } = what else { return Ok(Target::Nowhere) };
                let Some(thing) = self.follow(folder, target, &mut hops, entry)? else { return Ok(Target::Nowhere) };
                folder = thing;
                hidden = self.is_hidden(thing);
            }
        }
        Ok(Target::Nowhere)
    }

    /// Makes a thing, not yet under any name.
    pub(super) fn thing(&mut self, what: LayerWhat, attributes: Attributes) -> Result<u32, LayerError> {
        let number = narrow(self.things.len()).filter(|number| *number != NOTHING).ok_or_else(too_many)?;
        self.things.push(Thing { what, attributes, name: NOTHING, depth: 0 });
        Ok(number)
    }

    /// Gives a thing a name; what had it before gives way. The name's number.
    pub(super) fn name(&mut self, parent: u32, name: &[u8], thing: u32) -> Result<u32, LayerError> {
        let hash = self.table.hash(parent, name);
        let Some(number) = self.find(hash, parent, name) else { return self.add_name(hash, parent, name, thing) };
        self.cached = None;
        self.names[number as usize].thing = thing;
        Ok(number)
    }

    /// Describes a folder: a new one, or one that is there already and keeps what is in it.
    pub(super) fn directory(&mut self, parent: u32, name: &[u8], attributes: Attributes) -> Result<(), LayerError> {
        let found = self.look(parent, name).map(|found| found.thing).filter(|thing| *thing != NOTHING);
        let thing = match found {
            Some(thing) if self.what(thing).is_directory() => thing,
            _ => self.make_directory(parent, name)?,
        };
        self.describe(thing, attributes);
        Ok(())
    }

    pub(super) fn describe(&mut self, folder: u32, attributes: Attributes) {
        let thing = &mut self.things[folder as usize];
        thing.attributes = attributes;
        if let LayerWhat::Directory { described, .. } = &mut thing.what {
            *described = true;
        }
    }

    pub(super) fn make_opaque(&mut self, folder: u32) {
        if let LayerWhat::Directory { opaque, .. } = &mut self.things[folder as usize].what {
            *opaque = true;
        }
    }

    /// Hides what lower layers have under a name. What this layer has there stays, whatever the order.
    pub(super) fn whiteout(&mut self, parent: u32, name: &[u8]) -> Result<(), LayerError> {
        let hash = self.table.hash(parent, name);
        let number = match self.find(hash, parent, name) {
            Some(number) => number,
            None => self.add_name(hash, parent, name, NOTHING)?,
        };
        self.names[number as usize].hides = true;
        Ok(())
    }

    /// The last word on every name, and the contents that have no name any more.
    pub(super) fn finish(self) -> Result<(LayerTree, Vec<(Data, u32)>), LayerError> {
        // Its memory is better spent on the tree.
        drop(self.table);
        finish::finish(self.names, self.things, self.bytes).ok_or_else(too_many)
    }

    fn make_implicit(&mut self, parent: u32, name: &[u8]) -> Result<u32, LayerError> {
        self.implicit += 1;
        self.make_directory(parent, name)
    }

    fn make_directory(&mut self, parent: u32, name: &[u8]) -> Result<u32, LayerError> {
        let depth = self.things[parent as usize].depth + 1;
        if u64::from(depth) > self.limits.depth_max as u64 {
            return Err(LayerError::Limit { limit: format!("{} folders within folders", self.limits.depth_max) });
        }
        let folder = self.thing(implicit_directory(), implicit_attributes())?;
        let number = self.name(parent, name, folder)?;
        self.things[folder as usize].name = number;
        self.things[folder as usize].depth = depth;
        Ok(folder)
    }

    fn add_name(&mut self, hash: Hash, parent: u32, name: &[u8], thing: u32) -> Result<u32, LayerError> {
        let number = narrow(self.names.len()).filter(|number| *number != NOTHING).ok_or_else(too_many)?;
        let length = u8::try_from(name.len()).map_err(|_| LayerError::entry(name, "has a name of more than 255 bytes"))?;
        let span = self.keep(name)?;
        self.names.push(Name { parent, at: span.at, thing, length, hides: false });
        self.table.insert(hash, number);
        Ok(number)
    }

    fn find(&self, hash: Hash, parent: u32, name: &[u8]) -> Option<u32> {
        self.table.find(hash, |number| {
            let other = &self.names[number as usize];
            other.parent == parent && self.text(other.span()) == name
        })
    }

    fn is_opaque(&self, folder: u32) -> bool {
        matches!(self.what(folder), LayerWhat::Directory { opaque: true, .. })
    }

    /// Whether nothing of lower layers shows in a folder.
    fn is_hidden(&self, folder: u32) -> bool {
        let up = |folder: &u32| (*folder != ROOT).then(|| self.above(*folder));
        std::iter::successors(Some(folder), up).any(|folder| {
            self.is_opaque(folder) || (folder != ROOT && self.names[self.things[folder as usize].name as usize].hides)
        })
    }

    fn above(&self, folder: u32) -> u32 {
        if folder == ROOT { ROOT } else { self.names[self.things[folder as usize].name as usize].parent }
    }

    fn path_of(&self, folder: u32) -> Vec<u8> {
        let mut names = Vec::new();
        let mut folder = folder;
        while folder != ROOT {
            let name = &self.names[self.things[folder as usize].name as usize];
            names.push(self.text(name.span()));
            folder = name.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Where a symbolic link in `folder` leads, if that is a folder of this layer.
    fn follow(&mut self, folder: u32, target: Span, hops: &mut u32, entry: &[u8]) -> Result<Option<u32>, LayerError> {
        let mut folder = folder;
        // What is still to be walked, the nearest last.
        let mut todo = Vec::new();
        let mut link = Some(target);
        loop {
            if let Some(target) = link.take() {
                *hops += 1;
                if *hops > HOPS_MAX {
                    return Err(LayerError::entry(entry, "lies below symbolic links that lead in circles"));
                }
                if self.text(target).starts_with(b"/") {
                    folder = ROOT;
                }
                todo.push(target);
            }
            let Some(rest) = todo.pop() else { return Ok(Some(folder)) };
            let text = self.text(rest);
            let length = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
            let part = Span { at: rest.at, len: narrow(length).unwrap_or(rest.len) };
            if part.len < rest.len {
                todo.push(Span { at: rest.at + part.len + 1, len: rest.len - part.len - 1 });
            }
            self.steps += 1;
            if self.steps > FOLLOW_STEPS_MAX {
                return Err(LayerError::Limit { limit: format!("{FOLLOW_STEPS_MAX} steps through symbolic links") });
            }
            match self.text(part) {
                b"" | b"." => continue,
                b".." => {
                    folder = self.above(folder);
                    continue;
                }
                _ => {}
            }
            let Some(found) = self.look(folder, self.text(part)).filter(|found| found.thing != NOTHING) else {
                return Ok(None);
            };
            let thing = found.thing;
            let what = self.what(thing);
            if let LayerWhat::Symlink { target } = what {
                link = Some(target);
            } else if what.is_directory() {
                folder = thing;
            } else {
                return Ok(None);
            }
        }
    }
}

impl Name {
    pub(super) fn span(&self) -> Span {
        Span { at: self.at, len: u32::from(self.length) }
    }
}

fn implicit_directory() -> LayerWhat {
    LayerWhat::Directory { described: false, opaque: false }
}

fn implicit_attributes() -> Attributes {
    Attributes { mode: IMPLICIT_MODE, ..Attributes::default() }
}

/// The parts of a cleaned path, each with the place where it ends.
fn parts(path: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).map(move |part| {
        let end = start + part.len();
        start = end + 1;
        (end, part)
    })
}

fn narrow(number: usize) -> Option<u32> {
    u32::try_from(number).ok()
}

fn too_many() -> LayerError {
    LayerError::Limit { limit: "4 billion names".to_owned() }
}
