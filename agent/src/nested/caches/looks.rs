//! Looks at files: lists, and whether what is visible is what they say.

use super::one::One;
use super::{Caches, Mounted, live, on_thread, words};
use coord_cache::{CacheError, Counts, Mounts, compare, scan, visible_at};
use coord_shared::names::CacheName;
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CacheKind, Entry, Verified};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

/// Where somebody may write while it is looked at, the list may be old when it is compared: so often a new one is made.
const LOOKS_WHILE_WRITTEN: usize = 4;

impl Caches {
    /// Its list, in the order of the paths.
    ///
    /// # Errors
    /// `no_such_cache`.
    pub async fn entries(&self, name: &CacheName) -> Result<Vec<Entry>, ErrorBody> {
        self.look(name, |caches, one| caches.list_now(one)).await
    }

    /// Compares what it holds with its list.
    ///
    /// # Errors
    /// `no_such_cache`; `altered`, with the first path that differs.
    pub async fn verify(&self, name: &CacheName) -> Result<Verified, ErrorBody> {
        let compared = |caches: &Caches, one: &One| {
            if one.record().kind == CacheKind::Store {
                return one.store.verify();
            }
            // A live one is what it is: each of its files can be read, and they are counted.
            let list = caches.list_now(one)?;
            let hashed = list.iter().filter(|entry| entry.digest.is_some()).count() as u64;
            let sampled = list.iter().filter(|entry| entry.sample.is_some()).count() as u64;
            let counts = Counts::of(&list);
            Ok(Verified {
                files: counts.files,
                folders: counts.folders,
                links: counts.links,
                bytes: counts.bytes,
                hashed,
                sampled,
            })
        };
        self.look(name, compared).await
    }

    /// With the cache's turn, and a list that is not old.
    async fn look<T: Send + 'static>(
        &self,
        name: &CacheName,
        look: impl FnOnce(&Caches, &One) -> Result<T, CacheError> + Send + 'static,
    ) -> Result<T, ErrorBody> {
        let one = self.one(name)?;
        let turn = one.turn().await?;
        let _slot = self.inner.looks.acquire().await.map_err(|_| words::ending())?;
        let (caches, looked_at) = (self.clone(), Arc::clone(&one));
        let looked = on_thread(move || looked_at.refresh(&turn).and_then(|()| look(&caches, &looked_at))).await?;
        looked.map_err(|error| words::of(name, error))
    }

    /// Compares what is visible in a container (its root folder, `O_PATH`) with the lists: what was found, in the order of `mounted`.
    ///
    /// # Errors
    /// In words, with the cache and the first path that differs.
    pub async fn inspect(&self, mounted: &[Mounted], root: &OwnedFd) -> Result<Vec<Verified>, String> {
        let root = root.try_clone().map_err(|error| format!("the container's root folder cannot be looked at: {error}"))?;
        let _slot = self.inner.looks.acquire().await.map_err(|_| words::ending().message)?;
        let (caches, mounted) = (self.clone(), mounted.to_vec());
        let inspect = move || mounted.iter().map(|mounted| caches.inspect_one(mounted, &root)).collect();
        on_thread(inspect).await.map_err(|error| error.message)?
    }

    fn inspect_one(&self, mounted: &Mounted, root: &OwnedFd) -> Result<Verified, String> {
        let name = &mounted.view.name;
        let one = self.one(name).map_err(|error| error.message)?;
        let failed = |error: CacheError| format!("cache {name} at {}: {error}", mounted.view.path);
        let mut looks = LOOKS_WHILE_WRITTEN;
        loop {
            looks -= 1;
            let record = one.record();
            let is_written =
                record.writers().iter().any(|writer| *writer != mounted.child) && mounted.generation == one.store.current();
            let is_still = record.kind == CacheKind::Store && !is_written;
            let list = if is_still { one.store.list_of(mounted.generation) } else { self.list_now(&one) }.map_err(failed)?;
            let mounts = if record.kind == CacheKind::Live { Mounts::Enter } else { Mounts::Refuse };
            // Opened anew each time: it is the path that counts.
            let compared = visible_at(root.as_fd(), &mounted.view.path).and_then(|folder| compare(&folder, &list, mounts));
            match compared {
                Ok(verified) => return Ok(verified),
                Err(_) if !is_still && looks > 0 => {}
                Err(error) if !is_still => return Err(format!("{} (somebody writes into it)", failed(error))),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// What stands in it now.
    fn list_now(&self, one: &One) -> Result<Vec<Entry>, CacheError> {
        let record = one.record();
        let (CacheKind::Live, Some(from)) = (record.kind, &record.from) else {
            if record.is_list_old {
                one.store.rescan()?;
            }
            return one.store.list_of(one.store.current());
        };
        let input = |source: io::Error| CacheError::Input { source };
        let root = (self.inner.root)().map_err(input)?;
        let folder = live::open(root.as_fd(), from).map_err(|error| input(io::Error::other(error.message)))?;
        let list = scan(folder, Mounts::Enter)?;
        one.saw(Counts::of(&list));
        Ok(list)
    }
}
