//! Whoever does what was typed: the door of this container or, where there is none, Docker or Podman.
//!
//! What both do in their own way stands with the commands.

use crate::door::Door;
use crate::failure::failure;
use crate::http::streamed;
use crate::laptop::{Content, Laptop};
use crate::output::Output;
use coord_shared::names::{CacheName, ChildName};
use coord_shared::quantity::Signal;
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CacheView, ChildView, Entry, NewCache, NewChild, PutView, SOCKET, SignalAsked, Stop, Verified};
use std::path::Path;

/// Where the door is, if not where it usually is.
const SOCKET_VARIABLE: &str = "COORD_SOCKET";

/// The one that is there.
#[derive(Debug)]
pub(crate) enum Engine {
    /// Under coord-agent.
    Door(Door),
    /// Elsewhere.
    Laptop(Laptop),
}

impl Engine {
    /// Looks for a door, then for an engine.
    ///
    /// # Errors
    /// When there is neither.
    pub(crate) async fn find(output: &Output) -> Result<Engine, ErrorBody> {
        if let Some(socket) = std::env::var_os(SOCKET_VARIABLE).filter(|socket| !socket.is_empty()) {
            return Ok(Self::Door(Door::new(socket.into(), *output)));
        }
        if Path::new(SOCKET).exists() {
            return Ok(Self::Door(Door::new(SOCKET.into(), *output)));
        }
        Laptop::find(*output).await.map(Self::Laptop)
    }

    pub(crate) async fn create_cache(&self, asked: &NewCache) -> Result<CacheView, ErrorBody> {
        match self {
            Self::Door(door) => door.create_cache(asked).await,
            Self::Laptop(laptop) => laptop.create_cache(asked).await,
        }
    }

    pub(crate) async fn caches(&self) -> Result<Vec<CacheView>, ErrorBody> {
        match self {
            Self::Door(door) => door.caches().await,
            Self::Laptop(laptop) => laptop.caches().await,
        }
    }

    pub(crate) async fn cache(&self, name: &CacheName) -> Result<CacheView, ErrorBody> {
        match self {
            Self::Door(door) => door.cache(name).await,
            Self::Laptop(laptop) => laptop.cache(name).await,
        }
    }

    pub(crate) async fn entries(&self, name: &CacheName) -> Result<Vec<Entry>, ErrorBody> {
        match self {
            Self::Door(door) => door.entries(name).await,
            Self::Laptop(laptop) => laptop.entries(name).await,
        }
    }

    /// Puts what an archive holds below `below`.
    pub(crate) async fn put_archive(&self, name: &CacheName, below: &str, archive: Content) -> Result<PutView, ErrorBody> {
        match self {
            Self::Door(door) => door.put_archive(name, below, streamed(archive)).await,
            Self::Laptop(laptop) => laptop.put(name, below, archive).await,
        }
    }

    pub(crate) async fn verify(&self, name: &CacheName) -> Result<Verified, ErrorBody> {
        match self {
            Self::Door(door) => door.verify(name).await,
            Self::Laptop(laptop) => laptop.verify(name).await,
        }
    }

    pub(crate) async fn remove_cache(&self, name: &CacheName) -> Result<(), ErrorBody> {
        match self {
            Self::Door(door) => door.remove_cache(name).await,
            Self::Laptop(laptop) => laptop.remove_cache(name).await,
        }
    }

    pub(crate) async fn start(&self, asked: &NewChild) -> Result<ChildView, ErrorBody> {
        match self {
            Self::Door(door) => door.start(asked, None).await,
            Self::Laptop(laptop) => laptop.start(asked).await,
        }
    }

    pub(crate) async fn children(&self) -> Result<Vec<ChildView>, ErrorBody> {
        match self {
            Self::Door(door) => door.children().await,
            Self::Laptop(laptop) => laptop.children().await,
        }
    }

    pub(crate) async fn child(&self, name: &ChildName) -> Result<ChildView, ErrorBody> {
        match self {
            Self::Door(door) => door.child(name).await,
            Self::Laptop(laptop) => laptop.child(name).await,
        }
    }

    pub(crate) async fn wait(&self, name: &ChildName) -> Result<ChildView, ErrorBody> {
        match self {
            Self::Door(door) => door.wait(name).await,
            Self::Laptop(laptop) => laptop.wait(name).await,
        }
    }

    pub(crate) async fn stop(&self, name: &ChildName, asked: &Stop) -> Result<ChildView, ErrorBody> {
        match self {
            Self::Door(door) => door.stop(name, asked).await,
            Self::Laptop(laptop) => laptop.stop(name, asked).await,
        }
    }

    pub(crate) async fn signal(&self, name: &ChildName, signal: Signal) -> Result<(), ErrorBody> {
        match self {
            Self::Door(door) => door.signal(name, SignalAsked { signal }).await.map(drop),
            Self::Laptop(laptop) => laptop.signal(name, signal).await,
        }
    }
}

/// What only a file of known length can be put into, here.
pub(crate) fn needs_length(source: &Path) -> ErrorBody {
    let message = format!("{} has no length that an engine could be told", source.display());
    failure("invalid_request", message, Some("put a file, or - for an archive on standard input"))
}
