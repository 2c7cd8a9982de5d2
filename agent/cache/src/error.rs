//! What can be wrong with a cache, and with what is put into it.

use crate::path;
use coord_tar::TarError;
use std::io;

/// Why something could not be done with a cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk did not do as it was told.
    #[error("cannot {operation} {path} of a file cache")]
    Io {
        /// A verb.
        operation: &'static str,
        /// On what; printable.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no room on the disk.
    #[error("the host's disk is full: cannot {operation} {path} of a file cache")]
    DiskFull {
        /// A verb.
        operation: &'static str,
        /// On what; printable.
        path: String,
    },
    /// What is put is more than may be.
    #[error("this is more than {limit}")]
    OverQuota {
        /// Which limit, with its number.
        limit: String,
    },
    /// What is put is no archive, or one that nobody takes.
    #[error("{0}")]
    BadArchive(TarError),
    /// What was to be put did not come as a whole.
    #[error("the files ended before all had come")]
    Input {
        /// What the reader said.
        #[source]
        source: io::Error,
    },
    /// A path that cannot be in a cache.
    #[error("{path} {problem}")]
    BadPath {
        /// As it was asked for; printable.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// What is visible is not what the list says.
    #[error("{path}: {difference}")]
    Altered {
        /// The first path that differs, in the order of the list; printable.
        path: String,
        /// What of it.
        difference: String,
    },
    /// More than a list can hold.
    #[error("it has more than {limit}")]
    TooMuch {
        /// The limit, with its unit.
        limit: String,
    },
    /// It has a mount below it.
    #[error("another file system is mounted at {path} in it")]
    MountWithin {
        /// Relative to the folder; printable.
        path: String,
    },
    /// The list beside the files cannot be read.
    #[error("the list of a file cache is broken in line {line}")]
    List {
        /// Counted from 1.
        line: usize,
    },
}

impl CacheError {
    /// What the kernel said about a path.
    pub(crate) fn io(operation: &'static str, path: &[u8], source: impl Into<io::Error>) -> CacheError {
        let source = source.into();
        let path = path::shown(&path::encode(path));
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => CacheError::DiskFull { operation, path },
            _ => CacheError::Io { operation, path, source },
        }
    }

    pub(crate) fn bad_path(path: &[u8], problem: impl Into<String>) -> CacheError {
        CacheError::BadPath { path: path::shown(&path::encode(path)), problem: problem.into() }
    }
}

impl From<TarError> for CacheError {
    fn from(error: TarError) -> CacheError {
        match error {
            TarError::Input { source } => CacheError::Input { source },
            error @ (TarError::Malformed { .. } | TarError::Entry { .. } | TarError::Limit { .. }) => {
                CacheError::BadArchive(error)
            }
        }
    }
}
