//! A copy of what the kernel shows as files: only what anybody may read, read by a thread that has no rights beyond that.
//!
//! The agent is root. What it reads in `/proc` or `/sys` can be what the kernel shows to nobody else, so its rights are put off first, and
//! what is not open to all is passed over, as are files that do not end.

use crate::{CacheError, Mounts, Seen, walk};
use coord_tar::{END_BYTES, Entry, Kind, padding, write_header};
use rustix::fs::Stat;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::fs::File;
use std::io::{self, PipeReader, Read, Write as _};
use std::os::fd::OwnedFd;

/// Largest file that is taken: those of the kernel have a page, and what has more has no end.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Permissions of all others, to read, and to enter.
const READ_BY_ALL: u32 = 0o004;
const ENTER_BY_ALL: u32 = 0o001;

/// A tar stream of the folder. It ends early, without an archive's end, when something goes wrong.
///
/// # Errors
/// When there is no pipe or no thread.
pub(crate) fn archive_of(folder: OwnedFd) -> io::Result<PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    std::thread::Builder::new().name("copy".to_owned()).spawn(move || {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        let copied = set_capabilities(None, none).map_err(io::Error::from).and_then(|()| write_archive(folder, &mut writer));
        if let Err(error) = copied {
            tracing::warn!(%error, "a folder of the kernel's was not copied");
            // No header begins so: whoever reads it refuses the archive as a whole.
            let _ = writer.write_all(b"broken");
        }
    })?;
    Ok(reader)
}

fn write_archive(folder: OwnedFd, to: &mut io::PipeWriter) -> io::Result<()> {
    let mut failed = None;
    let walked = walk(folder, Mounts::PassOver, &mut |path, seen| {
        let (written, goes_on) = match seen {
            Seen::Folder(stat) if is_open(&stat, READ_BY_ALL | ENTER_BY_ALL) => {
                (header(to, path, Kind::Directory, &stat, 0, b""), true)
            }
            Seen::Link(target, stat) => (header(to, path, Kind::Symlink, &stat, 0, &target), true),
            Seen::File(file, stat) if is_open(&stat, READ_BY_ALL) => (write_file(to, path, file, &stat), true),
            Seen::Folder(_) | Seen::File(..) | Seen::Special(_) => (Ok(()), false),
        };
        match written {
            Ok(()) => Ok(goes_on),
            Err(error) => {
                failed = Some(error);
                Err(CacheError::TooMuch { limit: "the reader takes".to_owned() })
            }
        }
    });
    failed.map_or(Ok(()), Err)?;
    walked.map_err(io::Error::other)?;
    to.write_all(&[0; END_BYTES])
}

fn is_open(stat: &Stat, bits: u32) -> bool {
    stat.st_mode & bits == bits
}

/// What cannot be read as a whole is passed over.
fn write_file(to: &mut io::PipeWriter, path: &[u8], file: File, stat: &Stat) -> io::Result<()> {
    let mut content = Vec::new();
    match file.take(FILE_MAX_BYTES).read_to_end(&mut content) {
        Ok(length) if (length as u64) < FILE_MAX_BYTES => {
            header(to, path, Kind::File, stat, length as u64, b"")?;
            content.resize(length + padding(length as u64), 0);
            to.write_all(&content)
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn header(to: &mut io::PipeWriter, path: &[u8], kind: Kind, stat: &Stat, size: u64, link: &[u8]) -> io::Result<()> {
    let mode = u16::try_from(stat.st_mode & 0o777).unwrap_or(0o644);
    write_header(to, &Entry { path: path.to_vec(), kind, link: link.to_vec(), mode, size, ..Entry::default() })
}
