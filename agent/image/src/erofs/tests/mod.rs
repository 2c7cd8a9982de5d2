//! The image against the one who reads it: the kernel must show exactly the tree that was written.

mod generated;
mod refusals;
mod shapes;

use super::write;
use crate::rootfs::{Backing, attach};
use crate::tree::{DirEntry, Inode, MergedTree, Span, What};
use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Builds a tree by hand. Entries may be added in any order.
pub(crate) struct Garden {
    tree: MergedTree,
    folders: BTreeMap<u32, Vec<(Vec<u8>, u32)>>,
    parents: BTreeMap<u32, u32>,
    /// Contents of the devices.
    pub(crate) devices: Vec<Vec<u8>>,
}

impl Garden {
    pub(crate) fn new() -> Garden {
        let mut garden =
            Garden { tree: MergedTree::default(), folders: BTreeMap::new(), parents: BTreeMap::new(), devices: Vec::new() };
        garden.inode(What::Directory { entries: Span::default(), parent: 0 });
        garden.folders.insert(0, Vec::new());
        garden.parents.insert(0, 0);
        garden
    }

    fn inode(&mut self, what: What) -> u32 {
        let number = u32::try_from(self.tree.inodes.len()).unwrap();
        let mtime_s = 1_700_000_000 + i64::from(number);
        self.tree.inodes.push(Inode {
            mode: 0o644,
            uid: number,
            gid: 2 * number,
            links: 0,
            mtime_s,
            mtime_ns: number,
            xattrs: Span::default(),
            what,
        });
        number
    }

    fn pool(&mut self, bytes: &[u8]) -> Span {
        let at = u32::try_from(self.tree.bytes.len()).unwrap();
        self.tree.bytes.extend_from_slice(bytes);
        Span { at, len: u32::try_from(bytes.len()).unwrap() }
    }

    pub(crate) fn at(&mut self, number: u32) -> &mut Inode {
        &mut self.tree.inodes[number as usize]
    }

    /// One more name for an inode.
    pub(crate) fn name(&mut self, folder: u32, name: impl AsRef<[u8]>, inode: u32) {
        self.folders.get_mut(&folder).unwrap().push((name.as_ref().to_vec(), inode));
    }

    pub(crate) fn add(&mut self, folder: u32, name: impl AsRef<[u8]>, what: What) -> u32 {
        let number = self.inode(what);
        self.name(folder, name, number);
        number
    }

    pub(crate) fn folder(&mut self, folder: u32, name: impl AsRef<[u8]>) -> u32 {
        let number = self.add(folder, name, What::Directory { entries: Span::default(), parent: folder });
        self.folders.insert(number, Vec::new());
        self.parents.insert(number, folder);
        self.at(number).mode = 0o755;
        number
    }

    pub(crate) fn symlink(&mut self, folder: u32, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> u32 {
        let target = self.pool(target.as_ref());
        let number = self.add(folder, name, What::Symlink { target });
        self.at(number).mode = 0o777;
        number
    }

    /// A file whose content is put at the end of a device, at the next multiple of 512.
    pub(crate) fn file(&mut self, folder: u32, name: impl AsRef<[u8]>, device: u16, content: &[u8]) -> u32 {
        while self.devices.len() <= usize::from(device) {
            self.devices.push(b"what is before the first file".to_vec());
        }
        let bytes = &mut self.devices[usize::from(device)];
        bytes.resize(bytes.len().next_multiple_of(512), b'#');
        let offset = bytes.len() as u64;
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        self.add(folder, name, What::File { size: content.len() as u64, device, offset })
    }

    pub(crate) fn xattrs(&mut self, number: u32, list: &[(&str, &[u8])]) {
        let mut bytes = Vec::new();
        for (name, value) in list {
            bytes.push(u8::try_from(name.len()).unwrap());
            bytes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(value);
        }
        self.at(number).xattrs = self.pool(&bytes);
    }

    /// Sorted, linked, counted.
    pub(crate) fn grow(mut self) -> (MergedTree, Vec<Vec<u8>>) {
        for (folder, mut names) in std::mem::take(&mut self.folders) {
            names.sort();
            let at = u32::try_from(self.tree.entries.len()).unwrap();
            let mut subfolders = 0;
            for (name, inode) in &names {
                let name = self.pool(name);
                self.tree.entries.push(DirEntry { name, inode: *inode });
                let Some(inode) = self.tree.inodes.get_mut(*inode as usize) else { continue };
                let is_folder = matches!(inode.what, What::Directory { .. });
                subfolders += u32::from(is_folder);
                inode.links += u32::from(!is_folder);
            }
            let parent = self.parents[&folder];
            let entries = Span { at, len: u32::try_from(names.len()).unwrap() };
            self.at(folder).what = What::Directory { entries, parent };
            self.at(folder).links = 2 + subfolders;
        }
        (self.tree, self.devices)
    }
}

/// Everything that can be seen of one name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// With the type.
    mode: u32,
    owner: (u32, u32),
    links: u64,
    mtime: (i64, i64),
    /// Of files and links.
    size: u64,
    rdev: (u32, u32),
    target: Vec<u8>,
    content: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first name, in order, of the same inode.
    first_name: PathBuf,
}

/// What the tree says should be seen.
pub(crate) fn expected(tree: &MergedTree, devices: &[Vec<u8>]) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    let mut folders = vec![(PathBuf::from("/"), 0)];
    all.insert(PathBuf::from("/"), expected_inode(tree, devices, 0));
    let mut numbers = BTreeMap::from([(PathBuf::from("/"), 0)]);
    while let Some((path, folder)) = folders.pop() {
        let What::Directory { entries, .. } = tree.inodes[folder as usize].what else { unreachable!() };
        for entry in &tree.entries[entries.at as usize..][..entries.len as usize] {
            let name = &tree.bytes[entry.name.at as usize..][..entry.name.len as usize];
            let path = path.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
            all.insert(path.clone(), expected_inode(tree, devices, entry.inode));
            numbers.insert(path.clone(), entry.inode);
            if matches!(tree.inodes[entry.inode as usize].what, What::Directory { .. }) {
                folders.push((path, entry.inode));
            }
        }
    }
    let mut first_names = BTreeMap::new();
    for (path, seen) in &mut all {
        seen.first_name = first_names.entry(numbers[path]).or_insert_with(|| path.clone()).clone();
    }
    all
}

fn expected_inode(tree: &MergedTree, devices: &[Vec<u8>], number: u32) -> Seen {
    let inode = &tree.inodes[number as usize];
    let bytes = |span: Span| tree.bytes[span.at as usize..][..span.len as usize].to_vec();
    let mut seen = Seen {
        owner: (inode.uid, inode.gid),
        links: u64::from(inode.links),
        mtime: (inode.mtime_s, i64::from(inode.mtime_ns)),
        ..Seen::default()
    };
    let kind = match inode.what {
        What::Directory { .. } => 0o040_000,
        What::File { size, device, offset } => {
            seen.size = size;
            if size > 0 {
                let from = usize::try_from(offset).unwrap();
                seen.content = devices[usize::from(device)][from..][..usize::try_from(size).unwrap()].to_vec();
            }
            0o100_000
        }
        What::Symlink { target } => {
            seen.target = bytes(target);
            seen.size = u64::from(target.len);
            0o120_000
        }
        What::CharDevice { major, minor } => {
            seen.rdev = (major, minor);
            0o020_000
        }
        What::BlockDevice { major, minor } => {
            seen.rdev = (major, minor);
            0o060_000
        }
        What::Fifo => 0o010_000,
    };
    seen.mode = kind | u32::from(inode.mode);
    let list = bytes(inode.xattrs);
    let mut at = 0;
    while at < list.len() {
        let (name_len, value_len) = (usize::from(list[at]), usize::from(u16::from_le_bytes([list[at + 1], list[at + 2]])));
        let name = list[at + 3..][..name_len].to_vec();
        seen.xattrs.insert(name, list[at + 3 + name_len..][..value_len].to_vec());
        at += 3 + name_len + value_len;
    }
    seen
}

/// What the kernel shows below `root`.
pub(crate) fn observed(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let mut folders = vec![PathBuf::from("/")];
    let in_root = |path: &Path| root.join(path.strip_prefix("/").unwrap());
    let mut look = |path: &Path| {
        let real = in_root(path);
        let meta = std::fs::symlink_metadata(&real).unwrap();
        inodes.insert(path.to_owned(), meta.ino());
        let mut seen = Seen {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            links: meta.nlink(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            xattrs: xattrs_of(&real),
            ..Seen::default()
        };
        if meta.is_file() {
            seen.size = meta.size();
            seen.content = std::fs::read(&real).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        } else if meta.is_symlink() {
            seen.size = meta.size();
            seen.target = std::fs::read_link(&real).unwrap().into_os_string().into_encoded_bytes();
        } else if meta.file_type().is_char_device() || meta.file_type().is_block_device() {
            seen.rdev = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        }
        all.insert(path.to_owned(), seen);
    };
    look(Path::new("/"));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(in_root(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            look(&path);
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            }
        }
    }
    let mut first_names = BTreeMap::new();
    for (path, seen) in &mut all {
        seen.first_name = first_names.entry(inodes[path]).or_insert_with(|| path.clone()).clone();
    }
    all
}

fn xattrs_of(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut all = BTreeMap::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        all.insert(name.to_vec(), value[..len].to_vec());
    }
    all
}

/// The image and its devices as files.
pub(crate) struct Planted {
    pub(crate) meta: PathBuf,
    pub(crate) devices: Vec<PathBuf>,
}

pub(crate) fn plant(tree: &MergedTree, devices: &[Vec<u8>], dir: &Path) -> Planted {
    let meta = dir.join("meta");
    let sizes: Vec<u64> = devices.iter().map(|bytes| bytes.len() as u64).collect();
    let mut image = Vec::new();
    let written = write(tree, &sizes, &mut image).unwrap();
    assert_eq!(written, image.len() as u64);
    assert_eq!(written % 4096, 0);
    std::fs::File::create(&meta).unwrap().write_all_at(&image, 0).unwrap();
    let place = |(number, bytes): (usize, &Vec<u8>)| {
        let path = dir.join(number.to_string());
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let devices = devices.iter().enumerate().map(place).collect();
    Planted { meta, devices }
}

/// Writes the tree, mounts it, and compares every attribute of every name.
fn check(garden: Garden) {
    let (tree, devices) = garden.grow();
    check_tree(&tree, &devices);
}

fn check_tree(tree: &MergedTree, devices: &[Vec<u8>]) {
    let dir = tempfile::tempdir().unwrap();
    let planted = plant(tree, devices, dir.path());
    let mounted = attach::erofs(&planted.meta, &planted.devices, Backing::File, false).unwrap();
    let root = PathBuf::from(format!("/proc/self/fd/{}/", mounted.root().as_raw_fd()));
    let (expected, observed) = (expected(tree, devices), observed(&root));
    for (path, seen) in &expected {
        assert_eq!(observed.get(path), Some(seen), "{}", path.display());
    }
    let surplus: Vec<_> = observed.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(surplus.is_empty(), "{surplus:?}");
    for (path, _) in expected.iter().filter(|(_, seen)| seen.mode & 0o170_000 == 0o040_000) {
        let missing = root.join(path.strip_prefix("/").unwrap()).join("no such name");
        assert_eq!(std::fs::symlink_metadata(missing).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
}
