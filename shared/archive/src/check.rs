//! An archive that was read to its end and judged: what is in it by name, and its contents.
//!
//! The rules are those of layers (names, sizes, how many, how deep), and some more, because an application's files are no system: no
//! devices or pipes, no marks that hide files of the base image, nothing below a symbolic link, no link that leads above the image's
//! root. Links to absolute paths mean paths of the image, and are kept. Where a tar has a name twice, the later one counts, as with every
//! reader of tars; a zip file has no later, and is refused.

use crate::ArchiveError;
use crate::input::{self, Kind};
use crate::spool::{Content, Spool};
use coord_tar::{Archive, Entry, Limits, PATH_MAX_BYTES, Piece, TarError, WHITEOUT_PREFIX, clean, is_kept};
use std::collections::BTreeMap;
use std::io::{BufRead, Read, Seek, SeekFrom};
use std::path::Path;

/// Extended attributes by name.
pub(crate) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;
/// The permission bits that are taken from an archive. Set-id and sticky bits are a recipe's to give.
const MODE_BITS: u16 = 0o777;
/// Of folders that nobody describes.
pub(crate) const FOLDER_MODE: u16 = 0o755;

/// An archive that may become a layer. Its contents are in a temporary file for as long as this lives.
pub struct Checked {
    pub(crate) entries: BTreeMap<Vec<u8>, Node>,
    pub(crate) spool: Spool,
    pub(crate) limits: Limits,
    content_bytes: u64,
    /// Of all names and targets of links, which are kept in memory.
    names_bytes: u64,
}

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Directory {
        mode: u16,
        xattrs: Xattrs,
    },
    /// Hard links share the content.
    File {
        content: Content,
        mode: u16,
        xattrs: Xattrs,
    },
    Symlink {
        target: Vec<u8>,
    },
}

impl Checked {
    /// Reads an archive to its end. `folder` is where the contents wait, as large as they are unpacked. Blocks: for a thread that may.
    ///
    /// # Errors
    /// It is no archive, is cut off, breaks a rule or a limit; or the disk fails.
    pub fn read(mut archive: impl Read + Seek, folder: &Path, limits: &Limits) -> Result<Checked, ArchiveError> {
        let read = || ArchiveError::io("read the archive");
        archive.seek(SeekFrom::Start(0)).map_err(read())?;
        let head = input::head(&mut archive).map_err(read())?;
        let mut checked =
            Checked { entries: BTreeMap::new(), spool: Spool::new(folder)?, limits: *limits, content_bytes: 0, names_bytes: 0 };
        if input::kind(&head)? == Kind::Zip {
            crate::zip::read(&mut archive, &mut checked)?;
        } else {
            checked.read_tar(input::tar(head, archive, limits)?)?;
        }
        if checked.entries.is_empty() {
            return Err(ArchiveError::Empty);
        }
        Ok(checked)
    }

    /// Of all files together, unpacked.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    fn read_tar(&mut self, reader: impl BufRead) -> Result<(), ArchiveError> {
        let mut archive = Archive::new(reader);
        let mut entry = Entry::default();
        let mut path = Vec::new();
        let mut count = 0_u64;
        while archive.next_entry(&mut entry)? {
            // Names that are written again and again are work, too.
            count += 1;
            if count > self.limits.layer_max_entries {
                return Err(too_many(&self.limits));
            }
            self.clean(&entry.path, &mut path)?;
            self.tar_entry(&path, &mut entry, &mut archive)?;
        }
        Ok(archive.drain()?)
    }

    fn tar_entry<R: BufRead>(&mut self, path: &[u8], entry: &mut Entry, archive: &mut Archive<R>) -> Result<(), ArchiveError> {
        let mode = entry.mode & MODE_BITS;
        let mut xattrs = std::mem::take(&mut entry.xattrs);
        xattrs.retain(|name, _| is_kept(name));
        let what = match entry.kind {
            coord_tar::Kind::Directory => Node::Directory { mode, xattrs },
            coord_tar::Kind::Symlink => Node::Symlink { target: std::mem::take(&mut entry.link) },
            coord_tar::Kind::File => {
                let content = self.content(path, entry.size)?;
                let whole = [Piece { at: 0, length: entry.size }];
                for piece in entry.pieces.as_deref().unwrap_or(&whole) {
                    self.copy(*piece, content, archive)?;
                }
                Node::File { content, mode, xattrs }
            }
            coord_tar::Kind::HardLink => self.linked(path, &entry.link)?,
            coord_tar::Kind::Fifo => return Err(ArchiveError::entry(path, "is a named pipe, which no image needs")),
            coord_tar::Kind::CharDevice { .. } | coord_tar::Kind::BlockDevice { .. } => {
                return Err(ArchiveError::entry(path, "is a device, which an archive must not bring"));
            }
        };
        self.put(path, what, Twice::Later)
    }

    fn copy<R: BufRead>(&mut self, piece: Piece, content: Content, archive: &mut Archive<R>) -> Result<(), ArchiveError> {
        let (mut at, mut left) = (piece.at, piece.length);
        while left > 0 {
            let available = archive.content()?;
            let length = usize::try_from(left).map_or(available.len(), |left| left.min(available.len()));
            if length == 0 {
                return Err(TarError::tar("ends in the middle of a file").into());
            }
            self.spool.write(content, at, &available[..length])?;
            archive.consume(length);
            at += length as u64;
            left -= length as u64;
        }
        Ok(())
    }

    /// The file that a hard link is another name of.
    fn linked(&self, path: &[u8], target: &[u8]) -> Result<Node, ArchiveError> {
        let mut cleaned = Vec::new();
        clean(target, path, &self.limits, &mut cleaned)?;
        match self.entries.get(&cleaned) {
            Some(file @ Node::File { .. }) if cleaned != path => Ok(file.clone()),
            _ => {
                let target = coord_tar::shown(target);
                Err(ArchiveError::entry(path, format!("is a hard link to {target:?}, which is no file before it in the archive")))
            }
        }
    }

    /// The path of an entry, by the rules. Empty for the archive's own root.
    pub(crate) fn clean(&self, raw: &[u8], path: &mut Vec<u8>) -> Result<(), ArchiveError> {
        clean(raw, raw, &self.limits, path)?;
        if path.split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT_PREFIX)) {
            return Err(ArchiveError::entry(raw, "would hide files of the base image (\".wh.\" is the mark of that)"));
        }
        Ok(())
    }

    /// Room for a file's content.
    pub(crate) fn content(&mut self, path: &[u8], size: u64) -> Result<Content, ArchiveError> {
        let total = self.content_bytes.checked_add(size).filter(|total| *total <= self.limits.layer_max_bytes);
        self.content_bytes = total.ok_or_else(|| {
            ArchiveError::entry(path, format!("makes the files larger than {} bytes", self.limits.layer_max_bytes))
        })?;
        Ok(self.spool.content(size))
    }

    /// Puts something under a cleaned path, with the folders above it.
    pub(crate) fn put(&mut self, path: &[u8], new: Node, twice: Twice) -> Result<(), ArchiveError> {
        if path.is_empty() {
            let is_folder = matches!(new, Node::Directory { .. });
            // What packed it often was a temporary folder, whose mode says nothing.
            return if is_folder {
                Ok(())
            } else {
                Err(ArchiveError::entry(b".", "stands for the archive's root and is no folder"))
            };
        }
        if let Node::Symlink { target } = &new {
            check_target(path, target)?;
        }
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for parent in slashes.map(|at| &path[..at]) {
            match self.entries.get(parent) {
                Some(Node::Directory { .. }) => {}
                Some(Node::Symlink { .. } | Node::File { .. }) => {
                    let parent = coord_tar::shown(parent);
                    return Err(ArchiveError::entry(path, format!("lies below {parent:?}, which is no folder in this archive")));
                }
                None => self.insert(parent.to_vec(), Node::Directory { mode: FOLDER_MODE, xattrs: Xattrs::new() })?,
            }
        }
        match (self.entries.get(path), &new) {
            (None, _) | (Some(Node::Directory { .. }), Node::Directory { .. }) => {}
            (Some(Node::Directory { .. }), _) | (Some(_), Node::Directory { .. }) => {
                return Err(ArchiveError::entry(path, "is there twice, once as a folder and once as something else"));
            }
            (Some(_), _) if twice == Twice::Refused => return Err(ArchiveError::entry(path, "is there twice")),
            (Some(_), _) => {}
        }
        self.insert(path.to_vec(), new)
    }

    fn insert(&mut self, path: Vec<u8>, node: Node) -> Result<(), ArchiveError> {
        let attributes: usize = match &node {
            Node::Directory { xattrs, .. } | Node::File { xattrs, .. } => {
                xattrs.iter().map(|(name, value)| name.len() + value.len()).sum()
            }
            Node::Symlink { target } => target.len(),
        };
        self.names_bytes += (path.len() + attributes) as u64;
        if self.names_bytes > self.limits.names_max_bytes {
            let limit = format!("{} bytes of names, links and attributes", self.limits.names_max_bytes);
            return Err(TarError::Limit { limit }.into());
        }
        self.entries.insert(path, node);
        if self.entries.len() as u64 > self.limits.layer_max_entries { Err(too_many(&self.limits)) } else { Ok(()) }
    }
}

/// What a name that is there already means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twice {
    Later,
    Refused,
}

fn check_target(path: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
    if target.is_empty() || target.contains(&0) {
        return Err(ArchiveError::entry(path, "is a symbolic link to nothing"));
    }
    if target.len() > PATH_MAX_BYTES {
        return Err(ArchiveError::entry(path, "is a symbolic link to a path of more than 4095 bytes"));
    }
    Ok(())
}

fn too_many(limits: &Limits) -> ArchiveError {
    TarError::Limit { limit: format!("{} entries", limits.layer_max_entries) }.into()
}
