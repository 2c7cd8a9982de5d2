//! A layer's way onto the disk: made under `tmp/`, synced, renamed into place.

use crate::directories::{self, Numbered};
use crate::error::{LayerError, StoreError};
use crate::pipeline::{self, Expanded, Feed, Job, Made};
use crate::record::LayerRecord;
use crate::store::sums::{self, Summing};
use crate::store::{Format, Inner, Scratch, disk};
use coord_shared::names::Digest;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

pub(super) enum MakeError {
    Layer(LayerError),
    Store(StoreError),
}

impl From<StoreError> for MakeError {
    fn from(error: StoreError) -> MakeError {
        MakeError::Store(error)
    }
}

impl From<LayerError> for MakeError {
    fn from(error: LayerError) -> MakeError {
        MakeError::Layer(error)
    }
}

/// Makes a layer from its compressed bytes. Blocks until they have all come.
pub(super) fn make_layer(
    inner: &Inner,
    feed: mpsc::Receiver<Feed>,
    digest: &Digest,
    diff_id: &Digest,
    format: Format,
) -> Result<(), MakeError> {
    let scratch = Scratch { path: inner.tmp_path() };
    disk::create_dir(&scratch.path, disk::PRIVATE)?;
    // What only serves while the layer is made is no part of it.
    let aside = Scratch { path: inner.tmp_path() };
    let archive = scratch.path.join("tar");
    let room = || inner.check_reserve();
    let job = Job {
        digest,
        diff_id,
        limits: &inner.options.limits,
        memory: &inner.memory,
        archive: (format == Format::Archive).then_some(&archive),
        room: &room,
    };
    let made = match format {
        Format::Archive => {
            let mut expanded = Expanded::new(scratch.path.join("expanded"));
            let made = pipeline::run(feed, &job, &mut expanded)?;
            expanded.finish(made.tree.expanded_bytes)?;
            made
        }
        Format::Directory => {
            disk::create_dir(&aside.path, disk::PRIVATE)?;
            let (files, links) = (aside.path.join("files"), aside.path.join("links"));
            let (files, links) = (directories::new_folder(&files)?, directories::new_folder(&links)?);
            let mut contents = Summing::new(Numbered::new(files, &room));
            let made = pipeline::run(feed, &job, &mut contents)?;
            let (contents, sums) = contents.finish();
            sums::save(&scratch.path, &sums)?;
            let root = directories::new_folder(&scratch.path.join("diff"))?;
            directories::from_numbered(&made.tree, contents, root, &links)?;
            made
        }
    };
    write_down(&scratch.path, diff_id, &made, format)?;
    let place = inner.layer_path(diff_id);
    // Only a damaged one can be there: whoever makes a layer is alone.
    if let Some(old) = inner.discard_if_there(&place)? {
        disk::remove(&old)?;
    }
    // The folder of layers is synced before a record names this one.
    Ok(disk::rename(&scratch.path, &place)?)
}

/// The index and the record, and all of it synced: file by file for an archive, everything at once for a directory of very many files.
fn write_down(folder: &Path, diff_id: &Digest, made: &Made, format: Format) -> Result<(), StoreError> {
    if made.tree.left_out > 0 {
        tracing::debug!(layer = %diff_id, count = made.tree.left_out, "entries or attributes left out");
    }
    let index = made.tree.encode();
    let index_bytes = index.len() as u64;
    let paths = ["index", "layer.json", "tar", "expanded"].map(|name| folder.join(name));
    disk::write_unsynced(&paths[0], &index)?;
    let archive_bytes = if format == Format::Archive { made.archive_bytes } else { 0 };
    LayerRecord::of(diff_id.clone(), &made.tree, archive_bytes, index_bytes).write(&paths[1])?;
    match format {
        Format::Archive => {
            let count = if made.tree.expanded_bytes > 0 { 4 } else { 3 };
            let mut paths: Vec<&Path> = paths[..count].iter().map(PathBuf::as_path).collect();
            paths.push(folder);
            disk::sync_together(&paths)
        }
        Format::Directory => disk::sync_file_system(open(folder)?, folder),
    }
}

fn open(folder: &Path) -> Result<std::fs::File, StoreError> {
    std::fs::File::open(folder).map_err(|e| StoreError::io("open", folder, e))
}
