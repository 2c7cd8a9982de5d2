//! A layer's archive, and the contents that were expanded from it.

use super::pieces::{self, Hashed};
use crate::error::LayerError;
use crate::record::LayerRecord;
use crate::store::Inner;
use crate::tree::{self, Data, LayerTree};
use coord_shared::names::Digest;
use coord_tar::Limits;
use std::fs::File;
use std::io;

/// Reads an archive whole. Its tree, if its bytes and what was expanded of them are as they should be; else what is wrong.
pub(super) fn check(inner: &Inner, layer: &LayerRecord) -> Result<LayerTree, String> {
    let archive = pieces::open(&inner.tar_path(&layer.diff_id))?;
    let expanded = (layer.expanded_bytes > 0).then(|| pieces::open(&inner.expanded_path(&layer.diff_id))).transpose()?;
    let mut reader = Hashed::new(&archive);
    let mut compare = Compare { file: expanded, start: 0, at: 0, size: 0, buffer: Vec::new(), problem: None };
    let read = tree::read_layer(&mut reader, &limits(inner), &mut compare);
    if let Some(error) = reader.error {
        return Err(format!("its archive cannot be read: {error}"));
    }
    let tree = read.map_err(|error| format!("its archive is damaged: {}", coord_registry::chain(&error)))?;
    let actual = Digest::from_sha256(reader.sum());
    if actual != layer.diff_id {
        return Err(format!("its archive has the digest {actual}"));
    }
    compare.problem.map_or(Ok(tree), Err)
}

/// What was taken in under other limits is no damage.
fn limits(inner: &Inner) -> Limits {
    let (set, usual) = (inner.options.limits, Limits::default());
    Limits {
        layer_max_bytes: u64::MAX,
        layer_max_entries: set.layer_max_entries.max(usual.layer_max_entries),
        depth_max: set.depth_max.max(usual.depth_max),
        names_max_bytes: set.names_max_bytes.max(usual.names_max_bytes),
        ..usual
    }
}

/// Compares contents with the file into which they were expanded. The first difference is kept and the reading goes on: if the archive
/// is to blame, its digest will tell.
struct Compare {
    file: Option<File>,
    /// Of the present content, in the file.
    start: u64,
    /// Of the present content: what was compared.
    at: u64,
    size: u64,
    buffer: Vec<u8>,
    problem: Option<String>,
}

impl Compare {
    /// Whether the file has zeros up to `end`, and then `bytes`.
    fn compare(&mut self, end: u64, bytes: &[u8]) {
        let Some(file) = self.file.as_ref().filter(|_| self.problem.is_none()) else { return };
        let (zeros_from, zeros_to) = (self.start + self.at, self.start + end);
        let equal = pieces::is_zero(file, zeros_from, zeros_to, &mut self.buffer)
            .and_then(|zero| Ok(zero && pieces::holds(file, zeros_to, bytes, &mut self.buffer)?));
        self.at = end + bytes.len() as u64;
        self.problem = match equal {
            Ok(true) => None,
            Ok(false) => Some("the expanded contents of its sparse files are not its archive's".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Some("the expanded contents of its sparse files are cut off".to_owned())
            }
            Err(error) => Some(format!("the expanded contents of its sparse files cannot be read: {error}")),
        };
    }
}

impl tree::Contents for Compare {
    fn wants(&self, data: Data) -> bool {
        matches!(data, Data::Expanded { .. })
    }

    fn begin(&mut self, _content: u32, data: Data, size: u64) -> Result<(), LayerError> {
        let (Data::Archive { offset } | Data::Expanded { offset }) = data;
        (self.start, self.at, self.size) = (offset, 0, size);
        if self.file.is_none() {
            self.problem = Some("the expanded contents of its sparse files are missing".to_owned());
        }
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), LayerError> {
        self.compare(at, bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), LayerError> {
        self.compare(self.size, &[]);
        Ok(())
    }

    fn forget(&mut self, _content: u32) -> Result<(), LayerError> {
        Ok(())
    }
}
