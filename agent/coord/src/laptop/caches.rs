//! Caches, as containers that are never started.

use super::Laptop;
use super::api::{HostConfig, Mount, NewContainer, Summary};
use super::containers::{Child, stop_and_remove};
use super::list::{self, Pieces};
use super::state::{self, CACHE, Cache, State};
use crate::clock;
use crate::failure::{failure, local};
use crate::http::{Body, streamed, whole};
use bytes::Bytes;
use coord_shared::names::{CacheName, ChildName};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CacheView, Entry, NewCache, PutView, TtlFrom, Verified};
use std::io;
use tokio::sync::mpsc;

/// An image without a file in it, made here: no registry is asked for it.
const EMPTY_IMAGE: (&str, &str) = ("localhost/coord-empty", "latest");
/// A container must have a command, also one that is never started.
const NO_COMMAND: &str = "/never-started";
/// Pieces on their way.
const PIECES_MAX: usize = 4;

/// What is put: a tar archive, piece by piece.
pub(crate) type Content = mpsc::Receiver<io::Result<Bytes>>;

impl Laptop {
    /// Makes a cache without files.
    pub(crate) async fn create_cache(&self, asked: &NewCache) -> Result<CacheView, ErrorBody> {
        check_path(&asked.path)?;
        if asked.size.is_some() {
            self.output.note("an engine's volumes have no size; --size is passed over");
        }
        let now = clock::now();
        let cache = Cache {
            name: asked.name.clone(),
            path: asked.path.trim_end_matches('/').to_owned(),
            ttl: asked.ttl,
            ttl_from: asked.ttl_from,
            from: asked.from.clone(),
            created_at: now,
        };
        let container = Cache::container(&cache.name);
        let volume = Mount { kind: "volume", source: container.clone(), target: cache.path.clone(), read_only: false };
        let (repository, tag) = EMPTY_IMAGE;
        let new = NewContainer {
            image: format!("{repository}:{tag}"),
            cmd: Some(vec![NO_COMMAND.to_owned()]),
            labels: cache.labels(),
            host_config: HostConfig { mounts: vec![volume], network_mode: Some("none"), ..HostConfig::default() },
            ..NewContainer::default()
        };
        let mut made = self.api.make(&container, &new).await;
        if made.as_ref().is_err_and(super::api::ApiError::is_missing) {
            self.api.import_empty(repository, tag).await?;
            made = self.api.make(&container, &new).await;
        }
        if made.as_ref().is_err_and(super::api::ApiError::is_conflict) {
            let message = format!("there is a cache {} already", cache.name);
            return Err(failure("cache_exists", message, Some("`coord cache rm` deletes it")));
        }
        made?;
        let state = State { used_at: now, files: 0, bytes: 0, changed: false };
        state::keep(&self.api, &cache.name, &state, Some(&[])).await?;
        Ok(cache.view(&state, Vec::new()))
    }

    /// All of them, by name.
    pub(crate) async fn caches(&self) -> Result<Vec<CacheView>, ErrorBody> {
        let children = self.children_of_caches().await?;
        let mut views = Vec::new();
        for cache in self.all().await? {
            let state = state::state(&self.api, &cache.name).await?;
            views.push(cache.view(&state, users(&children, &cache.name)));
        }
        views.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(views)
    }

    /// One.
    pub(crate) async fn cache(&self, name: &CacheName) -> Result<CacheView, ErrorBody> {
        let cache = self.known(name).await?;
        let state = state::state(&self.api, name).await?;
        Ok(cache.view(&state, users(&self.children_of_caches().await?, name)))
    }

    /// Its list.
    pub(crate) async fn entries(&self, name: &CacheName) -> Result<Vec<Entry>, ErrorBody> {
        let cache = self.known(name).await?;
        self.listed(&cache).await.map(|(_, entries)| entries)
    }

    /// Puts what an archive holds below `below`, and takes the list anew.
    pub(crate) async fn put(&self, name: &CacheName, below: &str, archive: Content) -> Result<PutView, ErrorBody> {
        let cache = self.known(name).await?;
        let below = cleaned(below)?;
        let container = Cache::container(name);
        let mut target = cache.path.clone();
        if !below.is_empty() {
            let folders = state::folders(&below).map_err(|e| local("write an archive", e))?;
            self.api.unpack(&container, &target, whole(folders)).await?;
            target = format!("{target}/{below}");
        }
        let (body, counting) = counted(archive);
        let put = self.api.unpack(&container, &target, body).await;
        let counted = counting.await.map_err(|e| local("read the archive", e))?;
        put.map_err(|error| state::missing_or(name, error))?;
        let entries = counted.map_err(|e| failure("bad_archive", format!("what is put is no proper archive: {e}"), None))?;
        let (files, bytes) = list::sums(&entries);
        let state = self.list_anew(&cache).await?;
        let cache = cache.view(&state, users(&self.children_of_caches().await?, name));
        Ok(PutView { files, bytes, cache })
    }

    /// Compares what it holds with its list.
    pub(crate) async fn verify(&self, name: &CacheName) -> Result<Verified, ErrorBody> {
        let cache = self.known(name).await?;
        let (state, entries) = self.listed(&cache).await?;
        self.compared(&cache, &state, &entries).await
    }

    /// Deletes one, with the containers that mounted it and have ended: they hold on to its volume.
    pub(crate) async fn remove_cache(&self, name: &CacheName) -> Result<(), ErrorBody> {
        self.known(name).await?;
        let children = self.children_of_caches().await?;
        let users = users(&children, name);
        if !users.is_empty() {
            let users: Vec<&str> = users.iter().map(AsRef::as_ref).collect();
            let message = format!("cache {name} is mounted by {}", users.join(", "));
            return Err(failure("cache_in_use", message, Some("`coord stop` ends them")));
        }
        self.delete(name, &children).await
    }

    /// Deletes the caches whose time is over, and ends what mounts them.
    pub(super) async fn sweep(&self) -> Result<(), ErrorBody> {
        let caches: Vec<Cache> = self.all().await?.into_iter().filter(|cache| cache.ttl.is_some()).collect();
        if caches.is_empty() {
            return Ok(());
        }
        let children = self.children_of_caches().await?;
        for cache in caches {
            let is_used = !users(&children, &cache.name).is_empty();
            let state = match cache.ttl_from {
                TtlFrom::Creation => State { used_at: cache.created_at, files: 0, bytes: 0, changed: false },
                TtlFrom::LastUse => state::state(&self.api, &cache.name).await?,
            };
            if cache.expires_at(&state, is_used).is_some_and(|at| at <= clock::now()) {
                self.output.note(&format!("cache {}: its time to live is over", cache.name));
                self.delete(&cache.name, &children).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, name: &CacheName, children: &[Child]) -> Result<(), ErrorBody> {
        for child in children.iter().filter(|child| child.mounts(name)) {
            stop_and_remove(&self.api, &child.id).await?;
        }
        let container = Cache::container(name);
        self.api.delete(&format!("/containers/{container}?force=true")).await?;
        match self.api.delete(&format!("/volumes/{container}")).await {
            Err(error) if !error.is_missing() => Err(error.into()),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// Notes that it is used, and by somebody who may write.
    pub(super) async fn note_use(&self, cache: &Cache, may_write: bool) -> Result<(), ErrorBody> {
        let state = state::state(&self.api, &cache.name).await?;
        let state = State { used_at: clock::now(), changed: state.changed || may_write, ..state };
        state::keep(&self.api, &cache.name, &state, None).await
    }

    /// Takes its list anew.
    pub(super) async fn list_anew(&self, cache: &Cache) -> Result<State, ErrorBody> {
        let entries = state::look(&self.api, cache).await?;
        let (files, bytes) = list::sums(&entries);
        let state = State { used_at: clock::now(), files, bytes, changed: false };
        state::keep(&self.api, &cache.name, &state, Some(&entries)).await?;
        Ok(state)
    }

    /// Its list; taken anew where somebody may have written since.
    async fn listed(&self, cache: &Cache) -> Result<(State, Vec<Entry>), ErrorBody> {
        let mut state = state::state(&self.api, &cache.name).await?;
        if state.changed {
            state = self.list_anew(cache).await?;
        }
        Ok((state, state::entries(&self.api, &cache.name).await?))
    }

    async fn compared(&self, cache: &Cache, _state: &State, entries: &[Entry]) -> Result<Verified, ErrorBody> {
        let found = state::look(&self.api, cache).await?;
        list::compare(entries, &found).map_err(|what| {
            let hint = "somebody has changed it behind its back; put the files again";
            failure("altered", format!("cache {}: {what}", cache.name), Some(hint))
        })
    }

    /// What a container is about to mount: the cache, and what was found in it.
    pub(super) async fn ready_to_mount(&self, name: &CacheName) -> Result<(Cache, Vec<Entry>, Verified), ErrorBody> {
        let cache = self.known(name).await?;
        let (state, entries) = self.listed(&cache).await?;
        let verified = self.compared(&cache, &state, &entries).await?;
        Ok((cache, entries, verified))
    }

    pub(super) async fn known(&self, name: &CacheName) -> Result<Cache, ErrorBody> {
        let found = self.all().await?.into_iter().find(|cache| cache.name == *name);
        found.ok_or_else(|| state::missing(name))
    }

    async fn all(&self) -> Result<Vec<Cache>, ErrorBody> {
        let summaries: Vec<Summary> = self.api.labelled(CACHE).await?;
        Ok(summaries.iter().filter_map(Cache::of).collect())
    }
}

/// Who mounts it and runs.
fn users(children: &[Child], name: &CacheName) -> Vec<ChildName> {
    let users = children.iter().filter(|child| child.is_running && child.mounts(name));
    users.map(|child| child.name.clone()).collect()
}

/// Counts what goes by, on a thread of its own.
fn counted(mut archive: Content) -> (Body, tokio::task::JoinHandle<Result<Vec<Entry>, coord_tar::TarError>>) {
    let (to_engine, body) = mpsc::channel(PIECES_MAX);
    let (to_count, counting) = mpsc::channel(PIECES_MAX);
    let counting = tokio::task::spawn_blocking(move || list::read(Pieces::new(counting)));
    tokio::spawn(async move {
        while let Some(piece) = archive.recv().await {
            let copy = piece.as_ref().map(Bytes::clone).map_err(|e| io::Error::new(e.kind(), e.to_string()));
            // Who counts may have had enough of what is no archive; the engine says so, too.
            let _ = to_count.send(copy).await;
            if to_engine.send(piece).await.is_err() {
                return;
            }
        }
    });
    (streamed(body), counting)
}

fn check_path(path: &str) -> Result<(), ErrorBody> {
    let parts = || path.split('/').skip(1).filter(|part| !part.is_empty());
    if path.starts_with('/') && parts().count() > 0 && parts().all(|part| part != ".." && part != ".") {
        return Ok(());
    }
    let message = format!("{path:?} is no path that a cache can be open at");
    Err(failure("invalid_request", message, Some("write an absolute path, such as /in")))
}

/// A path in a cache: relative, and within.
fn cleaned(path: &str) -> Result<String, ErrorBody> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(failure("invalid_request", format!("{path:?} leads out of the cache"), Some("leave out the ..")));
    }
    Ok(parts.join("/"))
}
