//! One layer of an image, made of an archive, a recipe, and what the base image has.
//!
//! Sorted by path, so that parents come first; one time for all; owners and modes as the recipe has them. Folders that the base image has
//! stay as they are there, and what would land below one of its symbolic links lands where that leads. Compressed by gzip, which every
//! client of registries reads. The same input gives the same bytes on any machine: the encoder's level, header and the pieces that it is
//! fed are fixed, and a test holds the digest.

use crate::below::Folder;
use crate::check::{FOLDER_MODE, Node};
use crate::output::{Hashed, Pieces};
use crate::spool::Content;
use crate::{ArchiveError, Below, Checked, Pattern};
use coord_shared::names::Digest;
use coord_shared::recipe::Recipe;
use coord_tar::{END_BYTES, Entry, Kind, PATH_MAX_BYTES, TarError, clean, padding, shown, write_header};
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// gzip's usual level. Part of what makes the bytes, so not to be chosen.
const GZIP_LEVEL: u32 = 6;
/// Of no system in particular (RFC 1952, "OS").
const GZIP_NO_SYSTEM: u8 = 255;
/// The latest time that a header has room for without help: the year 2242.
const TIME_MAX_S: i64 = 0o777_7777_7777;

/// A layer that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Of its compressed bytes.
    pub digest: Digest,
    /// Of its archive, for the image's config.
    pub diff_id: Digest,
    /// Compressed.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: u64,
}

impl Layer {
    /// Its media type (OCI image spec, layer.md).
    pub const MEDIA_TYPE: &'static str = "application/vnd.oci.image.layer.v1.tar+gzip";
}

/// What the layer has under a path.
enum Output<'a> {
    /// As the base image has it.
    Below(&'a Folder),
    Directory {
        mode: u16,
        owned: bool,
        xattrs: Option<&'a crate::check::Xattrs>,
    },
    File {
        content: Content,
        mode: u16,
        xattrs: &'a crate::check::Xattrs,
    },
    Symlink {
        target: &'a [u8],
    },
}

type Outputs<'a> = BTreeMap<Vec<u8>, Output<'a>>;

impl Checked {
    /// Writes the layer to `out`. `at` is the time of all files: of the commit, or what SOURCE_DATE_EPOCH says. Blocks: for a thread that may.
    ///
    /// # Errors
    /// A link leads above the image's root; a folder's place is taken; two files land at one place; the disk or `out` fails.
    pub fn write_layer(&self, recipe: &Recipe, at: Timestamp, below: &Below, out: impl Write) -> Result<Layer, ArchiveError> {
        let outputs = self.outputs(recipe, below)?;
        let wrote = || ArchiveError::io("write the layer");
        let gzip = GzBuilder::new().mtime(0).operating_system(GZIP_NO_SYSTEM);
        let gzip = gzip.write(Hashed::new(out), Compression::new(GZIP_LEVEL));
        let mut tar = Hashed::new(Pieces::new(gzip));
        let mtime_s = at.as_second().clamp(0, TIME_MAX_S);
        let mut linked: BTreeMap<(u64, u16), &[u8]> = BTreeMap::new();
        for (path, output) in &outputs {
            self.write_output(path, output, recipe, mtime_s, &mut linked, &mut tar).map_err(wrote())?;
        }
        tar.write_all(&[0; END_BYTES]).map_err(wrote())?;
        let (pieces, diff_id, _) = tar.finish();
        let (mut out, digest, bytes) = pieces.finish().and_then(|gzip| gzip.finish()).map_err(wrote())?.finish();
        out.flush().map_err(wrote())?;
        Ok(Layer { digest, diff_id, bytes, entries: outputs.keys().filter(|path| !path.is_empty()).count() as u64 })
    }

    /// Everything by its path in the image.
    fn outputs<'a>(&'a self, recipe: &Recipe, below: &'a Below) -> Result<Outputs<'a>, ArchiveError> {
        let rules = Rules::new(recipe)?;
        let mut target = Vec::new();
        clean(recipe.target.as_bytes(), recipe.target.as_bytes(), &self.limits, &mut target)?;
        let mut outputs = Outputs::new();
        let target = place_folder(&mut outputs, below, &target)?;
        if let Some(own @ Output::Directory { .. }) = outputs.get_mut(&target) {
            *own = Output::Directory { mode: rules.folder_mode(b"", FOLDER_MODE), owned: true, xattrs: None };
        }
        // Where the archive's folders are; all others have the parent's place.
        let mut places: BTreeMap<&[u8], Vec<u8>> = BTreeMap::new();
        places.insert(b"", target);
        for (path, node) in &self.entries {
            let slash = path.iter().rposition(|byte| *byte == b'/');
            let (parent, name) = slash.map_or((&b""[..], &path[..]), |slash| (&path[..slash], &path[slash + 1..]));
            let parent = places.get(parent).map(Vec::as_slice).unwrap_or_default();
            let place = join(parent, name);
            if place.len() > PATH_MAX_BYTES {
                return Err(TarError::entry(path, "has a path of more than 4095 bytes in the image").into());
            }
            let (place, output) = match node {
                Node::Directory { mode, xattrs } => {
                    let place = below.resolve(&place)?;
                    let place = place_folder(&mut outputs, below, &place)?;
                    places.insert(path, place.clone());
                    let named = rules.named(path);
                    if below.folder(&place).is_some() && named.is_none() {
                        continue;
                    }
                    (place, Output::Directory { mode: rules.folder_mode(path, *mode), owned: true, xattrs: Some(xattrs) })
                }
                Node::File { content, mode, xattrs } => {
                    (place, Output::File { content: *content, mode: rules.named(path).unwrap_or(*mode), xattrs })
                }
                Node::Symlink { target } => {
                    check_link(path, &place, target)?;
                    (place, Output::Symlink { target })
                }
            };
            let is_folder = |output: &Output<'_>| matches!(output, Output::Directory { .. } | Output::Below(_));
            if let Some(old) = outputs.get(&place)
                && !(is_folder(old) && is_folder(&output))
            {
                let problem = format!("lands at /{}, where something else of the archive lands too", shown(&place));
                return Err(TarError::entry(path, problem).into());
            }
            outputs.insert(place, output);
        }
        Ok(outputs)
    }

    fn write_output<'o>(
        &self,
        path: &'o [u8],
        output: &Output<'_>,
        recipe: &Recipe,
        mtime_s: i64,
        linked: &mut BTreeMap<(u64, u16), &'o [u8]>,
        tar: &mut impl Write,
    ) -> io::Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        let mut entry =
            Entry { path: path.to_vec(), mtime_s, uid: recipe.owner.user, gid: recipe.owner.group, ..Entry::default() };
        match output {
            Output::Below(Folder { mode, uid, gid, mtime_s, xattrs }) => {
                entry = Entry { mode: *mode, uid: *uid, gid: *gid, mtime_s: *mtime_s, xattrs: xattrs.clone(), ..entry };
                entry.kind = Kind::Directory;
            }
            Output::Directory { mode, owned, xattrs } => {
                entry.kind = Kind::Directory;
                entry.mode = *mode;
                entry.xattrs = xattrs.cloned().unwrap_or_default();
                if !owned {
                    (entry.uid, entry.gid) = (0, 0);
                }
            }
            Output::Symlink { target } => {
                entry.kind = Kind::Symlink;
                entry.mode = 0o777;
                entry.link = target.to_vec();
            }
            Output::File { content, mode, xattrs } => {
                entry.mode = *mode;
                entry.xattrs = (*xattrs).clone();
                let first = content.place().map(|place| *linked.entry((place, *mode)).or_insert(path));
                if let Some(first) = first.filter(|first| *first != path) {
                    entry.kind = Kind::HardLink;
                    entry.link = first.to_vec();
                    return write_header(tar, &entry);
                }
                entry.size = content.size;
                write_header(tar, &entry)?;
                self.spool.copy(*content, tar)?;
                return tar.write_all(&[0; 512][..padding(content.size)]);
            }
        }
        write_header(tar, &entry)
    }
}

/// Puts a folder among the outputs, with those above it, all as the base image has them; where it is, all links followed.
fn place_folder<'a>(outputs: &mut Outputs<'a>, below: &'a Below, path: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    let path = below.resolve(path)?;
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
    for folder in ends.map(|end| &path[..end]).filter(|folder| !outputs.contains_key(*folder)).collect::<Vec<_>>() {
        let output =
            below.folder(folder).map_or(Output::Directory { mode: FOLDER_MODE, owned: false, xattrs: None }, Output::Below);
        outputs.insert(folder.to_vec(), output);
    }
    Ok(path)
}

/// A link may lead anywhere in the image, but not above its root: there is nothing, and whoever unpacks carelessly finds the host there.
fn check_link(path: &[u8], place: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
    let mut depth = if target.starts_with(b"/") { 0 } else { place.iter().filter(|byte| **byte == b'/').count() };
    for part in target.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
        if part != b".." {
            depth += 1;
            continue;
        }
        depth = depth.checked_sub(1).ok_or_else(|| {
            let target = shown(target);
            TarError::entry(path, format!("is a symbolic link to {target:?}, which leads above the image's root"))
        })?;
    }
    Ok(())
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// The recipe's modes, ready to be asked.
struct Rules {
    modes: Vec<(Pattern, u16)>,
}

impl Rules {
    fn new(recipe: &Recipe) -> Result<Rules, ArchiveError> {
        let modes = recipe.modes.iter().map(|rule| {
            let pattern = Pattern::new(&rule.pattern).map_err(|error| TarError::tar(format!("cannot have modes: {error}")))?;
            Ok((pattern, u16::try_from(rule.mode & 0o7777).unwrap_or(FOLDER_MODE)))
        });
        Ok(Rules { modes: modes.collect::<Result<_, TarError>>()? })
    }

    /// The mode that the last rule that matches gives.
    fn named(&self, path: &[u8]) -> Option<u16> {
        self.modes.iter().rev().find(|(pattern, _)| pattern.is_exact(path)).map(|(_, mode)| *mode)
    }

    /// The same of a folder, which whoever may read it may enter.
    fn folder_mode(&self, path: &[u8], own: u16) -> u16 {
        self.named(path).map_or(own, |mode| mode | (mode & 0o444) >> 2)
    }
}

#[cfg(test)]
mod tests;
