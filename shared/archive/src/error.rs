//! Why an archive becomes no layer.

use coord_tar::TarError;
use std::io;

/// Why an archive becomes no layer. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not of a kind that is read here.
    #[error("the archive is {what}; pack it as tar.gz, tar.zst or zip")]
    Kind {
        /// What it seems to be.
        what: &'static str,
    },
    /// It cannot be decompressed.
    #[error("the archive cannot be decompressed; was it cut off on its way? send it again")]
    Compression {
        /// The decoder's words.
        #[source]
        source: io::Error,
    },
    /// It breaks the rules of archives.
    #[error("{rule}; pack it again without that")]
    Rules {
        /// Which rule, and where. Its words are the message, so it is no cause beside.
        rule: TarError,
    },
    /// A zip file contradicts itself.
    #[error("the zip file {problem}; pack it again")]
    Zip {
        /// What is wrong.
        problem: String,
    },
    /// A place where the base image has something else than a folder.
    #[error("{path:?} cannot be a folder of the image: {problem}; choose another target")]
    Place {
        /// The place.
        path: String,
        /// What is there.
        problem: String,
    },
    /// Nothing is in it.
    #[error("the archive is empty; look at what packs it")]
    Empty,
    /// Our own temporary file, the archive's file, or where the layer goes.
    #[error("cannot {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl ArchiveError {
    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> ArchiveError {
        move |source| ArchiveError::Io { operation, source }
    }

    pub(crate) fn entry(path: &[u8], problem: impl Into<String>) -> ArchiveError {
        TarError::entry(path, problem).into()
    }

    pub(crate) fn zip(problem: impl Into<String>) -> ArchiveError {
        ArchiveError::Zip { problem: problem.into() }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, ArchiveError::Io { source, .. } if full.contains(&source.kind()))
    }

    /// Whether it is the machine that failed, and not the archive.
    pub fn is_ours(&self) -> bool {
        matches!(self, ArchiveError::Io { .. })
    }
}

impl From<TarError> for ArchiveError {
    fn from(error: TarError) -> ArchiveError {
        match error {
            // What is read here is what a decoder makes.
            TarError::Input { source } => input(source),
            TarError::Malformed { .. } | TarError::Entry { .. } | TarError::Limit { .. } => ArchiveError::Rules { rule: error },
        }
    }
}

/// An error of reading: a limit that `input` has put there, or the decoder's.
fn input(source: io::Error) -> ArchiveError {
    match source.downcast::<TarError>() {
        Ok(limit) => ArchiveError::Rules { rule: limit },
        Err(source) => ArchiveError::Compression { source },
    }
}
