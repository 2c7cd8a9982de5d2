//! Making caches, putting files into them, deleting them.

use super::live::Published;
use super::one::{One, Turn};
use super::record::Record;
use super::{Caches, live, on_thread, stream, words};
use crate::clock;
use coord_cache::{Amount, Budget, CacheError, Mounts, Staged, Store, measure, remove_tree};
use coord_shared::decide::nested::{self, InUse};
use coord_shared::names::CacheName;
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CacheKind, CacheView, NewCache, PutView};
use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncRead;

/// A folder that is to be published.
struct Source {
    folder: OwnedFd,
    how: Published,
}

impl Caches {
    /// Makes one; see [`coord_shared::decide::nested::admit_cache`].
    ///
    /// # Errors
    /// As there; what is wrong with the folder to be published.
    pub async fn create(&self, asked: NewCache) -> Result<CacheView, ErrorBody> {
        let _creating = self.inner.creating.lock().await;
        let in_use = InUse { containers: 0, caches: self.list() };
        nested::admit_cache(&self.inner.permission, &in_use, &asked)?;
        let _slot = self.inner.looks.acquire().await.map_err(|_| words::ending())?;
        let caches = self.clone();
        let one = on_thread(move || caches.make(&asked)).await??;
        let view = one.view(clock::now());
        self.lock().insert(one.name.clone(), one);
        Ok(view)
    }

    fn make(&self, asked: &NewCache) -> Result<Arc<One>, ErrorBody> {
        let name = &asked.name;
        let source = asked.from.as_deref().map(|from| self.source(from)).transpose()?;
        let (kind, because) = match source.as_ref().map(|source| &source.how) {
            None => (CacheKind::Store, None),
            Some(Published::Live) => (CacheKind::Live, None),
            Some(Published::Copy(because) | Published::CopyOfKernels(because)) => (CacheKind::Store, Some(because.clone())),
        };
        let record = Record::new(asked, kind, because, clock::now());
        let folder = self.inner.folder.join(name.as_str());
        let one = One::create(name.clone(), &folder, record, &self.inner.quota).map_err(|error| words::of(name, error))?;
        let filled = source.map_or(Ok(()), |source| fill(&one, source)).and_then(|()| one.make_ready());
        match filled {
            Ok(()) => Ok(Arc::new(one)),
            Err(error) => {
                one.settle_as(Amount::default());
                remove_or_warn(name, &folder);
                Err(words::of(name, error))
            }
        }
    }

    fn source(&self, from: &str) -> Result<Source, ErrorBody> {
        let unreadable = |error: std::io::Error| {
            words::refusal("invalid_request", format!("the folder {from} cannot be published: {error}"), None)
        };
        let root = (self.inner.root)().map_err(unreadable)?;
        let folder = live::open(root.as_fd(), from)?;
        let obstacle = (self.inner.obstacle)(Path::new(from)).map_err(unreadable)?;
        let how = live::judge(root.as_fd(), folder.as_fd(), from, obstacle).map_err(unreadable)?;
        Ok(Source { folder, how })
    }

    /// Puts the files of a tar stream below `below`, a relative path: all of them or, after an error, none.
    ///
    /// # Errors
    /// `no_such_cache`, `not_a_store`, `cache_expired`, `cache_in_use`, `bad_archive`, `over_quota`, `disk_full`.
    pub async fn put_archive(
        &self,
        name: &CacheName,
        below: &str,
        archive: impl AsyncRead + Unpin + Send + 'static,
    ) -> Result<PutView, ErrorBody> {
        let below = below.to_owned();
        self.put(name, archive, move |one, pieces, budget| one.store.stage_archive(below.as_bytes(), pieces, budget)).await
    }

    /// Puts one file: whole, or not at all.
    ///
    /// # Errors
    /// As above.
    pub async fn put_file(
        &self,
        name: &CacheName,
        path: &str,
        mode: u32,
        content: impl AsyncRead + Unpin + Send + 'static,
    ) -> Result<PutView, ErrorBody> {
        let path = path.to_owned();
        self.put(name, content, move |one, pieces, budget| one.store.stage_file(path.as_bytes(), mode, pieces, budget)).await
    }

    async fn put(
        &self,
        name: &CacheName,
        from: impl AsyncRead + Unpin + Send + 'static,
        stage: impl FnOnce(&One, &mut dyn Read, Budget) -> Result<Staged, CacheError> + Send + 'static,
    ) -> Result<PutView, ErrorBody> {
        let one = self.one(name)?;
        may_be_put(&one)?;
        let slot = Arc::clone(&self.inner.puts).acquire_owned().await.map_err(|_| words::ending())?;
        let putting = Arc::clone(&one.puts).read_owned().await;
        let (pump, mut pieces) = stream::hand_over(from);
        let (thread, for_thread) = (Arc::clone(&one), name.clone());
        let staging = on_thread(move || {
            let _held = (slot, putting);
            let staged = stage(&thread, &mut pieces, thread.budget());
            // Whoever sends is told at once when nothing more is wanted.
            drop(pieces);
            staged.map_err(|error| words::of(&for_thread, error))
        });
        let ((), staged) = tokio::join!(pump.pump(one.is_gone.subscribe()), staging);
        let staged = staged??;
        let turn = one.turn().await?;
        may_be_put(&one)?;
        let committing = Arc::clone(&one);
        on_thread(move || commit(&committing, &turn, staged)).await?.map_err(|error| words::of(name, error)).map(|put| PutView {
            files: put.files,
            bytes: put.bytes,
            cache: one.view(clock::now()),
        })
    }

    /// Deletes one.
    ///
    /// # Errors
    /// `no_such_cache`; `cache_in_use`, with the containers that mount it.
    pub async fn remove(&self, name: &CacheName) -> Result<(), ErrorBody> {
        let one = self.one(name)?;
        let turn = one.turn().await?;
        let children = one.record().children();
        if !children.is_empty() {
            return Err(words::in_use(name, &children, "deleted"));
        }
        self.delete(one, turn).await
    }

    /// With its turn: it is gone for everybody at once, and from the disk when this returns.
    pub(super) async fn delete(&self, one: Arc<One>, turn: Turn) -> Result<(), ErrorBody> {
        one.is_gone.send_replace(true);
        // Puts end now, and hold nothing that this waits for.
        let _no_puts = Arc::clone(&one.puts).write_owned().await;
        let removed = Arc::clone(&one);
        let result = on_thread(move || {
            let _turn = turn;
            Store::remove(&removed.folder)
        });
        let result = result.await?;
        one.settle_as(Amount::default());
        self.lock().remove(&one.name);
        result.map_err(|error| words::of(&one.name, error))
    }

    /// Deletes all, and the folder.
    pub async fn remove_all(&self) {
        let _creating = self.inner.creating.lock().await;
        for one in self.all() {
            let Ok(turn) = one.turn().await else { continue };
            if let Err(error) = self.delete(one, turn).await {
                tracing::warn!(error = %error.message, "a file cache is left behind, and is deleted with its folder");
            }
        }
        let folder = self.inner.folder.clone();
        if let Ok(Err(error)) = on_thread(move || remove_tree(&folder)).await {
            tracing::error!(folder = %self.inner.folder.display(), %error, "file caches are left behind");
        }
    }
}

/// What is to be published but cannot be seen live is copied.
fn fill(one: &One, source: Source) -> Result<(), CacheError> {
    let staged = match source.how {
        Published::Live => {
            one.saw(measure(&source.folder, Mounts::Enter)?);
            return Ok(());
        }
        Published::Copy(_) => one.store.stage_folder(source.folder, one.budget())?,
        Published::CopyOfKernels(_) => one.store.stage_what_all_may_read(source.folder, one.budget())?,
    };
    one.store.commit(staged, &BTreeSet::new()).map(drop)
}

/// Whether files can be put now.
fn may_be_put(one: &One) -> Result<(), ErrorBody> {
    let record = one.record();
    if let (CacheKind::Live, Some(from)) = (record.kind, &record.from) {
        return Err(words::not_a_store(&one.name, from));
    }
    if nested::expires(&record.life()).is_some_and(|at| at <= clock::now().mono) {
        return Err(words::expired(&one.name, record.ttl));
    }
    let writers = record.writers();
    if writers.is_empty() { Ok(()) } else { Err(words::in_writing(&one.name, &writers)) }
}

/// Makes visible what was staged, with the cache's turn; returns what that was.
fn commit(one: &One, turn: &Turn, staged: Staged) -> Result<coord_cache::Counts, CacheError> {
    one.refresh(turn)?;
    let put = staged.counts();
    one.store.commit(staged, &one.record().generations())?;
    one.settle();
    one.change_anyway(turn, |record| record.touch(clock::now()));
    Ok(put)
}

fn remove_or_warn(name: &CacheName, folder: &Path) {
    if let Err(error) = Store::remove(folder) {
        tracing::warn!(cache = %name, %error, "a file cache that was not made is left behind until the agent starts again");
    }
}
