//! The file caches of one container: what its permission leaves of room, which are mounted where, whose time is over.
//!
//! A cache has a `turn`: whoever changes which files are visible, or mounts them, waits for it. Files on their way in have none, so a slow
//! sender holds up nobody. What blocks runs on threads; a few at a time, so that no container takes them all.
//!
//! Deliberately absent: containers (they are names here), and how files are kept: see `coord_cache`.

mod changes;
mod live;
mod looks;
mod mounting;
mod one;
mod record;
mod stream;
mod sweep;
#[cfg(test)]
mod tests;
mod words;

use crate::clock;
use coord_cache::{ENTRIES_MAX, Quota, Store};
use coord_runtime::Mount;
use coord_shared::document::Nested as Permission;
use coord_shared::names::{CacheName, ChildName};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CacheView, MountView};
use one::One;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Puts of one container that run at a time: each holds a thread for as long as its sender takes.
const PUTS_MAX: usize = 4;
/// Looks at files of one container that run at a time, of the agent's threads.
const LOOKS_MAX: usize = 4;

/// Opens the root folder of the container that owns the caches, as it sees it.
pub type OpenRoot = Arc<dyn Fn() -> io::Result<OwnedFd> + Send + Sync>;
/// Why a folder of that container cannot be seen live by another, in a few words; see `EmbeddedRuntime::live_obstacle`.
pub type LiveObstacle = Arc<dyn Fn(&Path) -> io::Result<Option<String>> + Send + Sync>;

/// The caches of one container. Cheap to clone.
#[derive(Clone)]
pub struct Caches {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    permission: Permission,
    root: OpenRoot,
    obstacle: LiveObstacle,
    quota: Arc<Quota>,
    puts: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    /// Whoever makes one: there are never two of a name, nor more than there may be.
    creating: tokio::sync::Mutex<()>,
    caches: Mutex<BTreeMap<CacheName, Arc<One>>>,
}

/// A cache on its way into a second container.
#[derive(Debug, Clone)]
pub struct Mounted {
    /// For the container's specification.
    pub mount: Mount,
    /// What is said of it.
    pub view: MountView,
    /// Who.
    child: ChildName,
    /// Which state of a store.
    generation: u64,
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

impl Caches {
    /// Those in `folder`, which is made; what an earlier agent left half-done is undone. Folders are published as far as `obstacle` lets
    /// them. It blocks.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(folder: PathBuf, permission: Permission, root: OpenRoot, obstacle: LiveObstacle) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let bytes = (permission.caches.0, format!("the {} that all caches of this container may hold", permission.caches));
        let entries = (ENTRIES_MAX, format!("the {ENTRIES_MAX} paths that all caches of a container may have"));
        let quota = Arc::new(Quota::new(Some(bytes), Some(entries)));
        let mut caches = BTreeMap::new();
        for name in Store::recover(&folder).map_err(io::Error::other)? {
            let path = folder.join(&name);
            let opened = name.parse::<CacheName>().ok().and_then(|name| match One::open(name.clone(), &path, &quota) {
                Ok(one) => one.map(|one| (name, Arc::new(one))),
                Err(error) => {
                    tracing::warn!(cache = %name, %error, "a file cache cannot be read, and is deleted");
                    None
                }
            });
            match opened {
                Some((name, one)) => drop(caches.insert(name, one)),
                None => Store::remove(&path).map_err(io::Error::other)?,
            }
        }
        let inner = Inner {
            folder,
            permission,
            root,
            obstacle,
            quota,
            puts: Arc::new(Semaphore::new(PUTS_MAX)),
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
            creating: tokio::sync::Mutex::default(),
            caches: Mutex::new(caches),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<CacheView> {
        let now = clock::now();
        self.all().iter().map(|one| one.view(now)).collect()
    }

    /// One.
    ///
    /// # Errors
    /// `no_such_cache`.
    pub fn view(&self, name: &CacheName) -> Result<CacheView, ErrorBody> {
        Ok(self.one(name)?.view(clock::now()))
    }

    fn one(&self, name: &CacheName) -> Result<Arc<One>, ErrorBody> {
        self.lock().get(name).cloned().ok_or_else(|| words::no_such_cache(name))
    }

    fn all(&self) -> Vec<Arc<One>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CacheName, Arc<One>>> {
        self.inner.caches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what blocks on a thread. It is done even if nobody waits for it any more.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ErrorBody> {
    tokio::task::spawn_blocking(work).await.map_err(|_| words::ending())
}
