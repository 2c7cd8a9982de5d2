//! What a container and the door in it (`/run/coord/nested.sock`) say to each other, and what the agent reports of it.
//!
//! | route | asks | answer |
//! | --- | --- | --- |
//! | `GET /v1/info` | | [`Info`] |
//! | `POST /v1/caches` | [`NewCache`] | [`CacheView`] |
//! | `GET /v1/caches`, `GET /v1/caches/NAME` | | [`CachesView`], [`CacheView`] |
//! | `PUT /v1/caches/NAME/archive?path=P` | a tar stream | [`PutView`] |
//! | `PUT /v1/caches/NAME/files/PATH?mode=0644` | a file's bytes | [`PutView`] |
//! | `GET /v1/caches/NAME/list` | | lines of [`Entry`] |
//! | `POST /v1/caches/NAME/verify` | | [`Verified`] |
//! | `DELETE /v1/caches/NAME` | | nothing (204) |
//! | `POST /v1/containers` | [`NewChild`] | [`ChildView`] |
//! | `GET /v1/containers`, `GET /v1/containers/NAME` | | [`ChildrenView`], [`ChildView`] |
//! | `GET /v1/containers/NAME/logs?follow&tail=N` | | lines, as in a log |
//! | `POST /v1/containers/NAME/wait` | | [`ChildView`], once it has ended |
//! | `POST /v1/containers/NAME/stop` | [`Stop`] | [`ChildView`], once it has ended |
//! | `POST /v1/containers/NAME/signal` | [`SignalAsked`] | [`ChildView`] |
//! | `POST /v1/containers/NAME/exec` | [`ExecAsked`] | an upgraded connection that carries the program's streams |
//!
//! Every error is an [`super::ErrorBody`]. What is asked is strict: a key that is not known is refused, so that nobody believes to have
//! got what was passed over.

use super::Exit;
use crate::document::NestedNetwork;
use crate::names::{CacheName, ChildName, Digest, ImagePattern};
use crate::quantity::{ByteSize, MilliCpus, Signal, Span};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where the door is, in a container that has one.
pub const SOCKET: &str = "/run/coord/nested.sock";
/// Where standard files are handed over: a message of a token (16 to 64 letters and digits) with three descriptors (SCM_RIGHTS); one
/// byte, `+`, is the answer when they are kept. [`NewChild::stdio`] names the token then.
pub const STDIO_SOCKET: &str = "/run/coord/stdio.sock";
/// How the door's program is reached there.
pub const PROGRAM: &str = "/run/coord/coord";
/// Protocol by which an exec's connection is upgraded; [`super::Frame`]s follow.
pub const EXEC_PROTOCOL: &str = "coord-exec";

/// Files up to this size are compared whole, by SHA-256; of larger ones, pieces.
pub const WHOLE_MAX_BYTES: u64 = 1 << 20;
/// Ended second containers of a parent that are remembered.
pub const ENDED_MAX: usize = 64;

/// What the door allows, and what is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The agent's release.
    pub version: String,
    /// The container that asks: an instance's, or that of a step.
    pub parent: String,
    /// Second containers that may run at a time, and do.
    pub containers: (u32, u32),
    /// Bytes that caches may hold together, and do.
    pub caches: (u64, u64),
    /// Memory of all second containers.
    pub memory: Option<ByteSize>,
    /// CPU time of all second containers.
    pub cpus: Option<MilliCpus>,
    /// Processes of all second containers.
    pub pids: u32,
    /// What they may be made of.
    pub images: Vec<ImagePattern>,
    /// The parent's own image, which they may always be made of.
    pub own_image: String,
    /// The widest network that they may see.
    pub network: NestedNetwork,
}

/// A file cache to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCache {
    /// Its name.
    pub name: CacheName,
    /// The open path: where it is mounted unless a mount says otherwise. Absolute.
    pub path: String,
    /// How long it lives; as long as its container where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// Since when that counts.
    #[serde(default)]
    pub ttl_from: TtlFrom,
    /// A folder of the asking container to be published, instead of files that are put: absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it may hold at most; all that its container's caches may where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
}

/// Since when a time to live counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TtlFrom {
    /// Since it was made.
    #[default]
    Creation,
    /// Since files were last put, or a container that mounts it started or ended. It does not run out while one is mounted.
    LastUse,
}

/// How a cache holds its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheKind {
    /// In a store of the agent's.
    Store,
    /// Where they are: a folder of the container that made it, seen live.
    Live,
}

impl std::fmt::Display for CacheKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Store => "store",
            Self::Live => "live",
        })
    }
}

/// A file cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheView {
    /// Its name.
    pub name: CacheName,
    /// The open path.
    pub path: String,
    /// How it holds its files.
    pub kind: CacheKind,
    /// Why it is a store although a folder was to be published; in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// The folder that was to be published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Regular files in it; of a live one, when it was last looked at.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used.
    pub used_at: Timestamp,
    /// When it will be deleted, as things are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Running containers that mount it.
    #[serde(default)]
    pub used_by: Vec<ChildName>,
}

/// All caches of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachesView {
    /// By name.
    pub caches: Vec<CacheView>,
}

/// What came of putting files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutView {
    /// Regular files that were put.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The cache, with them.
    pub cache: CacheView,
}

/// One path in a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the cache; bytes that are no UTF-8 are written as `%XX`, and `%` as `%25`.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Permissions, 12 bits.
    pub mode: u32,
    /// Bytes of a file.
    #[serde(default)]
    pub size: u64,
    /// SHA-256 of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// SHA-256 over pieces of a file that is larger than [`WHOLE_MAX_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Digest>,
    /// Where a symbolic link leads; written as `path` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Kinds of paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A named pipe, socket or device: that it is there is compared, and nothing else.
    Special,
}

/// What is visible is what the list says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verified {
    /// Regular files that are there, with the right size.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files that were compared whole.
    pub hashed: u64,
    /// Files that were compared by pieces.
    pub sampled: u64,
}

/// A second container to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewChild {
    /// `registry/repository:tag`, or by digest.
    pub image: String,
    /// One is chosen where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ChildName>,
    /// Replaces the image's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Added to the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<(String, String)>,
    /// The image's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The image's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What is mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<CacheMount>,
    /// Its own limit, within that of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Its own limit, within that of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<MilliCpus>,
    /// Its own limit, within that of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// The root file system refuses writes.
    #[serde(default)]
    pub read_only: bool,
    /// A small init is process 1.
    #[serde(default)]
    pub init: bool,
    /// The widest that is allowed where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NestedNetwork>,
    /// Capabilities taken from it, beside those that its parent lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// The token of the standard files that were handed over; with none, its output is logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdio: Option<String>,
    /// Before it, a container of the same image lists what it sees in the caches, and its log is compared.
    #[serde(default)]
    pub verify_by_log: bool,
}

/// A cache in a second container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheMount {
    /// Which.
    pub name: CacheName,
    /// Where; at its open path where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// It refuses writes.
    #[serde(default)]
    pub read_only: bool,
}

/// What a second container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildState {
    /// It is being made: its image pulled, its caches compared.
    Starting,
    /// Its command was executed.
    Running,
    /// It has ended.
    Exited,
    /// It never ran; the reason says why.
    Failed,
    /// A state of a newer agent.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for ChildState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        })
    }
}

/// A second container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildView {
    /// Its name.
    pub name: ChildName,
    /// As it was asked for.
    pub image: String,
    /// What that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What it does.
    pub state: ChildState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its command was executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Its first process, as the host numbers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Why it failed or was ended, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The caches that it mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<MountView>,
    /// Its output went to whoever started it, and was not logged.
    #[serde(default)]
    pub attached: bool,
}

/// A cache that a second container mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountView {
    /// Which.
    pub name: CacheName,
    /// Where.
    pub path: String,
    /// It refuses writes.
    pub read_only: bool,
    /// What was found before the command was executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// A container's own list of it, in its log, was the same: so many files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_by_log: Option<u64>,
}

/// All second containers of a parent: those that live, and the last [`ENDED_MAX`] that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildrenView {
    /// Oldest first.
    pub containers: Vec<ChildView>,
}

/// How to stop.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The image's own, else SIGTERM, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// How long it may take; 10 s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Span>,
}

/// A signal for its first process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalAsked {
    /// Which.
    pub signal: Signal,
}

/// A program to be run in a second container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecAsked {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Added to the container's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<(String, String)>,
    /// The container's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The container's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Rows and columns of its terminal, if it is to have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<(u16, u16)>,
    /// It gets a standard input.
    #[serde(default)]
    pub stdin: bool,
}

/// What a container has within it, as the agent reports it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NestedReport {
    /// Oldest first; those that live, and the last that ended.
    #[serde(default)]
    pub containers: Vec<ChildView>,
    /// By name.
    #[serde(default)]
    pub caches: Vec<CacheView>,
    /// Containers and caches that there was no room to tell of, in the report of a host with very many.
    #[serde(default, skip_serializing_if = "is_none")]
    pub left_out: u32,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}
