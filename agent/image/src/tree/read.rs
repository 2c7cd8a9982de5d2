//! Reads a layer's archive into a tree: what each entry means, and what an image may not have.
//!
//! Whiteouts are AUFS's, as the OCI image specification has them (layer.md, "Whiteouts"). Left out, and counted: character device
//! 0:0, which is overlayfs's own whiteout; and extended attributes other than file capabilities and the users' own. `trusted.*` and
//! `user.overlay.*` would steer overlayfs (a redirect shows any file of a lower layer); other `security.*` and `system.*` belong to
//! the host's policy.

use super::builder::{Builder, ROOT, Target};
use super::{Attributes, Contents, Data, LayerTree, LayerWhat, Span};
use crate::error::LayerError;
use coord_tar::{Archive, Entry, Kind, Limits, PATH_MAX_BYTES, Piece, WHITEOUT_PREFIX, clean, is_kept};
use std::io::BufRead;

/// Hides what lower layers have in its directory (OCI image spec, layer.md, "Opaque Whiteout").
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
/// Other marks of AUFS (hard link stores and the like), which mean nothing to anybody else.
const AUFS_PREFIX: &[u8] = b".wh..wh.";
/// EROFS's blocks are as small as that, and so are tar's.
const BLOCK_BYTES: u64 = 512;

/// Reads a layer's archive to its end. Contents that are wanted go to `contents` as they pass.
///
/// Errors: the archive is malformed, has what an image must not have, or more than `limits` allow; `contents` failed; or `Stopped`
/// if the reader did.
pub(crate) fn read_layer<R: BufRead>(reader: R, limits: &Limits, contents: &mut dyn Contents) -> Result<LayerTree, LayerError> {
    let mut archive = Archive::new(reader);
    let mut entry = Entry::default();
    let builder = Builder::new(limits);
    let mut layer =
        Reading { builder, limits, contents, entries: 0, content: 0, expanded_bytes: 0, left_out: 0, path: Vec::new() };
    while archive.next_entry(&mut entry)? {
        layer.apply(&entry, &mut archive)?;
    }
    archive.drain()?;
    layer.finish()
}

struct Reading<'a> {
    builder: Builder,
    limits: &'a Limits,
    contents: &'a mut dyn Contents,
    entries: u64,
    /// Number of the next content.
    content: u32,
    expanded_bytes: u64,
    left_out: u64,
    /// Recycled: the entry's cleaned path.
    path: Vec<u8>,
}

impl Reading<'_> {
    fn apply<R: BufRead>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<(), LayerError> {
        self.entries += 1;
        if self.entries + self.builder.implicit() > self.limits.layer_max_entries {
            return Err(LayerError::Limit { limit: format!("{} entries", self.limits.layer_max_entries) });
        }
        let mut path = std::mem::take(&mut self.path);
        clean(&entry.path, &entry.path, self.limits, &mut path)?;
        let result = self.place(&path, entry, archive);
        self.path = path;
        result
    }

    fn place<R: BufRead>(&mut self, path: &[u8], entry: &Entry, archive: &mut Archive<R>) -> Result<(), LayerError> {
        if path.is_empty() {
            return self.root(entry);
        }
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        if name.starts_with(WHITEOUT_PREFIX) {
            return self.whiteout(path, parent, name);
        }
        if entry.kind == (Kind::CharDevice { major: 0, minor: 0 }) {
            self.left_out += 1;
            return Ok(());
        }
        let parent = self.builder.parent(parent, path)?;
        let what = match entry.kind {
            Kind::Directory => {
                let attributes = self.attributes(entry)?;
                return self.builder.directory(parent, name, attributes);
            }
            Kind::HardLink => return self.hard_link(path, parent, name, entry),
            Kind::File => self.file(path, entry, archive)?,
            Kind::Symlink => LayerWhat::Symlink { target: self.link_target(path, &entry.link)? },
            Kind::CharDevice { major, minor } => LayerWhat::CharDevice { major, minor },
            Kind::BlockDevice { major, minor } => LayerWhat::BlockDevice { major, minor },
            Kind::Fifo => LayerWhat::Fifo,
        };
        let attributes = self.attributes(entry)?;
        let thing = self.builder.thing(what, attributes)?;
        self.builder.name(parent, name, thing).map(drop)
    }

    fn root(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if entry.kind != Kind::Directory {
            return Err(LayerError::entry(&entry.path, "stands for the image's root and is no directory"));
        }
        let attributes = self.attributes(entry)?;
        self.builder.describe(ROOT, attributes);
        Ok(())
    }

    fn whiteout(&mut self, path: &[u8], parent: &[u8], name: &[u8]) -> Result<(), LayerError> {
        if name == OPAQUE_MARK {
            let parent = self.builder.parent(parent, path)?;
            self.builder.make_opaque(parent);
            return Ok(());
        }
        if name.starts_with(AUFS_PREFIX) {
            return Ok(());
        }
        let hidden = &name[WHITEOUT_PREFIX.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(LayerError::entry(path, "is a whiteout of nothing"));
        }
        let parent = self.builder.parent(parent, path)?;
        self.builder.whiteout(parent, hidden)
    }

    fn link_target(&mut self, path: &[u8], target: &[u8]) -> Result<Span, LayerError> {
        if target.is_empty() || target.contains(&0) {
            return Err(LayerError::entry(path, "is a symbolic link to nothing"));
        }
        if target.len() > PATH_MAX_BYTES {
            return Err(LayerError::entry(path, "is a symbolic link to a path of more than 4095 bytes"));
        }
        self.builder.keep(target)
    }

    fn hard_link(&mut self, path: &[u8], parent: u32, name: &[u8], entry: &Entry) -> Result<(), LayerError> {
        let mut target = Vec::new();
        clean(&entry.link, path, self.limits, &mut target)?;
        if target == path {
            return Err(LayerError::entry(path, "is a hard link to itself"));
        }
        let thing = match self.builder.target(&target, path)? {
            Target::Here(thing) => thing,
            Target::Below(below) => {
                let below = self.builder.keep(&below)?;
                self.builder.thing(LayerWhat::LinkBelow { path: below }, Attributes::default())?
            }
            Target::Nowhere => {
                let target = entry.link.escape_ascii().to_string();
                return Err(LayerError::entry(path, format!("is a hard link to {target:?}, which is no file in this layer")));
            }
        };
        self.builder.name(parent, name, thing).map(drop)
    }

    fn file<R: BufRead>(&mut self, path: &[u8], entry: &Entry, archive: &mut Archive<R>) -> Result<LayerWhat, LayerError> {
        let whole = [Piece { at: 0, length: entry.size }];
        let (data, pieces) = match &entry.pieces {
            None => (Data::Archive { offset: entry.offset }, &whole[..]),
            Some(pieces) => (Data::Expanded { offset: self.expand(path, entry.size)? }, pieces.as_slice()),
        };
        let content = self.content;
        let too_many = || LayerError::Limit { limit: "4 billion files".to_owned() };
        self.content = content.checked_add(1).ok_or_else(too_many)?;
        if self.contents.wants(data) {
            self.contents.begin(content, data, entry.size)?;
            for piece in pieces {
                copy(*piece, archive, self.contents)?;
            }
            self.contents.end()?;
        }
        Ok(LayerWhat::File { size: entry.size, data, content })
    }

    /// Room for a sparse file among the expanded contents, where holes are kept. Its size counts although most of it is not there.
    fn expand(&mut self, path: &[u8], size: u64) -> Result<u64, LayerError> {
        let offset = self.expanded_bytes;
        let end = offset.checked_add(size).and_then(|end| end.checked_next_multiple_of(BLOCK_BYTES));
        self.expanded_bytes = end.filter(|end| *end <= self.limits.layer_max_bytes).ok_or_else(|| {
            LayerError::entry(path, format!("makes the layer's sparse files larger than {} bytes", self.limits.layer_max_bytes))
        })?;
        Ok(offset)
    }

    fn attributes(&mut self, entry: &Entry) -> Result<Attributes, LayerError> {
        let mut packed = Vec::new();
        for (name, value) in &entry.xattrs {
            let (Ok(name_len), Ok(value_len)) = (u8::try_from(name.len()), u16::try_from(value.len())) else { continue };
            if !is_kept(name) {
                self.left_out += 1;
                continue;
            }
            packed.push(name_len);
            packed.extend_from_slice(&value_len.to_le_bytes());
            packed.extend_from_slice(name);
            packed.extend_from_slice(value);
        }
        let xattrs = if packed.is_empty() { Span::default() } else { self.builder.keep(&packed)? };
        let Entry { mode, uid, gid, mtime_s, mtime_ns, .. } = *entry;
        Ok(Attributes { mode, uid, gid, mtime_s, mtime_ns, xattrs })
    }

    /// Contents that nothing of the tree has any more are forgotten only now: their bytes were in the archive, so they are few enough.
    fn finish(self) -> Result<LayerTree, LayerError> {
        let (mut tree, lost) = self.builder.finish()?;
        for (data, content) in lost {
            if self.contents.wants(data) {
                self.contents.forget(content)?;
            }
        }
        tree.entries = self.entries;
        tree.expanded_bytes = self.expanded_bytes;
        tree.left_out = self.left_out;
        Ok(tree)
    }
}

/// One piece of a file, from the archive to whoever wants it.
fn copy<R: BufRead>(piece: Piece, archive: &mut Archive<R>, contents: &mut dyn Contents) -> Result<(), LayerError> {
    let (mut at, mut left) = (piece.at, piece.length);
    while left > 0 {
        let available = archive.content()?;
        let length = usize::try_from(left).map_or(available.len(), |left| left.min(available.len()));
        if length == 0 {
            return Err(LayerError::tar("ends in the middle of a file"));
        }
        contents.write(at, &available[..length])?;
        archive.consume(length);
        at += length as u64;
        left -= length as u64;
    }
    Ok(())
}
