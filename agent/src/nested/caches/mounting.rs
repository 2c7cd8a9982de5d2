//! Caches on their way into containers, and out of them.

use super::one::One;
use super::record::{MountRecord, Record};
use super::{Caches, Mounted, live, on_thread, words};
use crate::clock;
use coord_runtime::{Mount, MountSource};
use coord_shared::decide::nested;
use coord_shared::names::ChildName;
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{CacheKind, CacheMount, MountView};
use rustix::fs::StatVfsMountFlags;
use std::collections::BTreeSet;
use std::os::fd::AsFd as _;

impl Caches {
    /// Notes that this container is about to mount these, and says how. To be ended by [`Caches::unmount`], also after a start that failed.
    ///
    /// # Errors
    /// `no_such_cache`, `cache_expired`, `invalid_request`; nothing is noted then.
    pub async fn mount(&self, child: &ChildName, asked: &[CacheMount]) -> Result<Vec<Mounted>, ErrorBody> {
        let mut mounted = Vec::new();
        for mount in asked {
            match self.mount_one(child, mount).await {
                Ok(one) => mounted.push(one),
                Err(error) => {
                    self.unmount(child).await;
                    return Err(error);
                }
            }
        }
        Ok(mounted)
    }

    async fn mount_one(&self, child: &ChildName, asked: &CacheMount) -> Result<Mounted, ErrorBody> {
        let one = self.one(&asked.name)?;
        let turn = one.turn().await?;
        let _slot = self.inner.looks.acquire().await.map_err(|_| words::ending())?;
        let (caches, child, asked) = (self.clone(), child.clone(), asked.clone());
        on_thread(move || {
            let (record, now) = (one.record(), clock::now());
            if nested::expires(&record.life()).is_some_and(|at| at <= now.mono) {
                return Err(words::expired(&one.name, record.ttl));
            }
            one.refresh(&turn).map_err(|error| words::of(&one.name, error))?;
            if !asked.read_only {
                caches.may_write(&one, &record)?;
            }
            let generation = one.store.current();
            let noted = MountRecord { child: child.clone(), read_only: asked.read_only, generation };
            let written = one.change(&turn, |record| {
                record.mounts.push(noted);
                record.is_list_old |= !asked.read_only && record.kind == CacheKind::Store;
                record.touch(now);
            });
            written.map_err(|error| words::of(&one.name, error))?;
            Ok(mounted(&one, child, &asked, generation))
        })
        .await?
    }

    /// Whether a container may write into it.
    fn may_write(&self, one: &One, record: &Record) -> Result<(), ErrorBody> {
        let (CacheKind::Live, Some(from)) = (record.kind, &record.from) else {
            return one.is_over().map_or(Ok(()), |limit| Err(words::over(&one.name, &limit)));
        };
        let is_read_only = (self.inner.root)().map_err(|error| words::internal(error.to_string())).and_then(|root| {
            let folder = live::open(root.as_fd(), from)?;
            let about = rustix::fs::fstatvfs(folder).map_err(|error| words::internal(error.to_string()))?;
            Ok(about.f_flag.contains(StatVfsMountFlags::RDONLY))
        });
        if is_read_only? { Err(words::read_only(&one.name, from)) } else { Ok(()) }
    }

    /// The container has ended, or never started.
    pub async fn unmount(&self, child: &ChildName) {
        self.unmount_if(|mount| mount.child == *child).await;
    }

    /// After a restart of the agent: whatever mounted a cache and is not among these has ended.
    pub async fn retain(&self, living: &[ChildName]) {
        let living: BTreeSet<&ChildName> = living.iter().collect();
        self.unmount_if(|mount| !living.contains(&mount.child)).await;
    }

    async fn unmount_if(&self, is_gone: impl Fn(&MountRecord) -> bool) {
        for one in self.all() {
            let gone: Vec<ChildName> =
                one.record().mounts.iter().filter(|mount| is_gone(mount)).map(|mount| mount.child.clone()).collect();
            if gone.is_empty() {
                continue;
            }
            let Ok(turn) = one.turn().await else { continue };
            // The thread does it to its end, whoever waits.
            let done = on_thread(move || one.unmount(&turn, |mount| gone.contains(&mount.child), clock::now())).await;
            if done.is_err() {
                return;
            }
        }
    }
}

fn mounted(one: &One, child: ChildName, asked: &CacheMount, generation: u64) -> Mounted {
    let record = one.record();
    let target = asked.path.clone().unwrap_or_else(|| record.path.clone());
    let source = match (record.kind, &record.from) {
        (CacheKind::Live, Some(from)) => MountSource::Parents { path: from.into() },
        (CacheKind::Live | CacheKind::Store, _) => MountSource::Volume { path: one.store.files(generation), copy_up: false },
    };
    Mounted {
        mount: Mount { target: target.clone(), source, read_only: asked.read_only },
        view: MountView {
            name: one.name.clone(),
            path: target,
            read_only: asked.read_only,
            verified: None,
            verified_by_log: None,
        },
        child,
        generation,
    }
}
