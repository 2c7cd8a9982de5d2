//! What is wrong with an archive. Whoever reads it says whose archive it is, and what the cure is.

use std::io;

/// Of an entry's name in a message.
const PATH_SHOWN_MAX_BYTES: usize = 300;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// It is malformed.
    #[error("the archive {problem}")]
    Malformed {
        /// What is wrong.
        problem: String,
    },
    /// It has an entry that must not be.
    #[error("the entry {path:?} {problem}")]
    Entry {
        /// The entry's name, printable.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It is larger than anybody is willing to read.
    #[error("the archive has more than {limit}")]
    Limit {
        /// The limit, with its unit.
        limit: String,
    },
    /// Its bytes could not be read.
    #[error("cannot read the archive")]
    Input {
        /// What the reader said.
        #[source]
        source: io::Error,
    },
}

impl TarError {
    /// The archive as such is malformed.
    pub fn tar(problem: impl Into<String>) -> TarError {
        TarError::Malformed { problem: problem.into() }
    }

    /// Something about the entry of this name.
    pub fn entry(path: &[u8], problem: impl Into<String>) -> TarError {
        TarError::Entry { path: shown(path), problem: problem.into() }
    }

    pub(crate) fn input(source: io::Error) -> TarError {
        TarError::Input { source }
    }
}

/// A name as messages show it: printable, and not a megabyte long before anybody has judged it.
pub fn shown(path: &[u8]) -> String {
    let shown = &path[..path.len().min(PATH_SHOWN_MAX_BYTES)];
    let ellipsis = if shown.len() < path.len() { "..." } else { "" };
    format!("{}{ellipsis}", shown.escape_ascii())
}
