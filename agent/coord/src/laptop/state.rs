//! What a cache is beside its files: kept in the root of its container, where no second container sees it.

use super::api::{Api, ApiError, Summary};
use super::list::{self, Pieces};
use crate::failure::{failure, local};
use crate::http::{Trouble, whole};
use bytes::Bytes;
use coord_shared::names::CacheName;
use coord_shared::quantity::Span;
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CacheKind, CacheView, Entry, TtlFrom};
use coord_tar::{Archive, Kind, padding, write_header};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;

/// Labels of a cache's container.
pub(super) const CACHE: &str = "coord.cache";
const PATH: &str = "coord.path";
const TTL: &str = "coord.ttl";
const TTL_FROM: &str = "coord.ttl-from";
const FROM: &str = "coord.from";
const CREATED: &str = "coord.created";
/// Before the name of a cache: its container's and its volume's.
const PREFIX: &str = "coord-cache-";
/// A folder in the root of its container.
const FOLDER: &str = ".coord-cache";
const STATE: &str = "state.json";
const LIST: &str = "list.jsonl";
/// How often an engine is asked for what a cache holds, and how long between two times.
const TRIES_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);
/// Pieces of an archive on their way.
const PIECES_MAX: usize = 4;
/// Largest state and list: as many paths as a layer may have.
const KEPT_MAX_BYTES: u64 = 256 << 20;
/// Why nothing is live.
const COPIED: &str = "an engine's containers cannot see a folder of another container as it changes";

/// A cache.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    pub(super) name: CacheName,
    pub(super) path: String,
    pub(super) ttl: Option<Span>,
    pub(super) ttl_from: TtlFrom,
    pub(super) from: Option<String>,
    pub(super) created_at: Timestamp,
}

/// What changes of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) used_at: Timestamp,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// A container that may write to it was started since its list was taken.
    #[serde(default)]
    pub(super) changed: bool,
}

impl Cache {
    /// The name of its container and of its volume.
    pub(super) fn container(name: &CacheName) -> String {
        format!("{PREFIX}{name}")
    }

    pub(super) fn labels(&self) -> BTreeMap<&'static str, String> {
        let from = match self.ttl_from {
            TtlFrom::Creation => "creation",
            TtlFrom::LastUse => "last_use",
        };
        let mut labels = BTreeMap::from([(CACHE, self.name.to_string()), (PATH, self.path.clone())]);
        labels.insert(CREATED, self.created_at.to_string());
        labels.extend(self.ttl.map(|ttl| (TTL, ttl.to_string())));
        labels.insert(TTL_FROM, from.to_owned());
        labels.extend(self.from.clone().map(|from| (FROM, from)));
        labels
    }

    /// Of a container with the label of caches; none of one that somebody else has labelled so.
    pub(super) fn of(summary: &Summary) -> Option<Cache> {
        let label = |key: &str| summary.labels.get(key);
        Some(Cache {
            name: label(CACHE)?.parse().ok()?,
            path: label(PATH)?.clone(),
            ttl: label(TTL).and_then(|ttl| ttl.parse().ok()),
            ttl_from: if label(TTL_FROM).is_some_and(|from| from == "last_use") { TtlFrom::LastUse } else { TtlFrom::Creation },
            from: label(FROM).cloned(),
            created_at: label(CREATED)?.parse().ok()?,
        })
    }

    /// When its time is over, as things are.
    pub(super) fn expires_at(&self, state: &State, is_used: bool) -> Option<Timestamp> {
        let since = match self.ttl_from {
            TtlFrom::Creation => self.created_at,
            TtlFrom::LastUse if is_used => return None,
            TtlFrom::LastUse => state.used_at,
        };
        since.checked_add(self.ttl?.0).ok()
    }

    pub(super) fn view(&self, state: &State, used_by: Vec<coord_shared::names::ChildName>) -> CacheView {
        CacheView {
            name: self.name.clone(),
            path: self.path.clone(),
            kind: CacheKind::Store,
            because: self.from.as_ref().map(|_| COPIED.to_owned()),
            from: self.from.clone(),
            files: state.files,
            bytes: state.bytes,
            created_at: self.created_at,
            used_at: state.used_at,
            expires_at: self.expires_at(state, !used_by.is_empty()),
            used_by,
        }
    }
}

/// Writes down what a cache is, and with `entries` its list.
pub(super) async fn keep(api: &Api, name: &CacheName, state: &State, entries: Option<&[Entry]>) -> Result<(), ErrorBody> {
    let mut archive = Vec::new();
    // Plain data, which always serialises.
    let mut files = vec![(STATE, serde_json::to_vec(state).unwrap_or_default())];
    if let Some(entries) = entries {
        let lines: Vec<String> = entries.iter().map(|entry| serde_json::to_string(entry).unwrap_or_default() + "\n").collect();
        files.push((LIST, lines.concat().into_bytes()));
    }
    let written = folder(&mut archive, FOLDER)
        .and_then(|()| files.iter().try_for_each(|(file, content)| add(&mut archive, &format!("{FOLDER}/{file}"), content)));
    written.map_err(|e| local("write an archive", e))?;
    archive.resize(archive.len() + coord_tar::END_BYTES, 0);
    let archive = Bytes::from(archive);
    insist(async || Ok(api.unpack(&Cache::container(name), "/", whole(archive.clone())).await?)).await
}

/// An archive of these folders, one in the other, as far down as `path` goes.
pub(super) fn folders(path: &str) -> io::Result<Bytes> {
    let (mut archive, mut whole) = (Vec::new(), String::new());
    for part in path.split('/') {
        whole.push_str(if whole.is_empty() { "" } else { "/" });
        whole.push_str(part);
        folder(&mut archive, &whole)?;
    }
    archive.resize(archive.len() + coord_tar::END_BYTES, 0);
    Ok(archive.into())
}

fn folder(archive: &mut Vec<u8>, path: &str) -> io::Result<()> {
    let entry = coord_tar::Entry { path: path.into(), kind: Kind::Directory, mode: 0o755, ..coord_tar::Entry::default() };
    write_header(archive, &entry)
}

fn add(archive: &mut Vec<u8>, path: &str, content: &[u8]) -> io::Result<()> {
    let size = content.len() as u64;
    let entry = coord_tar::Entry { path: path.into(), kind: Kind::File, mode: 0o644, size, ..coord_tar::Entry::default() };
    write_header(archive, &entry)?;
    archive.extend_from_slice(content);
    archive.resize(archive.len() + padding(size), 0);
    Ok(())
}

/// What changes of a cache.
pub(super) async fn state(api: &Api, name: &CacheName) -> Result<State, ErrorBody> {
    let bytes = kept(api, name, STATE).await?;
    serde_json::from_slice(&bytes).map_err(|e| broken(name, &e.to_string()))
}

/// Its list, as it was taken last.
pub(super) async fn entries(api: &Api, name: &CacheName) -> Result<Vec<Entry>, ErrorBody> {
    let bytes = kept(api, name, LIST).await?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|e| broken(name, &e.to_string()))).collect()
}

fn broken(name: &CacheName, problem: &str) -> ErrorBody {
    failure(
        "broken_cache",
        format!("what is known of cache {name} cannot be read: {problem}"),
        Some("delete it and make it again"),
    )
}

/// Asks again, a few times: Podman mounts a stopped container's root for each request, and takes it away from one when another one ends.
async fn insist<T>(ask: impl AsyncFn() -> Result<T, ErrorBody>) -> Result<T, ErrorBody> {
    let mut left = TRIES_MAX;
    loop {
        left -= 1;
        match ask().await {
            Err(_) if left > 0 => tokio::time::sleep(PAUSE).await,
            answered => return answered,
        }
    }
}

/// One of the files beside its files.
async fn kept(api: &Api, name: &CacheName, file: &str) -> Result<Vec<u8>, ErrorBody> {
    insist(async || kept_now(api, name, file).await).await
}

async fn kept_now(api: &Api, name: &CacheName, file: &str) -> Result<Vec<u8>, ErrorBody> {
    let response = archive_of(api, name, &format!("/{FOLDER}/{file}")).await?;
    let read = move |pieces: Pieces| {
        let mut archive = Archive::new(pieces);
        let (mut entry, mut content) = (coord_tar::Entry::default(), Vec::new());
        if archive.next_entry(&mut entry)? && entry.size <= KEPT_MAX_BYTES {
            loop {
                let piece = archive.content()?;
                if piece.is_empty() {
                    break;
                }
                content.extend_from_slice(piece);
                let length = piece.len();
                archive.consume(length);
            }
        }
        archive.drain().map(|()| content)
    };
    with_archive(response, read).await.map_err(|problem| broken(name, &problem))
}

/// Looks at what is in a cache now.
pub(super) async fn look(api: &Api, cache: &Cache) -> Result<Vec<Entry>, ErrorBody> {
    insist(async || look_now(api, cache).await).await
}

async fn look_now(api: &Api, cache: &Cache) -> Result<Vec<Entry>, ErrorBody> {
    // Of a folder, engines call the entries by its name or not; of what is in it, all of them call them the same.
    let response = archive_of(api, &cache.name, &format!("{}/.", cache.path)).await?;
    let read = with_archive(response, list::read).await;
    read.map_err(|problem| failure("engine", format!("the files of cache {} cannot be read: {problem}", cache.name), None))
}

async fn archive_of(api: &Api, name: &CacheName, path: &str) -> Result<Response<Incoming>, ErrorBody> {
    api.archive(&Cache::container(name), path).await.map_err(|error| missing_or(name, error))
}

/// A refusal that is about the cache itself.
pub(super) fn missing_or(name: &CacheName, error: ApiError) -> ErrorBody {
    if error.is_missing() { missing(name) } else { error.into() }
}

pub(super) fn missing(name: &CacheName) -> ErrorBody {
    failure("no_such_cache", format!("there is no cache {name}"), Some("`coord cache ls` lists them"))
}

/// Reads an answer that is an archive, on a thread that may wait for it. The error is in words.
async fn with_archive<T: Send + 'static>(
    response: Response<Incoming>,
    read: impl FnOnce(Pieces) -> Result<T, coord_tar::TarError> + Send + 'static,
) -> Result<T, String> {
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    let reading = tokio::task::spawn_blocking(move || read(Pieces::new(pieces)));
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let piece = frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(|e| io::Error::other(Trouble::Broken(e)));
        if sender.send(piece).await.is_err() {
            // The reader says why it wants no more.
            break;
        }
    }
    drop(sender);
    reading.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}
