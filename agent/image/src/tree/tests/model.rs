//! Reading and merging against a model that does the same in the plainest way: a map from paths to what is there.
//!
//! Layers are made up at random from a few names, so that entries meet: duplicates, links among parents, whiteouts before and after.
//! An entry that the model refuses must be refused by the reader; it is left out, and the layer goes on.

use super::{Read, merged, merged_listing, read};
use crate::Limits;
use crate::tests::tarball::Tarball;
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 2000;
const NAMES: [&str; 3] = ["a", "b", "c"];
const TARGETS: [&str; 9] = ["a", "b", "/a", "../b", "..", ".", "/a/b", "b/c", "c/../a"];
const HOPS_MAX: u32 = 40;

/// What the archive is given.
#[derive(Debug, Clone)]
enum Action {
    Directory(u32),
    File,
    Fifo,
    Symlink(&'static str),
    HardLink(String),
    Whiteout,
    Opaque,
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Directory {
        described: bool,
        mode: u32,
    },
    /// Names of one number are hard links of each other.
    Leaf {
        id: usize,
        what: Leaf,
    },
    Below(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Leaf {
    File,
    Fifo,
    Symlink(&'static str),
}

/// One layer by paths; the root is "".
#[derive(Debug, Clone, Default)]
struct Layer {
    items: BTreeMap<String, Item>,
    hides: BTreeSet<String>,
    opaque: BTreeSet<String>,
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

fn is_below(path: &str, folder: &str) -> bool {
    path != folder && (folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
}

impl Layer {
    fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || matches!(self.items.get(path), Some(Item::Directory { .. }))
    }

    fn follow(&self, from: &str, target: &str, hops: &mut u32) -> Option<String> {
        *hops += 1;
        let mut current = if target.starts_with('/') { String::new() } else { from.to_owned() };
        for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
            let next = join(&current, part);
            current = match self.items.get(&next) {
                _ if part == ".." => above(&current).to_owned(),
                Some(Item::Directory { .. }) => next,
                Some(Item::Leaf { what: Leaf::Symlink(target), .. }) if *hops < HOPS_MAX => {
                    self.follow(&current, target, hops)?
                }
                _ => return None,
            };
        }
        Some(current)
    }

    fn parent(&mut self, path: &str) -> Option<String> {
        let mut current = String::new();
        let mut hops = 0;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let next = join(&current, part);
            current = match self.items.get(&next).cloned() {
                Some(Item::Directory { .. }) => next,
                Some(Item::Leaf { what: Leaf::Symlink(target), .. }) => self.follow(&current, target, &mut hops)?,
                Some(_) => return None,
                None => {
                    self.items.insert(next.clone(), Item::Directory { described: false, mode: 0o755 });
                    next
                }
            };
        }
        Some(current)
    }

    fn is_hidden(&self, path: &str) -> bool {
        let mut path = path;
        loop {
            if self.opaque.contains(path) || self.hides.contains(path) {
                return true;
            }
            if path.is_empty() {
                return false;
            }
            path = above(path);
        }
    }

    fn target(&self, path: &str) -> Option<Item> {
        let mut current = String::new();
        let mut hops = 0;
        let parts: Vec<&str> = path.split('/').collect();
        for (number, part) in parts.iter().enumerate() {
            let next = join(&current, part);
            let is_last = number + 1 == parts.len();
            current = match self.items.get(&next) {
                None if self.hides.contains(&next) || self.is_hidden(&current) => return None,
                None => return Some(Item::Below(join(&current, &parts[number..].join("/")))),
                Some(Item::Directory { .. }) if is_last => return None,
                Some(item) if is_last => return Some(item.clone()),
                Some(Item::Directory { .. }) => next,
                Some(Item::Leaf { what: Leaf::Symlink(target), .. }) => self.follow(&current, target, &mut hops)?,
                Some(_) => return None,
            };
        }
        None
    }

    fn put(&mut self, path: String, item: Item) {
        self.items.retain(|other, _| !is_below(other, &path));
        self.hides.retain(|other| !is_below(other, &path));
        self.opaque.retain(|other| *other != path && !is_below(other, &path));
        self.items.insert(path, item);
    }

    /// None: refused.
    fn apply(&mut self, path: &str, action: &Action, id: usize) -> Option<()> {
        let parent = self.parent(above(path))?;
        let here = join(&parent, path.rsplit('/').next().unwrap());
        match action {
            Action::Directory(mode) => {
                let item = Item::Directory { described: true, mode: *mode };
                if self.is_directory(&here) {
                    self.items.insert(here, item);
                } else {
                    self.put(here, item);
                }
            }
            Action::File => self.put(here, Item::Leaf { id, what: Leaf::File }),
            Action::Fifo => self.put(here, Item::Leaf { id, what: Leaf::Fifo }),
            Action::Symlink(target) => self.put(here, Item::Leaf { id, what: Leaf::Symlink(target) }),
            Action::HardLink(target) => {
                let item = self.target(target).filter(|_| target != path)?;
                self.put(here, item);
            }
            Action::Whiteout => drop(self.hides.insert(here)),
            Action::Opaque => drop(self.opaque.insert(parent)),
        }
        Some(())
    }

    /// A link to what is not there stays one: an error only if it is to be seen.
    fn over(&self, lower: &BTreeMap<String, Item>) -> BTreeMap<String, Item> {
        let mut merged = lower.clone();
        merged.retain(|path, _| {
            !self.hides.iter().any(|hidden| path == hidden || is_below(path, hidden))
                && !self.opaque.iter().any(|opaque| is_below(path, opaque))
        });
        for (path, item) in &self.items {
            match item {
                Item::Directory { described, mode } => {
                    let was = merged.get(path).cloned();
                    let is_new = !matches!(was, Some(Item::Directory { .. })) || self.opaque.contains(path);
                    if *described || is_new {
                        merged.insert(path.clone(), Item::Directory { described: true, mode: *mode });
                    }
                }
                Item::Leaf { .. } | Item::Below(_) => {
                    merged.retain(|other, _| !is_below(other, path));
                    let item = match item {
                        Item::Below(below) => lower.get(below).filter(|lower| matches!(lower, Item::Leaf { .. })).unwrap_or(item),
                        Item::Leaf { .. } | Item::Directory { .. } => item,
                    };
                    merged.insert(path.clone(), item.clone());
                }
            }
        }
        merged
    }
}

fn listing(merged: &BTreeMap<String, Item>) -> Vec<String> {
    let names = |id: usize| merged.values().filter(|item| matches!(item, Item::Leaf { id: other, .. } if *other == id)).count();
    let links = |id: usize| if names(id) > 1 { format!(" x{}", names(id)) } else { String::new() };
    let line = |(path, item): (&String, &Item)| match item {
        Item::Directory { mode, .. } => format!("d {mode:o} {path}"),
        Item::Leaf { id, what: Leaf::File } => format!("f 644 {path} \"{id}\"{}", links(*id)),
        Item::Leaf { id, what: Leaf::Fifo } => format!("p 600 {path}{}", links(*id)),
        Item::Leaf { id, what: Leaf::Symlink(target) } => format!("l {path} -> {target}{}", links(*id)),
        Item::Below(path) => panic!("{path} is resolved"),
    };
    merged.iter().map(line).collect()
}

fn random_path(random: &mut fastrand::Rng) -> String {
    let depth = random.usize(1..=3);
    (0..depth).map(|_| *random.choice(&NAMES).unwrap()).collect::<Vec<_>>().join("/")
}

fn random_action(random: &mut fastrand::Rng) -> Action {
    match random.u8(..12) {
        0..3 => Action::Directory(*random.choice(&[0o700, 0o711, 0o755]).unwrap()),
        3..6 => Action::File,
        6 => Action::Fifo,
        7 => Action::Symlink(random.choice(&TARGETS).unwrap()),
        8 | 9 => Action::HardLink(random_path(random)),
        10 => Action::Whiteout,
        _ => Action::Opaque,
    }
}

fn write(archive: Tarball, path: &str, action: &Action, id: usize) -> Tarball {
    let beside = |name: &str| join(above(path), name);
    match action {
        Action::Directory(mode) => archive.dir(path, *mode),
        Action::File => archive.file(path, &id.to_string()),
        Action::Fifo => archive.entry(path.as_bytes(), b'6', 0o600, b"", b""),
        Action::Symlink(target) => archive.symlink(path, target),
        Action::HardLink(target) => archive.hard_link(path, target),
        Action::Whiteout => archive.file(&beside(&format!(".wh.{}", path.rsplit('/').next().unwrap())), ""),
        Action::Opaque => archive.file(&beside(".wh..wh..opq"), ""),
    }
}

/// A layer of up to a dozen entries, in the model and as an archive.
fn random_layer(random: &mut fastrand::Rng, next_id: &mut usize) -> (Layer, Read, Vec<String>) {
    let mut layer = Layer::default();
    let mut archive = Tarball::new();
    let mut story = Vec::new();
    for _ in 0..random.usize(..14) {
        let (path, action) = (random_path(random), random_action(random));
        *next_id += 1;
        let before = layer.clone();
        let longer = write(archive.clone(), &path, &action, *next_id);
        if layer.apply(&path, &action, *next_id).is_some() {
            archive = longer;
            story.push(format!("{path}: {action:?}"));
        } else {
            layer = before;
            let accepted = read(&longer.finish(), &Limits::default()).is_ok();
            assert!(!accepted, "{path}: {action:?} after {story:#?} is accepted");
        }
    }
    let read = read(&archive.finish(), &Limits::default());
    (layer, read.unwrap_or_else(|error| panic!("{error} in {story:#?}")), story)
}

#[test]
fn layers_become_what_the_plainest_model_says() {
    let (mut refused, mut names) = (0, 0);
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model = BTreeMap::new();
        let (mut layers, mut stories, mut next_id) = (Vec::new(), Vec::new(), 0);
        for _ in 0..random.usize(1..5) {
            let (layer, read, story) = random_layer(&mut random, &mut next_id);
            model = layer.over(&model);
            layers.push(read);
            stories.push(story);
        }
        let tree = merged(&layers);
        let is_broken = model.values().any(|item| matches!(item, Item::Below(_)));
        match (is_broken, tree) {
            (false, Ok(tree)) => {
                let (found, expect) = (merged_listing(&tree, &layers), listing(&model));
                assert_eq!(found, expect, "seed {seed}: {stories:#?}");
                names += expect.len();
            }
            (true, Err(_)) => refused += 1,
            (_, tree) => panic!("seed {seed}: the model says {model:?}, the merge {tree:?}: {stories:#?}"),
        }
    }
    // A generator that makes nothing tries nothing.
    assert!(refused > 10 && names > 1000, "{refused} refused, {names} names");
}
