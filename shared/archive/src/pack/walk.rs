//! Finding files below a folder that is opened once: every step by file descriptor, no symbolic link followed. Whoever works in the folder
//! meanwhile may change what is found, but not where it is.

use super::{PackError, PackLimits};
use crate::Pattern;
use crate::pattern::State;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, open, openat, readlinkat, statat};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What is opened is a folder, and nothing that stands for one.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Not waiting for anybody, should a file have become a named pipe.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// The folder.
pub(super) struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Relative to the root; empty for the root itself.
    pub(super) path: Vec<u8>,
    pub(super) what: What,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Directory,
    File {
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    Symlink {
        target: Vec<u8>,
    },
}

type Visit<'a> = dyn FnMut(Found) -> Result<(), PackError> + 'a;

impl Root {
    pub(super) fn open(path: &Path) -> Result<Root, PackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|source| fail("open", path.as_os_str().as_encoded_bytes(), source))?;
        Ok(Root { path: path.to_owned(), fd })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `visit` for all that the pattern covers and nothing excludes.
    pub(super) fn walk(
        &self,
        pattern: &Pattern,
        excluded: &[Pattern],
        limits: &PackLimits,
        visit: &mut Visit<'_>,
    ) -> Result<(), PackError> {
        let mut walk = Walk { pattern, excluded, depth_max: limits.depth_max, visit };
        let start = Standing { state: pattern.start(), excluded: excluded.iter().map(Pattern::start).collect() };
        let fd = openat(&self.fd, c".", FOLDER, Mode::empty()).map_err(|source| fail("open", b".", source))?;
        walk.folder(self, fd, &[], &start, false, 0)
    }

    /// A file that was found before, to be read.
    pub(super) fn file(&self, path: &[u8]) -> Result<File, PackError> {
        let (folder, name) = self.parent(path)?;
        let file = openat(&folder, name, FILE, Mode::empty()).map_err(|source| fail("open", path, source))?;
        Ok(File::from(file))
    }

    fn parent(&self, path: &[u8]) -> Result<(OwnedFd, CString), PackError> {
        let mut fd = openat(&self.fd, c".", FOLDER, Mode::empty()).map_err(|source| fail("open", b".", source))?;
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        while let Some(part) = parts.next() {
            let name = CString::new(part).map_err(|_| fail("open", path, Errno::INVAL))?;
            if parts.peek().is_none() {
                return Ok((fd, name));
            }
            fd = openat(&fd, name, FOLDER, Mode::empty()).map_err(|source| fail("open", path, source))?;
        }
        Err(fail("open", path, Errno::INVAL))
    }
}

/// Where the walk stands in each pattern.
struct Standing {
    state: State,
    excluded: Vec<State>,
}

struct Walk<'a, 'v> {
    pattern: &'a Pattern,
    excluded: &'a [Pattern],
    depth_max: usize,
    visit: &'a mut Visit<'v>,
}

impl Walk<'_, '_> {
    /// A folder, with all that is below it if it is `covered`.
    fn folder(
        &mut self,
        root: &Root,
        fd: OwnedFd,
        path: &[u8],
        standing: &Standing,
        covered: bool,
        depth: usize,
    ) -> Result<(), PackError> {
        let covered = covered || self.pattern.is_match(standing.state);
        if covered {
            (self.visit)(Found { path: path.to_vec(), what: What::Directory })?;
        }
        if depth >= self.depth_max {
            return Err(PackError::Limit { limit: format!("{} folders within folders", self.depth_max) });
        }
        for name in names(&fd, path)? {
            let next = Standing {
                state: self.pattern.step(standing.state, name.as_bytes()),
                excluded: std::iter::zip(self.excluded, &standing.excluded)
                    .map(|(pattern, state)| pattern.step(*state, name.as_bytes()))
                    .collect(),
            };
            let is_excluded = std::iter::zip(self.excluded, &next.excluded).any(|(pattern, state)| pattern.is_match(*state));
            if is_excluded || !(covered || next.state.is_alive()) {
                continue;
            }
            let separator = if path.is_empty() { &b""[..] } else { b"/" };
            let path = [path, separator, name.as_bytes()].concat();
            self.entry(root, &fd, &name, &path, &next, covered, depth)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "where it is, under which name, and where the walk stands there")]
    fn entry(
        &mut self,
        root: &Root,
        folder: &OwnedFd,
        name: &CString,
        path: &[u8],
        standing: &Standing,
        covered: bool,
        depth: usize,
    ) -> Result<(), PackError> {
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            // It was there a moment ago: a build that is not over. What is missing from a named path is told as "matches nothing".
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(|source| fail("look at", path, source))?,
        };
        let is_wanted = covered || self.pattern.is_match(standing.state);
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let fd = openat(folder, name, FOLDER, Mode::empty()).map_err(|source| fail("open", path, source))?;
                return self.folder(root, fd, path, standing, covered, depth + 1);
            }
            FileType::Symlink if is_wanted => {
                let target = readlinkat(folder, name, Vec::new()).map_err(|source| fail("read", path, source))?;
                What::Symlink { target: target.into_bytes() }
            }
            FileType::Symlink if self.is_on_the_way(path) => {
                let (pattern, path) = (self.pattern.to_string(), String::from_utf8_lossy(path).into_owned());
                return Err(PackError::ThroughLink { pattern, path, root: root.path.clone() });
            }
            _ if !is_wanted => return Ok(()),
            FileType::RegularFile => {
                What::File { size: u64::try_from(stat.st_size).unwrap_or(0), executable: stat.st_mode & 0o100 != 0 }
            }
            FileType::Fifo => return Err(special(path, "named pipe")),
            FileType::Socket => return Err(special(path, "socket")),
            FileType::CharacterDevice | FileType::BlockDevice => return Err(special(path, "device")),
            FileType::Symlink | FileType::Unknown => return Err(special(path, "file of a kind that nobody knows")),
        };
        (self.visit)(Found { path: path.to_vec(), what })
    }

    /// Whether the pattern names this very path on the way to something below.
    fn is_on_the_way(&self, path: &[u8]) -> bool {
        let named: Vec<&[u8]> = self.pattern.literals().collect();
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        named.starts_with(&parts)
    }
}

/// All names in a folder but `.` and `..`, sorted, so that errors do not depend on the disk either.
fn names(folder: &OwnedFd, path: &[u8]) -> Result<Vec<CString>, PackError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(|source| fail("list", path, source))? {
        let entry = entry.map_err(|source| fail("list", path, source))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The size of an open file, and whether its owner may execute it; none if it is no file any more.
pub(super) fn look(file: &impl AsFd) -> Option<(u64, bool)> {
    let stat = fstat(file).ok()?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    is_file.then(|| (u64::try_from(stat.st_size).unwrap_or(0), stat.st_mode & 0o100 != 0))
}

fn special(path: &[u8], kind: &'static str) -> PackError {
    PackError::Special { path: String::from_utf8_lossy(path).into_owned(), kind }
}

pub(super) fn fail(operation: &'static str, path: &[u8], source: impl Into<std::io::Error>) -> PackError {
    let path = if path.is_empty() { ".".to_owned() } else { String::from_utf8_lossy(path).into_owned() };
    PackError::Read { operation, path, source: source.into() }
}
