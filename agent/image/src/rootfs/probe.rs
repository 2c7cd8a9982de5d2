//! What this host can do: found out by doing it, with a tiny image in the store's own folder, because kernel versions, configurations
//! and file systems promise too little. Takes a few milliseconds, at the opening of a store. The image stays there: a full disk must
//! not keep a store from being opened.

use super::{Backing, attach};
use crate::erofs;
use crate::error::StoreError;
use crate::store::{FormatChoice, disk};
use crate::tree::{DirEntry, Inode, MergedTree, Span, What};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// How the image's files lie in their archive: not one at the beginning of a page, as in archives.
const FILES: [(&[u8; 1], u64, u64); 2] = [(b"a", 512, 9000), (b"b", 10_240, 300)];
const ARCHIVE_BYTES: u64 = 12_288;
/// `OVERLAYFS_SUPER_MAGIC` of `linux/magic.h`.
const OVERLAYFS: u64 = 0x794c_7630;

/// What a host can do for images, and why not more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Of the kernel.
    pub kernel: String,
    /// What images are mounted from; `None`: layers are unpacked into directories.
    pub backing: Option<Backing>,
    /// Whether contents are read around the page cache of the archives, so that memory holds them once.
    pub direct_io: bool,
    /// What is missing for the best way. Empty: nothing.
    pub shortcomings: Vec<Shortcoming>,
}

/// Something that a host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortcoming {
    /// What, and what would help.
    pub problem: String,
    /// What is lost by it.
    pub cost: &'static str,
}

const COST_OF_DIRECTORIES: &str =
    "every file of an image is created on the disk: pulls take several times longer, and so does removing images";
const COST_OF_LOOP: &str = "each image that is in use takes a loop device for each of its layers";
const COST_OF_CACHING_TWICE: &str = "the kernel may hold what containers read of their images in memory twice";

/// Tries the ways from the best to the last. `dir` is the store's folder.
pub(crate) fn probe(dir: &Path, choice: FormatChoice) -> Host {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut host = Host { kernel, backing: None, direct_io: false, shortcomings: Vec::new() };
    let mut lacks = |problem: String, cost| host.shortcomings.push(Shortcoming { problem, cost });
    if choice == FormatChoice::Directories {
        lacks("format = \"directories\" is set".to_owned(), COST_OF_DIRECTORIES);
        return host;
    }
    if rustix::fs::statfs(dir).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(OVERLAYFS)) {
        lacks("the images lie on an overlay file system; give them one of their own".to_owned(), COST_OF_DIRECTORIES);
        return host;
    }
    let trial = match Trial::new(dir) {
        Ok(trial) => trial,
        Err(error) => {
            // Most likely the disk is full. What is here already was mounted by the same host before.
            lacks(format!("what this host can do was not tried: {}", coord_registry::chain(&error)), COST_OF_CACHING_TWICE);
            host.backing = Some(if choice == FormatChoice::Loop { Backing::Loop } else { Backing::File });
            return host;
        }
    };
    if choice == FormatChoice::Auto {
        if trial.can_read_directly() && trial.run(Backing::File, true).is_ok() {
            (host.backing, host.direct_io) = (Some(Backing::File), true);
            return host;
        }
        match trial.run(Backing::File, false) {
            Ok(()) => {
                let problem = "reading around the page cache takes Linux 6.13 or a later 6.12, and a disk with blocks of 512 bytes";
                lacks(problem.to_owned(), COST_OF_CACHING_TWICE);
                host.backing = Some(Backing::File);
                return host;
            }
            Err(error) => lacks(why_not_files(&error), COST_OF_LOOP),
        }
    } else {
        lacks("format = \"loop\" is set".to_owned(), COST_OF_LOOP);
    }
    match trial.run(Backing::Loop, false) {
        Ok(()) => host.backing = Some(Backing::Loop),
        Err(error) => lacks(why_not_loop(&error), COST_OF_DIRECTORIES),
    }
    host
}

fn why_not_files(error: &io::Error) -> String {
    let needed = "Linux 6.12 or later with CONFIG_EROFS_FS_BACKED_BY_FILE, and a file system other than tmpfs";
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NODEV) => "the kernel has no EROFS; load the module erofs, or take a kernel that has it".to_owned(),
        Some(Errno::PERM | Errno::ACCESS) => "mounting is not permitted here; run as root with CAP_SYS_ADMIN".to_owned(),
        Some(Errno::NOTBLK) => format!("EROFS cannot be mounted from files here; that takes {needed}"),
        _ => format!("EROFS cannot be mounted from files here ({error}); that takes {needed}"),
    }
}

fn why_not_loop(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NODEV) => "the kernel has no EROFS; load the module erofs, or take a kernel that has it".to_owned(),
        Some(Errno::PERM | Errno::ACCESS) => "mounting is not permitted here; run as root with CAP_SYS_ADMIN".to_owned(),
        Some(Errno::NOENT | Errno::NXIO) => "there are no loop devices here; load the module loop".to_owned(),
        _ => format!("EROFS cannot be mounted from loop devices here ({error}); that takes Linux 6.4 or a later 6.1"),
    }
}

/// The tiny image: `trial/meta`, and `trial/tar` with the contents.
struct Trial {
    dir: PathBuf,
    archive: Vec<u8>,
}

impl Trial {
    fn new(store: &Path) -> Result<Trial, StoreError> {
        let archive = (0..ARCHIVE_BYTES).map(|at| (at ^ (at / 7)).to_le_bytes()[0]).collect();
        let trial = Trial { dir: store.join("trial"), archive };
        let mut image = Vec::new();
        let written = erofs::write(&tree(), &[ARCHIVE_BYTES], &mut image);
        written.map_err(|error| StoreError::io("write", trial.meta(), error))?;
        let is_as_it_was = |path, bytes: &[u8]| std::fs::read(path).is_ok_and(|there| there == bytes);
        if is_as_it_was(trial.device(), &trial.archive) && is_as_it_was(trial.meta(), &image) {
            return Ok(trial);
        }
        disk::remove(&trial.dir)?;
        disk::create_dir(&trial.dir, disk::PRIVATE)?;
        disk::write_file(&trial.device(), &trial.archive)?;
        disk::write_file(&trial.meta(), &image)?;
        Ok(trial)
    }

    fn meta(&self) -> PathBuf {
        self.dir.join("meta")
    }

    fn device(&self) -> PathBuf {
        self.dir.join("tar")
    }

    /// Whether the file system says that files can be read around the page cache, at every multiple of 512.
    fn can_read_directly(&self) -> bool {
        let asked = rustix::fs::statx(CWD, self.device(), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::DIOALIGN);
        asked.is_ok_and(|stat| {
            let fits = |align: u32| (1..=512).contains(&align);
            stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0 && fits(stat.stx_dio_mem_align) && fits(stat.stx_dio_offset_align)
        })
    }

    /// Mounts the image and reads it. Wrong bytes are an error, too.
    fn run(&self, backing: Backing, direct_io: bool) -> io::Result<()> {
        let mounted = attach::erofs(&self.meta(), &[self.device()], backing, direct_io)?;
        for (name, offset, size) in FILES {
            let file = rustix::fs::openat(mounted.root(), &name[..], OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            let mut content = Vec::new();
            File::from(file).read_to_end(&mut content)?;
            let (from, to) = (usize::try_from(offset), usize::try_from(offset + size));
            let (Ok(from), Ok(to)) = (from, to) else { return Err(io::ErrorKind::OutOfMemory.into()) };
            if self.archive.get(from..to) != Some(&content[..]) {
                return Err(io::Error::other("it reads back wrong"));
            }
        }
        Ok(())
    }
}

/// A root with two files in it.
fn tree() -> MergedTree {
    let inode =
        |links, what| Inode { mode: 0o755, uid: 0, gid: 0, links, mtime_s: 0, mtime_ns: 0, xattrs: Span::default(), what };
    let mut tree = MergedTree::default();
    tree.inodes.push(inode(2, What::Directory { entries: Span { at: 0, len: 2 }, parent: 0 }));
    for (number, (name, offset, size)) in (0..).zip(FILES) {
        tree.bytes.extend_from_slice(name);
        tree.entries.push(DirEntry { name: Span { at: number, len: 1 }, inode: number + 1 });
        tree.inodes.push(inode(1, What::File { size, device: 0, offset }));
    }
    tree
}
