//! Names that only a registry knows: tags, and what a manifest is asked for by.

use coord_shared::names::{Digest, NameError};
use std::fmt;

/// Longest tag, in bytes (OCI distribution spec 1.1, "Pulling manifests").
const TAG_MAX_BYTES: usize = 128;

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// Why a text is no tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a tag: 1 to 128 letters, digits, and _ . - (which cannot start it)")]
pub struct TagError(String);

impl std::str::FromStr for Tag {
    type Err = TagError;
    fn from_str(text: &str) -> Result<Self, TagError> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let starts_well = text.bytes().next().is_some_and(is_word);
        if !starts_well || text.len() > TAG_MAX_BYTES || !text.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-')) {
            return Err(TagError(text.chars().take(TAG_MAX_BYTES).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// Whatever the tag names now.
    Tag(Tag),
    /// Exactly this one.
    Digest(Digest),
}

/// Why a text names no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It has a `:`, so it must be a digest, and is none.
    #[error(transparent)]
    Digest(#[from] NameError),
    /// It has none, so it must be a tag, and is none.
    #[error(transparent)]
    Tag(#[from] TagError),
}

impl std::str::FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Ok(if text.contains(':') { Self::Digest(text.parse()?) } else { Self::Tag(text.parse()?) })
    }
}

impl From<Tag> for Reference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "{tag}"),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}
