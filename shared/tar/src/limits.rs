//! How much of anything a layer may have. A hostile image must not fill a disk, an inode table or memory.

use crate::TarError;

/// Limits of one layer, far above what real images have and far below what would hurt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Uncompressed bytes. The largest public images (machine learning) have layers of about 20 GB.
    pub layer_max_bytes: u64,
    /// Entries of the archive. A layer of 500,000 files exists (texlive). Reading one takes up to 200 bytes of memory for each.
    pub layer_max_entries: u64,
    /// Uncompressed bytes per compressed byte, beyond the first `ratio_free_bytes`. Executables reach 5, logs 30; deflate of zeros 1,030.
    pub ratio_max: u64,
    /// A small layer may well be all zeros.
    pub ratio_free_bytes: u64,
    /// Folders within folders.
    pub depth_max: usize,
    /// Names, targets of links and extended attributes, all together: about 100 for each entry. They are kept in memory.
    pub names_max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            layer_max_bytes: 128 << 30,
            layer_max_entries: 1_000_000,
            ratio_max: 250,
            ratio_free_bytes: 1 << 30,
            depth_max: 256,
            names_max_bytes: 96 << 20,
        }
    }
}

impl Limits {
    /// Whether so much may come out of so much that went in, until now.
    ///
    /// # Errors
    /// It is too large, or larger than anything honest becomes when it is unpacked.
    pub fn check_size(&self, in_bytes: u64, out_bytes: u64) -> Result<(), TarError> {
        if out_bytes > self.layer_max_bytes {
            return Err(TarError::Limit { limit: format!("{} bytes", self.layer_max_bytes) });
        }
        if out_bytes > self.ratio_free_bytes && out_bytes / self.ratio_max > in_bytes {
            return Err(TarError::Limit { limit: format!("{} bytes unpacked per byte packed", self.ratio_max) });
        }
        Ok(())
    }
}
