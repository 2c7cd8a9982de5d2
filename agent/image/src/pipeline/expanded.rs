//! The contents of sparse files, for layers that are kept as archives: one more file, with holes where they have holes.
//!
//! An archive holds a sparse file's data without what lies between, so no range of it is the file. Rare enough that the file is only
//! made when the first one comes.

use crate::error::LayerError;
use crate::store::crash;
use crate::tree::{Contents, Data};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// For the error's words.
const NAME: &[u8] = b"expanded";

pub(crate) struct Expanded {
    path: PathBuf,
    file: Option<File>,
    /// Where in the file the current content begins.
    start: u64,
}

impl Expanded {
    /// Nothing is there until a sparse file comes.
    pub(crate) fn new(path: PathBuf) -> Expanded {
        Expanded { path, file: None, start: 0 }
    }

    /// Sets the file's size, holes at its end included. Syncing it is left to the caller.
    pub(crate) fn finish(self, bytes: u64) -> Result<(), LayerError> {
        let file = match self.file {
            None if bytes == 0 => return Ok(()),
            // Nothing but holes.
            None => create(&self.path)?,
            Some(file) => file,
        };
        crash::point("finish expanded contents");
        file.set_len(bytes).map_err(|e| LayerError::io("finish", NAME, e))
    }
}

fn create(path: &PathBuf) -> Result<File, LayerError> {
    crash::point("create expanded contents");
    File::create_new(path).map_err(|e| LayerError::io("create", NAME, e))
}

impl Contents for Expanded {
    fn wants(&self, data: Data) -> bool {
        matches!(data, Data::Expanded { .. })
    }

    fn begin(&mut self, _content: u32, data: Data, _size: u64) -> Result<(), LayerError> {
        let (Data::Expanded { offset } | Data::Archive { offset }) = data;
        self.start = offset;
        if self.file.is_none() {
            self.file = Some(create(&self.path)?);
        }
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), LayerError> {
        let file = self.file.as_ref().ok_or(LayerError::Stopped)?;
        file.write_all_at(bytes, self.start + at).map_err(|e| LayerError::io("write", NAME, e))
    }

    fn end(&mut self) -> Result<(), LayerError> {
        Ok(())
    }

    /// Its room stays taken: nothing points there any more, and it is rare.
    fn forget(&mut self, _content: u32) -> Result<(), LayerError> {
        Ok(())
    }
}
