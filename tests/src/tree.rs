//! A folder's content as facts, and where two of them differ: for comparing what two programs made of one image.
//!
//! Everything that a program in a container could see: kind, mode, owner, size, content, link target, extended
//! attributes, device number, time of change, and which names are the same file. Two exceptions: a folder's size and
//! link count are the file system's own business, and so is a symbolic link's mode.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

/// Content is read in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;
/// Attributes of a file, names and each value: what Linux itself allows (xattr(7)).
const XATTR_BYTES_MAX: usize = 64 * 1024;

/// What is at one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub kind: &'static str,
    pub mode: u32,
    pub owner: (u32, u32),
    pub size: u64,
    /// SHA-256 of a file's content, target of a link.
    pub content: Vec<u8>,
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
    pub device: u64,
    pub time: (i64, i64),
    /// How many names the file has, and the first of them.
    pub names: (u64, PathBuf),
}

/// Facts by path, the folder itself under the empty one.
pub type Tree = BTreeMap<PathBuf, Facts>;

/// Reads all of a folder; other file systems that are mounted below it, too.
pub fn read(root: &Path) -> Result<Tree> {
    let mut reader = Reader { root, tree: Tree::new(), first: HashMap::new() };
    reader.add(PathBuf::new())?;
    Ok(reader.tree)
}

struct Reader<'a> {
    root: &'a Path,
    tree: Tree,
    /// The first name of each file with several, in the order of paths.
    first: HashMap<(u64, u64), PathBuf>,
}

impl Reader<'_> {
    fn add(&mut self, path: PathBuf) -> Result<()> {
        let full = if path.as_os_str().is_empty() { self.root.to_owned() } else { self.root.join(&path) };
        let facts = self.facts(&path, &full).with_context(|| format!("look at {}", full.display()))?;
        let is_dir = facts.kind == "folder";
        self.tree.insert(path.clone(), facts);
        if is_dir {
            let mut names: Vec<OsString> = Vec::new();
            for entry in fs::read_dir(&full).with_context(|| format!("list {}", full.display()))? {
                names.push(entry?.file_name());
            }
            names.sort();
            names.into_iter().try_for_each(|name| self.add(path.join(name)))?;
        }
        Ok(())
    }

    fn facts(&mut self, path: &Path, full: &Path) -> Result<Facts> {
        let meta = fs::symlink_metadata(full)?;
        let kind = meta.file_type();
        let (kind, content) = if kind.is_dir() {
            ("folder", Vec::new())
        } else if kind.is_symlink() {
            ("symlink", fs::read_link(full)?.as_os_str().as_bytes().to_vec())
        } else if kind.is_file() {
            ("file", hash(full)?)
        } else if kind.is_fifo() {
            ("fifo", Vec::new())
        } else if kind.is_char_device() {
            ("character device", Vec::new())
        } else if kind.is_block_device() {
            ("block device", Vec::new())
        } else {
            ("something else", Vec::new())
        };
        let names = match kind {
            "folder" => (1, PathBuf::new()),
            _ => (meta.nlink(), self.first.entry((meta.dev(), meta.ino())).or_insert_with(|| path.to_owned()).clone()),
        };
        Ok(Facts {
            kind,
            mode: if kind == "symlink" { 0 } else { meta.mode() & 0o7777 },
            owner: (meta.uid(), meta.gid()),
            size: if kind == "folder" { 0 } else { meta.size() },
            content,
            xattrs: xattrs(full)?,
            device: if kind.ends_with("device") { meta.rdev() } else { 0 },
            time: (meta.mtime(), meta.mtime_nsec()),
            names,
        })
    }
}

fn hash(path: &Path) -> Result<Vec<u8>> {
    let (mut file, mut hasher, mut piece) = (fs::File::open(path)?, Sha256::new(), vec![0; PIECE_BYTES]);
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(hasher.finalize().to_vec());
        }
        hasher.update(&piece[..length]);
    }
}

fn xattrs(path: &Path) -> Result<BTreeMap<OsString, Vec<u8>>> {
    let (mut names, mut found) = (vec![0_u8; XATTR_BYTES_MAX], BTreeMap::new());
    let length = rustix::fs::llistxattr(path, &mut names)?;
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = std::ffi::OsStr::from_bytes(name);
        let mut value = vec![0_u8; XATTR_BYTES_MAX];
        let length = rustix::fs::lgetxattr(path, name, &mut value)?;
        value.truncate(length);
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}

/// One path at which two trees are not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub path: PathBuf,
    /// Which fact; `presence` when one has nothing there.
    pub what: &'static str,
    detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}: {}: {}", self.path.display(), self.what, self.detail)
    }
}

/// Every fact in which the trees differ, in the order of paths.
pub fn differences(left: &Tree, right: &Tree) -> Vec<Difference> {
    let mut found = Vec::new();
    let paths: std::collections::BTreeSet<&PathBuf> = left.keys().chain(right.keys()).collect();
    for path in paths {
        let mut differ = |what, detail: String| found.push(Difference { path: path.clone(), what, detail });
        match (left.get(path), right.get(path)) {
            (Some(a), Some(b)) => compare(a, b, &mut differ),
            (a, b) => {
                let show = |facts: Option<&Facts>| facts.map_or("nothing", |facts| facts.kind);
                differ("presence", format!("{} against {}", show(a), show(b)));
            }
        }
    }
    found
}

fn compare(a: &Facts, b: &Facts, differ: &mut impl FnMut(&'static str, String)) {
    let mut check = |what, same: bool, detail: String| {
        if !same {
            differ(what, detail);
        }
    };
    check("kind", a.kind == b.kind, format!("{} against {}", a.kind, b.kind));
    check("mode", a.mode == b.mode, format!("{:o} against {:o}", a.mode, b.mode));
    check("owner", a.owner == b.owner, format!("{:?} against {:?}", a.owner, b.owner));
    check("size", a.size == b.size, format!("{} against {}", a.size, b.size));
    check("content", a.content == b.content, "another file content or link target".to_owned());
    check("xattrs", a.xattrs == b.xattrs, format!("{:?} against {:?}", a.xattrs, b.xattrs));
    check("device", a.device == b.device, format!("{:x} against {:x}", a.device, b.device));
    check("time", a.time == b.time, format!("{:?} against {:?}", a.time, b.time));
    check("names", a.names == b.names, format!("{:?} against {:?}", a.names, b.names));
}
