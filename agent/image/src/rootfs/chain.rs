//! A chain, the layers of an image from the bottom up, as one EROFS image: made from the layers' indexes when it is missing, mounted
//! when it is not.
//!
//! The image is nothing but a shortcut: it is made again, with the same bytes, whenever it is not there. So is a layer's index, from
//! the layer's archive.

use super::{Source, is_mounted, mount_source};
use crate::erofs;
use crate::error::{LayerError, StoreError};
use crate::record::LayerRecord;
use crate::store::{Inner, Scratch, crash, disk, layout};
use crate::tree::{self, Contents, Data, Layer, LayerTree};
use coord_shared::names::Digest;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// Archives are read in pieces of this size when their index is to be made again.
const READ_BYTES: usize = 256 * 1024;

/// Makes the EROFS image of a chain unless it is there. All layers must be here as archives.
///
/// # Errors
/// `Unfit` when the layers do not fit together, or not into the format; `Damaged` for a layer that is not as it was written.
pub(crate) fn prepare(inner: &Inner, diff_ids: &[Digest]) -> Result<(), StoreError> {
    let _alone = inner.mounting();
    let chain = Chain::of(inner, diff_ids)?;
    chain.prepare()
}

/// Mounts a chain unless that was done already, and returns where. Two threads at once are fine.
///
/// # Errors
/// As `prepare`; and when the kernel does not mount it.
pub(crate) fn mount(inner: &Inner, diff_ids: &[Digest]) -> Result<PathBuf, StoreError> {
    let _alone = inner.mounting();
    let chain = Chain::of(inner, diff_ids)?;
    let place = inner.mount_path(&chain.name);
    let source = Source { meta: &inner.meta_path(&chain.name), devices: &chain.devices() };
    if !is_mounted(inner.dir(), &place)? {
        chain.prepare()?;
        mount_source(inner.host(), &source, &place)?;
    }
    Ok(place)
}

/// Whether a chain's EROFS image, if there is one, is what its layers' indexes make of it, byte for byte.
///
/// # Errors
/// As `prepare`.
pub(crate) fn is_intact(inner: &Inner, diff_ids: &[Digest]) -> Result<bool, StoreError> {
    let chain = Chain::of(inner, diff_ids)?;
    let path = inner.meta_path(&chain.name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    let mut same = Same { expected: BufReader::with_capacity(READ_BYTES, file), is_same: true };
    chain.write(&path, &mut same)?;
    same.is_over().map_err(|error| StoreError::io("read", path, error))
}

/// Takes bytes that should be those of a file.
struct Same {
    expected: BufReader<File>,
    is_same: bool,
}

impl Same {
    fn is_over(&mut self) -> io::Result<bool> {
        Ok(self.is_same && self.expected.fill_buf()?.is_empty())
    }
}

impl io::Write for Same {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let expected = self.expected.fill_buf()?;
        let len = bytes.len().min(expected.len());
        self.is_same = self.is_same && len > 0 && bytes[..len] == expected[..len];
        self.expected.consume(len);
        // The file may be over, the rest is only counted.
        Ok(if len == 0 { bytes.len() } else { len })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Chain<'a> {
    inner: &'a Inner,
    name: Digest,
    /// Bottom first; a layer may be in a chain twice.
    layers: Vec<LayerRecord>,
}

impl<'a> Chain<'a> {
    fn of(inner: &'a Inner, diff_ids: &[Digest]) -> Result<Chain<'a>, StoreError> {
        let mut layers = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            let missing = || StoreError::Damaged { path: inner.layer_path(diff_id), problem: "it is missing".to_owned() };
            layers.push(inner.layer(diff_id)?.ok_or_else(missing)?);
        }
        Ok(Chain { inner, name: layout::chain_of(diff_ids), layers })
    }

    fn prepare(&self) -> Result<(), StoreError> {
        let meta = self.inner.meta_path(&self.name);
        match File::open(&meta).and_then(|file| erofs::is_whole(&file)) {
            Ok(true) => return Ok(()),
            Ok(false) => tracing::warn!(path = %meta.display(), "damaged image of the layers' names; made again"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("read", meta, error)),
        }
        let scratch = Scratch { path: self.inner.tmp_path() };
        let file = disk::create_file(&scratch.path)?;
        crash::point("write");
        self.write(&scratch.path, &mut &file)?;
        disk::sync_file(&file, &scratch.path)?;
        disk::create_dir_all(&self.inner.chain_path(&self.name), disk::PRIVATE)?;
        self.inner.commit(&scratch.path, &meta)
    }

    /// Writes the EROFS image. `path` is for the error.
    fn write(&self, path: &Path, out: &mut impl io::Write) -> Result<(), StoreError> {
        let trees = self.trees()?;
        let merged = tree::merge(&self.numbered(&trees)).map_err(|problem| StoreError::Unfit { problem })?;
        drop(trees);
        let sizes: Vec<u64> = self.files().map(|(_, bytes)| bytes).collect();
        let written = erofs::write(&merged, &sizes, out);
        written.map(drop).map_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData {
                StoreError::Unfit { problem: error.to_string() }
            } else {
                StoreError::io("write", path, error)
            }
        })
    }

    /// The layers, each once, in the order in which they first occur.
    fn distinct(&self) -> impl Iterator<Item = &LayerRecord> {
        let is_first = |at: usize| self.layers[..at].iter().all(|layer| layer.diff_id != self.layers[at].diff_id);
        self.layers.iter().enumerate().filter(move |(at, _)| is_first(*at)).map(|(_, layer)| layer)
    }

    /// The files with contents, and their sizes: a layer's archive, and after it the expanded contents if it has any.
    fn files(&self) -> impl Iterator<Item = (PathBuf, u64)> {
        self.distinct().flat_map(|layer| {
            let archive = (self.inner.tar_path(&layer.diff_id), layer.archive_bytes);
            let expanded = (self.inner.expanded_path(&layer.diff_id), layer.expanded_bytes);
            [archive].into_iter().chain((layer.expanded_bytes > 0).then_some(expanded))
        })
    }

    fn devices(&self) -> Vec<PathBuf> {
        self.files().map(|(path, _)| path).collect()
    }

    fn trees(&self) -> Result<Vec<(&LayerRecord, LayerTree)>, StoreError> {
        self.distinct().map(|layer| Ok((layer, load(self.inner, layer)?))).collect()
    }

    /// The layers with their trees and the numbers of their files.
    fn numbered<'t>(&self, trees: &'t [(&LayerRecord, LayerTree)]) -> Vec<Layer<'t>> {
        let mut next = 0;
        let mut numbered = Vec::with_capacity(trees.len());
        for (layer, tree) in trees {
            // So many that they do not fit are refused when the image is written.
            let expanded_device = u16::saturating_add(next, u16::from(layer.expanded_bytes > 0));
            numbered.push((&layer.diff_id, Layer { tree, archive_device: next, expanded_device }));
            next = expanded_device.saturating_add(1);
        }
        let find = |diff_id: &Digest| numbered.iter().find(|(id, _)| *id == diff_id).map(|(_, layer)| *layer);
        self.layers.iter().filter_map(|layer| find(&layer.diff_id)).collect()
    }
}

/// A layer's tree, by its index; where that is damaged, by its archive.
fn load(inner: &Inner, layer: &LayerRecord) -> Result<LayerTree, StoreError> {
    let path = inner.index_path(&layer.diff_id);
    let decoded = std::fs::read(&path).map_err(|error| error.to_string()).and_then(|bytes| LayerTree::decode(&bytes));
    let problem = match decoded {
        Ok(tree) => return Ok(tree),
        Err(problem) => problem,
    };
    tracing::warn!(layer = %layer.diff_id, problem, "damaged index of a layer; made again from its archive");
    let archive = inner.tar_path(&layer.diff_id);
    let file = File::open(&archive).map_err(|error| StoreError::io("open", &archive, error))?;
    let tree = tree::read_layer(BufReader::with_capacity(READ_BYTES, file), &inner.options.limits, &mut Nobody);
    let tree = tree.map_err(|error| StoreError::Damaged { path: archive, problem: coord_registry::chain(&error) })?;
    let scratch = Scratch { path: inner.tmp_path() };
    disk::write_file(&scratch.path, &tree.encode())?;
    inner.commit(&scratch.path, &path)?;
    Ok(tree)
}

/// Wants no contents: they are there already.
pub(super) struct Nobody;

impl Contents for Nobody {
    fn wants(&self, _: Data) -> bool {
        false
    }

    fn begin(&mut self, _: u32, _: Data, _: u64) -> Result<(), LayerError> {
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), LayerError> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), LayerError> {
        Ok(())
    }

    fn forget(&mut self, _: u32) -> Result<(), LayerError> {
        Ok(())
    }
}
