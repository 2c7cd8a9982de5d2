//! What comes from outside, into a stage: a tar stream, one file, or a folder of a container.

use crate::stage::{Attributes, Stage, Staged};
use crate::walk::{Seen, walk};
use crate::{Budget, CacheError, Mounts, disk, path};
use coord_tar::{Archive, Entry, Kind, TarError};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What is read at a time.
const BUFFER_BYTES: usize = 128 * 1024;

/// The files of a tar stream, below the relative path `below`.
pub(crate) fn archive(folder: PathBuf, below: &[u8], reader: impl Read, budget: Budget) -> Result<Staged, CacheError> {
    let below = path::clean(b"", below)?;
    let mut stage = Stage::begin(folder, budget)?;
    if !below.is_empty() {
        stage.parents(&[&below, b"/x".as_slice()].concat())?;
    }
    let mut archive = Archive::new(BufReader::with_capacity(BUFFER_BYTES, reader));
    let mut entry = Entry::default();
    while archive.next_entry(&mut entry)? {
        one_entry(&mut stage, &below, &mut archive, &entry)?;
    }
    archive.drain()?;
    Ok(stage.finish())
}

fn one_entry(stage: &mut Stage, below: &[u8], archive: &mut Archive<impl BufRead>, entry: &Entry) -> Result<(), CacheError> {
    let path = path::clean(below, &entry.path)?;
    let attributes =
        Attributes { mode: entry.mode.into(), uid: entry.uid, gid: entry.gid, modified: Some((entry.mtime_s, entry.mtime_ns)) };
    if path == below {
        // Its own top folder, as `tar -c .` writes it. The cache's is made by us.
        let is_folder = entry.kind == Kind::Directory;
        return if is_folder { Ok(()) } else { Err(CacheError::bad_path(&entry.path, "is the cache itself")) };
    }
    match entry.kind {
        Kind::Directory => stage.folder(&path, &attributes),
        Kind::File => one_file(stage, &path, archive, entry, &attributes),
        Kind::Symlink => stage.link(&path, &entry.link, &attributes),
        Kind::HardLink => stage.hard_link(&path, &path::clean(below, &entry.link)?),
        Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
            Err(CacheError::bad_path(&path, "is a device, and no cache has those"))
        }
        Kind::Fifo => Err(CacheError::bad_path(&path, "is a named pipe, and no cache has those")),
    }
}

fn one_file(
    stage: &mut Stage,
    path: &[u8],
    archive: &mut Archive<impl BufRead>,
    entry: &Entry,
    attributes: &Attributes,
) -> Result<(), CacheError> {
    stage.take_bytes(entry.size)?;
    let mut file = stage.new_file(path)?;
    let everything = [coord_tar::Piece { at: 0, length: entry.size }];
    for piece in entry.pieces.as_deref().unwrap_or(&everything) {
        file.skip_to(piece.at);
        let mut left = piece.length;
        while left > 0 {
            let content = archive.content()?;
            if content.is_empty() {
                return Err(TarError::tar("ends in the middle of a file").into());
            }
            let length = usize::try_from(left).map_or(content.len(), |left| left.min(content.len()));
            file.write(&content[..length])?;
            archive.consume(length);
            left -= length as u64;
        }
    }
    file.skip_to(entry.size);
    stage.finish_file(file, attributes)
}

/// One file.
pub(crate) fn file(folder: PathBuf, to: &[u8], mode: u32, mut reader: impl Read, budget: Budget) -> Result<Staged, CacheError> {
    let to = path::clean(b"", to)?;
    let mut stage = Stage::begin(folder, budget)?;
    let attributes = Attributes { mode, ..Attributes::default() };
    copy(&mut stage, &to, &mut reader, &attributes)?;
    Ok(stage.finish())
}

/// A copy of a folder: what is neither file, folder nor link is passed over, and so are mounts.
pub(crate) fn folder(folder: PathBuf, from: OwnedFd, budget: Budget) -> Result<Staged, CacheError> {
    let mut stage = Stage::begin(folder, budget)?;
    walk(from, Mounts::PassOver, &mut |path, seen| {
        match seen {
            Seen::Folder(stat) => stage.folder(path, &attributes_of(&stat))?,
            Seen::File(mut file, stat) => copy(&mut stage, path, &mut file, &attributes_of(&stat))?,
            Seen::Link(target, stat) => stage.link(path, &target, &attributes_of(&stat))?,
            Seen::Special(_) => {}
        }
        Ok(true)
    })?;
    Ok(stage.finish())
}

fn attributes_of(stat: &rustix::fs::Stat) -> Attributes {
    let modified = u32::try_from(stat.st_mtime_nsec).ok().map(|nanoseconds| (stat.st_mtime, nanoseconds));
    Attributes { mode: disk::mode(stat), uid: stat.st_uid, gid: stat.st_gid, modified }
}

fn copy(stage: &mut Stage, path: &[u8], reader: &mut impl Read, attributes: &Attributes) -> Result<(), CacheError> {
    let mut file = stage.new_file(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return stage.finish_file(file, attributes),
            Ok(length) => {
                stage.take_bytes(length as u64)?;
                file.write(&buffer[..length])?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(CacheError::Input { source }),
        }
    }
}
