//! The file caches of one container: what its permission leaves of room, which are mounted where, whose time is over.

use coord_runtime::Mount;
use coord_shared::decide::{Mono, Now};
use coord_shared::document::Nested as Permission;
use coord_shared::names::{CacheName, ChildName};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CacheMount, CacheView, Entry, MountView, NewCache, PutView, Verified};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::AsyncRead;

/// Opens the root folder of the container that owns the caches, as it sees it.
pub type OpenRoot = Arc<dyn Fn() -> io::Result<OwnedFd> + Send + Sync>;

/// The caches of one container. Cheap to clone.
#[derive(Clone)]
pub struct Caches {
    folder: PathBuf,
    permission: Permission,
    root: OpenRoot,
}

/// A cache on its way into a second container.
#[derive(Debug, Clone)]
pub struct Mounted {
    /// For the container's specification.
    pub mount: Mount,
    /// What is said of it.
    pub view: MountView,
}

/// A cache that may not go on as it is, and is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub cache: CacheName,
    /// Whoever mounts it, to be ended.
    pub children: Vec<ChildName>,
    /// Why, in words: `cache work: its time to live of 30m is over`.
    pub reason: String,
}

fn not_yet() -> ErrorBody {
    ErrorBody { code: "not_found".to_owned(), message: "no caches".to_owned(), hint: None, detail: None }
}

impl Caches {
    /// Those in `folder`, which is made; what an earlier agent left half-done is undone.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(folder: PathBuf, permission: Permission, root: OpenRoot) -> io::Result<Self> {
        Ok(Self { folder, permission, root })
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<CacheView> {
        let _ = (&self.folder, &self.permission, &self.root);
        Vec::new()
    }

    /// One.
    ///
    /// # Errors
    /// `no_such_cache`.
    pub fn view(&self, _name: &CacheName) -> Result<CacheView, ErrorBody> {
        Err(not_yet())
    }

    /// Makes one; see [`coord_shared::decide::nested::admit_cache`].
    ///
    /// # Errors
    /// As there; what is wrong with the folder to be published.
    pub async fn create(&self, _asked: NewCache) -> Result<CacheView, ErrorBody> {
        Err(not_yet())
    }

    /// Puts the files of a tar stream below `below`, a relative path: all of them or, after an error, none.
    ///
    /// # Errors
    /// `no_such_cache`, `not_a_store`, `bad_archive`, `over_quota`, `disk_full`.
    pub async fn put_archive(
        &self,
        _name: &CacheName,
        _below: &str,
        _archive: impl AsyncRead + Unpin + Send + 'static,
    ) -> Result<PutView, ErrorBody> {
        Err(not_yet())
    }

    /// Puts one file: whole, or not at all.
    ///
    /// # Errors
    /// As above.
    pub async fn put_file(
        &self,
        _name: &CacheName,
        _path: &str,
        _mode: u32,
        _content: impl AsyncRead + Unpin + Send + 'static,
    ) -> Result<PutView, ErrorBody> {
        Err(not_yet())
    }

    /// Its list, in the order of the paths.
    ///
    /// # Errors
    /// `no_such_cache`.
    pub async fn entries(&self, _name: &CacheName) -> Result<Vec<Entry>, ErrorBody> {
        Err(not_yet())
    }

    /// Compares what it holds with its list.
    ///
    /// # Errors
    /// `no_such_cache`; `altered`, with the first path that differs.
    pub async fn verify(&self, _name: &CacheName) -> Result<Verified, ErrorBody> {
        Err(not_yet())
    }

    /// Notes that this container is about to mount these, and says how. To be ended by [`Caches::unmount`], also after a start that failed.
    ///
    /// # Errors
    /// `no_such_cache`, `cache_expired`, `invalid_request`.
    pub async fn mount(&self, _child: &ChildName, _asked: &[CacheMount]) -> Result<Vec<Mounted>, ErrorBody> {
        Ok(Vec::new())
    }

    /// Compares what is visible in a container (its root folder, `O_PATH`) with the lists: what was found, in the order of `mounted`.
    ///
    /// # Errors
    /// In words, with the cache and the first path that differs.
    pub async fn inspect(&self, _mounted: &[Mounted], _root: &OwnedFd) -> Result<Vec<Verified>, String> {
        Ok(Vec::new())
    }

    /// The container has ended, or never started.
    pub async fn unmount(&self, _child: &ChildName) {}

    /// Deletes one.
    ///
    /// # Errors
    /// `no_such_cache`; `cache_in_use`, with the containers that mount it.
    pub async fn remove(&self, _name: &CacheName) -> Result<(), ErrorBody> {
        Err(not_yet())
    }

    /// After a restart of the agent: whatever mounted a cache and is not among these has ended.
    pub async fn retain(&self, _living: &[ChildName]) {}

    /// Deletes those whose time is over at `now` and which nobody mounts. Returns those that are over and mounted (whoever mounts them is to
    /// be ended, and this called again), and when to come again.
    pub async fn sweep(&self, _now: Now) -> (Vec<Over>, Option<Mono>) {
        (Vec::new(), None)
    }

    /// Deletes all, and the folder.
    pub async fn remove_all(&self) {}
}
