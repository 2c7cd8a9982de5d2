//! Layers as directories, stacked by overlayfs: for hosts that cannot mount archives.
//!
//! ```text
//!   numbered     contents, while the archive is read: files named by numbers
//!   materialise  a directory from a layer's tree and its contents
//!   kept         contents out of an archive that is kept
//!   top          what the directories alone would show wrongly
//! ```
//! The tree decides everything, as it does for the other format, so both show the same.
//!
//! Beside a chain's topmost folder lies a file that lists the folders to stack; it is written last, and spares every later start the
//! reading of the layers' trees.

mod kept;
mod materialise;
mod numbered;
mod top;

pub(crate) use numbered::Numbered;

use crate::error::{LayerError, StoreError};
use crate::store::{Inner, Scratch, disk, layout};
use crate::tree::{self, Data, Layer, LayerTree, LayerWhat};
use coord_shared::names::Digest;
use kept::Kept;
use materialise::{Source, materialise};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// In a chain's folder: diff ids of the layers to stack, topmost first, a line each; before them `TOP` if there is a folder above them.
const LIST: &str = "stack";
const TOP: &str = "top";
/// A list of 500 layers, more than overlayfs stacks.
const LIST_MAX_BYTES: u64 = 64 * 1024;
/// Beside what is made: files with several names.
const LINKS: &str = "links";

/// A layer, and its directory.
struct Lower {
    tree: LayerTree,
    diff: PathBuf,
}

impl Lower {
    /// The numbers of a layer's archive and of its expanded contents, when trees are merged.
    fn devices(layer: usize) -> Option<(u16, u16)> {
        let archive = u16::try_from(layer).ok()?.checked_mul(2)?;
        Some((archive, archive + 1))
    }

    /// The other way round: the number of the layer, and where in it.
    fn of_device(device: u16, offset: u64) -> (usize, Data) {
        let data = if device.is_multiple_of(2) { Data::Archive { offset } } else { Data::Expanded { offset } };
        (usize::from(device / 2), data)
    }
}

/// Fills `root`, an empty folder, from a layer's tree and its contents by numbers. `links` is another one on the same file system, which
/// only serves while this runs. Nothing is synced.
pub(crate) fn from_numbered(tree: &LayerTree, contents: Numbered<'_>, root: OwnedFd, links: &OwnedFd) -> Result<(), LayerError> {
    materialise(tree, &mut Renamed(contents.into_folder()), root, links.as_fd())
}

/// The same from an archive that is kept, and what was expanded of it.
pub(crate) fn from_kept(
    tree: &LayerTree,
    archive: File,
    expanded: Option<File>,
    root: OwnedFd,
    links: &OwnedFd,
) -> Result<(), LayerError> {
    materialise(tree, &mut Kept { archive, expanded }, root, links.as_fd())
}

/// Contents that only need their name.
struct Renamed(OwnedFd);

impl Source for Renamed {
    fn place(&mut self, content: u32, _data: Data, _size: u64, folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        fs::renameat(&self.0, numbered::path_of(content), folder, name)
    }
}

/// The folders that overlayfs is to stack for these layers (bottom first): topmost first, at least one. What is missing is made.
pub(crate) fn stack(inner: &Inner, diff_ids: &[Digest]) -> Result<Vec<PathBuf>, StoreError> {
    let _alone = inner.mounting();
    let chain = layout::chain_of(diff_ids);
    let list = inner.chain_path(&chain).join(LIST);
    let known = match File::open(&list) {
        Ok(file) => {
            let text = io::read_to_string(io::Read::take(file, LIST_MAX_BYTES)).map_err(|e| StoreError::io("read", &list, e))?;
            folders(inner, &chain, &text)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(StoreError::io("open", &list, e)),
    };
    if let Some(known) = known {
        return Ok(known);
    }
    let text = make_stack(inner, diff_ids, &chain, &list)?;
    folders(inner, &chain, &text)
        .ok_or_else(|| StoreError::Damaged { path: list, problem: "what it lists has vanished".to_owned() })
}

/// What a list says; none if it is not so any more.
fn folders(inner: &Inner, chain: &Digest, text: &str) -> Option<Vec<PathBuf>> {
    let path = |line: &str| line.parse().map_or_else(|_| inner.top_path(chain), |diff_id| inner.diff_path(&diff_id));
    let mut folders: Vec<PathBuf> = text.lines().map(path).collect();
    if folders.is_empty() {
        folders.push(inner.empty_path());
    }
    folders.iter().all(|folder| folder.is_dir()).then_some(folders)
}

/// Makes the layers' directories and the chain's topmost folder, if they are missing; then the list. Returns its text.
fn make_stack(inner: &Inner, diff_ids: &[Digest], chain: &Digest, list: &Path) -> Result<String, StoreError> {
    let mut lowers = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let tree = read_tree(inner, diff_id)?;
        let diff = inner.diff_path(diff_id);
        if !diff.is_dir() {
            from_archive(inner, diff_id, &tree)?;
        }
        lowers.push(Lower { tree, diff });
    }
    let chain_path = inner.chain_path(chain);
    if !chain_path.is_dir() {
        disk::create_dir_all(&chain_path, disk::PRIVATE)?;
    }
    let top = inner.top_path(chain);
    if let Some(old) = inner.discard_if_there(&top)? {
        disk::remove(&old)?;
    }
    let visible = visible(&lowers);
    let mut text = String::new();
    if make_top(inner, &lowers, &visible, &top)? {
        text = format!("{TOP}\n");
    }
    for number in visible {
        text = format!("{text}{}\n", diff_ids[number]);
    }
    let scratch = Scratch { path: inner.tmp_path() };
    disk::write_file(&scratch.path, text.as_bytes())?;
    inner.commit(&scratch.path, list)?;
    disk::sync_folder(chain_path.parent().unwrap_or(&chain_path))?;
    Ok(text)
}

/// The layers that show, topmost first and none twice: the same again, further down, adds nothing, and overlayfs refuses it; an opaque
/// root hides all below.
fn visible(lowers: &[Lower]) -> Vec<usize> {
    let mut visible: Vec<usize> = Vec::new();
    for (number, lower) in lowers.iter().enumerate().rev() {
        if !visible.iter().any(|other| lowers[*other].diff == lower.diff) {
            visible.push(number);
        }
        if matches!(lower.tree.nodes.first().map(|root| root.what), Some(LayerWhat::Directory { opaque: true, .. })) {
            break;
        }
    }
    visible
}

/// Whether there is one.
fn make_top(inner: &Inner, lowers: &[Lower], visible: &[usize], place: &Path) -> Result<bool, StoreError> {
    let damaged = |problem| StoreError::Damaged { path: place.to_owned(), problem };
    let layers = lowers.iter().enumerate().map(|(number, lower)| {
        let (archive_device, expanded_device) =
            Lower::devices(number).ok_or_else(|| damaged("it would have too many layers".to_owned()))?;
        Ok(Layer { tree: &lower.tree, archive_device, expanded_device })
    });
    let layers = layers.collect::<Result<Vec<_>, StoreError>>()?;
    let merged = tree::merge(&layers).map_err(damaged)?;
    let shown: Vec<&LayerTree> = visible.iter().map(|number| &lowers[*number].tree).collect();
    let plan = top::plan(&shown, &merged);
    if plan.is_empty() {
        return Ok(false);
    }
    let scratch = Scratch { path: inner.tmp_path() };
    new_folder(&scratch.path)?;
    let links = new_folder(&scratch.path.join(LINKS))?;
    let made = scratch.path.join(TOP);
    let target = new_folder(&made)?;
    top::fill(&plan, lowers, &merged, &target, links.as_fd()).map_err(|e| StoreError::io("fill", place, e))?;
    disk::sync_file_system(&target, place)?;
    inner.commit(&made, place)?;
    Ok(true)
}

/// A layer's directory from its archive.
fn from_archive(inner: &Inner, diff_id: &Digest, tree: &LayerTree) -> Result<(), StoreError> {
    let place = inner.diff_path(diff_id);
    inner.room(tree.content_bytes)?;
    let open = |path: PathBuf| File::open(&path).map_err(|e| StoreError::io("open", path, e));
    let expanded = if tree.expanded_bytes > 0 { Some(open(inner.expanded_path(diff_id))?) } else { None };
    let archive = open(inner.tar_path(diff_id))?;
    let scratch = Scratch { path: inner.tmp_path() };
    new_folder(&scratch.path)?;
    let links = new_folder(&scratch.path.join(LINKS))?;
    let made = scratch.path.join("diff");
    let root = new_folder(&made)?;
    from_kept(tree, archive, expanded, root, &links)
        .map_err(|e| StoreError::io("make the directory of", &place, io::Error::other(coord_registry::chain(&e))))?;
    disk::sync_file_system(&links, &place)?;
    inner.commit(&made, &place)
}

fn read_tree(inner: &Inner, diff_id: &Digest) -> Result<LayerTree, StoreError> {
    let path = inner.index_path(diff_id);
    let bytes = std::fs::read(&path).map_err(|e| StoreError::io("read", &path, e))?;
    LayerTree::decode(&bytes).map_err(|problem| StoreError::Damaged { path, problem })
}

/// Created and opened; anybody may enter, as in an image's root.
pub(crate) fn new_folder(path: &Path) -> Result<OwnedFd, StoreError> {
    disk::create_dir(path, disk::OPEN_TO_ALL)?;
    fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| StoreError::io("open", path, e))
}
