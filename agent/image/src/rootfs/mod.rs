//! From an image's layers to a mounted root file system.

#![allow(dead_code)]

pub(crate) mod attach;

/// What an EROFS image and its contents are mounted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    /// The files themselves.
    File,
    /// Loop devices.
    Loop,
}
