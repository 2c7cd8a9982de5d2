//! Packing a folder into a tar archive, as a stream: nothing but a piece of a file is ever in memory.
//!
//! Every step goes by file descriptor and follows no symbolic link: whoever works in the folder meanwhile may change what is found, but not
//! where. What is no file, folder or link is passed over, and told. Deliberately absent: compression (the archive goes through a Unix
//! socket), hard links (a second name is a second file), extended attributes.

use bytes::Bytes;
use coord_tar::{END_BYTES, Entry, Kind, Limits, padding, write_header};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, readlinkat, statat};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use tokio::sync::mpsc;

/// What is sent at a time.
const PIECE_BYTES: usize = 128 * 1024;
/// What is opened is a folder, and nothing that stands for one.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Not waiting for anybody, should a file have become a named pipe.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Why nothing whole was packed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// Something cannot be read.
    #[error("cannot {operation} {path}")]
    Read {
        /// What was tried.
        operation: &'static str,
        /// Below the folder.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Somebody writes to it.
    #[error("{path} became shorter while it was read; put the files when nobody writes to them any more")]
    Shrunk {
        /// Below the folder.
        path: String,
    },
    /// Nobody means that.
    #[error("{path} has more than {max} folders above it")]
    TooDeep {
        /// Below the folder.
        path: String,
        /// How many there may be.
        max: usize,
    },
    /// A name or a target that a tar archive cannot have.
    #[error("{path} cannot be written down")]
    Header {
        /// Below the folder.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Whoever takes the archive has stopped, and says why.
    #[error("nobody takes the archive any more")]
    Gone,
}

/// Packs what is in the folder into `out`, to its end; after an error the stream ends with one, too. Blocks: for a thread of its own.
/// Returns what was passed over: paths, and what they are.
///
/// # Errors
/// Something cannot be read or changes meanwhile.
pub(crate) fn pack(folder: &Path, out: mpsc::Sender<io::Result<Bytes>>) -> Result<Vec<String>, PackError> {
    let mut packer = Packer { out: Pieces { out, pending: Vec::with_capacity(PIECE_BYTES) }, passed_over: Vec::new() };
    match packer.all(folder) {
        Ok(()) => Ok(packer.passed_over),
        Err(error) => {
            // What has arrived is not to be taken for all.
            let _ = packer.out.out.blocking_send(Err(io::Error::other(error.to_string())));
            Err(error)
        }
    }
}

/// The same for one file, which is called `name` in the archive.
///
/// # Errors
/// As above.
pub(crate) fn pack_file(file: File, name: &str, out: mpsc::Sender<io::Result<Bytes>>) -> Result<Vec<String>, PackError> {
    let mut packer = Packer { out: Pieces { out, pending: Vec::with_capacity(PIECE_BYTES) }, passed_over: Vec::new() };
    match packer.content(file, name.as_bytes()).and_then(|()| packer.end()) {
        Ok(()) => Ok(Vec::new()),
        Err(error) => {
            let _ = packer.out.out.blocking_send(Err(io::Error::other(error.to_string())));
            Err(error)
        }
    }
}

struct Packer {
    out: Pieces,
    passed_over: Vec<String>,
}

impl Packer {
    fn all(&mut self, folder: &Path) -> Result<(), PackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = open(folder, flags, Mode::empty()).map_err(|e| fail("open", folder.as_os_str().as_encoded_bytes(), e))?;
        self.folder(fd, &[], 0)?;
        self.end()
    }

    fn end(&mut self) -> Result<(), PackError> {
        self.write(&[0; END_BYTES])?;
        self.out.flush().map_err(|_| PackError::Gone)
    }

    fn folder(&mut self, fd: OwnedFd, path: &[u8], depth: usize) -> Result<(), PackError> {
        let max = Limits::default().depth_max;
        if depth >= max {
            return Err(PackError::TooDeep { path: shown(path), max });
        }
        for name in names(&fd, path)? {
            let separator = if path.is_empty() { &b""[..] } else { b"/" };
            let path = [path, separator, name.as_bytes()].concat();
            let stat = match statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                // It was there a moment ago, and might have been gone a moment earlier.
                Err(Errno::NOENT) => continue,
                other => other.map_err(|e| fail("look at", &path, e))?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let below = openat(&fd, &name, FOLDER, Mode::empty()).map_err(|e| fail("open", &path, e))?;
                    self.header(&path, &stat, Kind::Directory, 0, Vec::new())?;
                    self.folder(below, &path, depth + 1)?;
                }
                FileType::RegularFile => self.file(&fd, &name, &path)?,
                FileType::Symlink => {
                    let target = readlinkat(&fd, &name, Vec::new()).map_err(|e| fail("read", &path, e))?;
                    self.header(&path, &stat, Kind::Symlink, 0, target.into_bytes())?;
                }
                FileType::Fifo => self.pass_over(&path, "named pipe"),
                FileType::Socket => self.pass_over(&path, "socket"),
                FileType::CharacterDevice | FileType::BlockDevice => self.pass_over(&path, "device"),
                FileType::Unknown => self.pass_over(&path, "file of an unknown kind"),
            }
        }
        Ok(())
    }

    fn file(&mut self, folder: &OwnedFd, name: &CString, path: &[u8]) -> Result<(), PackError> {
        let fd = openat(folder, name, FILE, Mode::empty()).map_err(|e| fail("open", path, e))?;
        self.content(File::from(fd), path)
    }

    /// A file: as many bytes as it has now, whatever is written to it afterwards.
    fn content(&mut self, file: File, path: &[u8]) -> Result<(), PackError> {
        let stat = fstat(&file).map_err(|e| fail("look at", path, e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(fail("read", path, Errno::STALE));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.header(path, &stat, Kind::File, size, Vec::new())?;
        let mut content = file.take(size);
        let mut left = size;
        while left > 0 {
            let read = self.out.fill(&mut content).map_err(|source| match source {
                FillError::Gone => PackError::Gone,
                FillError::Read(source) => PackError::Read { operation: "read", path: shown(path), source },
            })?;
            if read == 0 {
                return Err(PackError::Shrunk { path: shown(path) });
            }
            left -= read as u64;
        }
        self.write(&[0; 512][..padding(size)])
    }

    fn header(&mut self, path: &[u8], stat: &Stat, kind: Kind, size: u64, link: Vec<u8>) -> Result<(), PackError> {
        let mode = u16::try_from(stat.st_mode & 0o7777).unwrap_or(0);
        let (uid, gid) = (stat.st_uid, stat.st_gid);
        let entry = Entry { path: path.to_vec(), kind, mode, uid, gid, size, link, mtime_s: stat.st_mtime, ..Entry::default() };
        write_header(&mut self.out, &entry).map_err(|source| {
            if source.kind() == io::ErrorKind::BrokenPipe {
                return PackError::Gone;
            }
            PackError::Header { path: shown(path), source }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.out.write_all(bytes).map_err(|_| PackError::Gone)
    }

    fn pass_over(&mut self, path: &[u8], what: &str) {
        self.passed_over.push(format!("{}, a {what}", shown(path)));
    }
}

/// Cuts what is written into pieces.
struct Pieces {
    out: mpsc::Sender<io::Result<Bytes>>,
    pending: Vec<u8>,
}

enum FillError {
    Gone,
    Read(io::Error),
}

impl Pieces {
    /// Reads into the piece that is being filled.
    fn fill(&mut self, from: &mut impl io::Read) -> Result<usize, FillError> {
        let room = PIECE_BYTES - self.pending.len();
        let read = loop {
            match from.by_ref().take(room as u64).read_to_end(&mut self.pending) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(FillError::Read)?,
            }
        };
        if self.pending.len() >= PIECE_BYTES {
            self.flush().map_err(|_| FillError::Gone)?;
        }
        Ok(read)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        if self.pending.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.pending, Vec::with_capacity(PIECE_BYTES));
        self.out.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// All names in a folder but `.` and `..`, sorted: the same folder makes the same archive.
fn names(folder: &OwnedFd, path: &[u8]) -> Result<Vec<CString>, PackError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(|e| fail("list", path, e))? {
        let entry = entry.map_err(|e| fail("list", path, e))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn shown(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { String::from_utf8_lossy(path).into_owned() }
}

fn fail(operation: &'static str, path: &[u8], error: Errno) -> PackError {
    PackError::Read { operation, path: shown(path), source: error.into() }
}

#[cfg(test)]
mod tests;
