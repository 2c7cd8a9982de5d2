//! What travels over the control socket, beside the bodies of `images`. Version 1: fields are only ever added.

use crate::images::{PullProgress, Pulled};
use coord_shared::names::HostName;
use coord_shared::wire::ErrorBody;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Which agent this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentInfo {
    /// Of the program.
    pub version: String,
    /// The host's name.
    pub host: HostName,
    /// Where it keeps what survives a reboot.
    pub state_dir: PathBuf,
    /// Its process.
    pub pid: u32,
}

/// `POST /v1/images/pull`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageAsked {
    /// A reference.
    pub image: String,
}

/// `POST /v1/images/mount`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ViewAsked {
    /// A reference, a digest, or the beginning of one.
    pub image: String,
    /// Absolute.
    pub dir: PathBuf,
}

/// `POST /v1/images/unmount`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnmountAsked {
    /// Absolute.
    pub dir: PathBuf,
}

/// `POST /v1/images/verify`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct VerifyAsked {
    /// A reference, a digest, or the beginning of one; every image where absent.
    #[serde(default)]
    pub image: Option<String>,
    /// Remove what is damaged, so that it comes anew.
    #[serde(default)]
    pub repair: bool,
}

/// `POST /v1/images/prune`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PruneAsked {
    /// However recently they were used.
    #[serde(default)]
    pub all: bool,
}

/// One line of the answer to a pull. The last one says how it ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullLine {
    /// How far it has come.
    Progress(PullProgress),
    /// It ended well.
    Done(Pulled),
    /// It did not.
    Error(ErrorBody),
}
