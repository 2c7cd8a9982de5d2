//! Carries a collection out: each removal one transaction that expects what was read.

use super::needed::{self, Loose, is_fresh};
use super::roots::{Root, Wanted};
use super::snapshot::{ManifestId, Snapshot};
use super::{CollectSettings, Roots};
use crate::Centre;
use crate::centre::Attempt;
use crate::error::CentreError;
use crate::names::Tag;
use crate::records::{self, BLOB, blob_key, link_key, manifest_key, referrer_key, tag_key};
use crate::retention::{TagOf, expired};
use crate::storage::Stored;
use coord_shared::names::{Digest, Repository};
use coord_store::{Committed, SharedStore, StoreRevision, Txn};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Changes of one transaction: others wait for it. A group that is larger is still one transaction.
const WRITES_PER_TXN: usize = 200;

/// Where bytes lie, as a collection uses it.
pub(crate) trait Shelves: Send + Sync {
    /// Removes a blob with its links, unless it was touched since `seen`: see [`crate::Centre::drop_blob`].
    fn drop_blob<'a>(
        &'a self,
        digest: &'a Digest,
        seen: Option<StoreRevision>,
        linked_in: Vec<Repository>,
    ) -> BoxFuture<'a, Result<bool, CentreError>>;

    /// All bytes that lie there, whether a record knows them or not.
    fn stored(&self) -> BoxFuture<'_, Result<Vec<Stored>, CentreError>>;
}

impl Shelves for Centre {
    fn drop_blob<'a>(
        &'a self,
        digest: &'a Digest,
        seen: Option<StoreRevision>,
        linked_in: Vec<Repository>,
    ) -> BoxFuture<'a, Result<bool, CentreError>> {
        Box::pin(self.drop_blob(digest, seen, linked_in))
    }

    fn stored(&self) -> BoxFuture<'_, Result<Vec<Stored>, CentreError>> {
        Box::pin(self.stored())
    }
}

/// One thing that a collection removed, or would.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Removed {
    /// A tag that the rules let go.
    Tag(Repository, Tag),
    /// A manifest that nothing needs.
    Manifest(Repository, Digest),
    /// A blob that nothing needs, and its size.
    Blob(Digest, u64),
    /// Bytes without a record, which a crash has left, and how many.
    Orphan(Digest, u64),
}

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// In the order in which it went.
    pub removed: Vec<Removed>,
    /// Bytes of the blobs among it.
    pub freed_bytes: u64,
    /// Removals that gave way to somebody who was faster; the next collection looks again.
    pub gave_way: usize,
    /// Blobs that stay.
    pub kept_blobs: usize,
    /// Their bytes.
    pub kept_bytes: u64,
}

/// One collection.
pub(crate) struct Sweep<'a> {
    pub(crate) store: &'a SharedStore,
    pub(crate) roots: &'a dyn Roots,
    pub(crate) shelves: &'a dyn Shelves,
    pub(crate) settings: &'a CollectSettings,
    pub(crate) now: Timestamp,
    /// Only says what would go.
    pub(crate) dry_run: bool,
    pub(crate) done: Collected,
}

impl Sweep<'_> {
    /// Collects once.
    pub(crate) async fn run(mut self) -> Result<Collected, CentreError> {
        let mut snapshot = Snapshot::read(&**self.store).await?;
        // After the records: a document that is published from here on has touched what it names.
        let roots = self.roots.roots().await.map_err(|e| CentreError::Roots(Box::new(e)))?;
        self.tags(&mut snapshot, &roots).await?;
        self.manifests(&mut snapshot, &roots).await?;
        if !self.dry_run {
            // Not what was planned counts, but what is left: a manifest that gave way keeps all that it needs.
            snapshot = Snapshot::read(&**self.store).await?;
        }
        self.referrers(&snapshot).await?;
        self.blobs(&mut snapshot).await?;
        self.orphans().await?;
        self.done.kept_blobs = snapshot.blobs.len();
        self.done.kept_bytes = snapshot.blobs.values().map(|seen| seen.record.bytes).sum();
        Ok(self.done)
    }

    /// Removes the tags that the rules let go.
    async fn tags(&mut self, snapshot: &mut Snapshot, roots: &[Root]) -> Result<(), CentreError> {
        let mut by_repository: BTreeMap<&Repository, Vec<TagOf<'_>>> = BTreeMap::new();
        for ((repository, name), seen) in &snapshot.tags {
            let tag = TagOf { name, digest: &seen.record.digest, at: seen.record.at };
            by_repository.entry(repository).or_default().push(tag);
        }
        let mut gone: Vec<(Repository, Tag)> = Vec::new();
        for (repository, tags) in by_repository {
            let used = used_digests(snapshot, roots, repository);
            let expired = expired(repository, &tags, &self.settings.rules, &used, self.now);
            gone.extend(expired.into_iter().map(|tag| (repository.clone(), tag.clone())));
        }
        for (repository, tag) in gone {
            let key = tag_key(&repository, &tag);
            let Some(seen) = snapshot.tags.get(&(repository.clone(), tag.clone())) else { continue };
            let txn = Txn::default().expect(&key, Some(seen.revision)).delete(&key);
            if self.commit(txn).await? {
                snapshot.tags.remove(&(repository.clone(), tag.clone()));
                self.done.removed.push(Removed::Tag(repository, tag));
            }
        }
        Ok(())
    }

    /// Removes the manifests that nothing needs, group by group.
    async fn manifests(&mut self, snapshot: &mut Snapshot, roots: &[Root]) -> Result<(), CentreError> {
        let kept = needed::mark(snapshot, roots, self.settings.grace, self.now);
        let mut together: Vec<Vec<ManifestId>> = Vec::new();
        let mut writes = 0;
        for group in needed::unneeded(snapshot, &kept) {
            if writes + group.len() > WRITES_PER_TXN {
                self.groups(snapshot, std::mem::take(&mut together)).await?;
                writes = 0;
            }
            writes += group.len();
            together.push(group);
        }
        self.groups(snapshot, together).await
    }

    /// Several groups at once; each by itself where one of them gives way.
    async fn groups(&mut self, snapshot: &mut Snapshot, groups: Vec<Vec<ManifestId>>) -> Result<(), CentreError> {
        if groups.is_empty() {
            return Ok(());
        }
        let all: Vec<ManifestId> = groups.concat();
        if groups.len() > 1 && self.try_commit(without(snapshot, &all)).await? {
            self.gone(snapshot, all);
            return Ok(());
        }
        for group in groups {
            if self.commit(without(snapshot, &group)).await? {
                self.gone(snapshot, group);
            }
        }
        Ok(())
    }

    fn gone(&mut self, snapshot: &mut Snapshot, manifests: Vec<ManifestId>) {
        for id in manifests {
            snapshot.manifests.remove(&id);
            self.done.removed.push(Removed::Manifest(id.0, id.1));
        }
    }

    /// Removes what says that a manifest has a subject, where that manifest is not there.
    async fn referrers(&mut self, snapshot: &Snapshot) -> Result<(), CentreError> {
        for ((repository, subject, referrer), seen) in &snapshot.referrers {
            if snapshot.manifests.contains_key(&(repository.clone(), referrer.clone())) {
                continue;
            }
            let key = referrer_key(repository, subject, referrer);
            let txn =
                Txn::default().expect(&key, Some(seen.revision)).expect(manifest_key(repository, referrer), None).delete(&key);
            self.commit(txn).await?;
        }
        Ok(())
    }

    /// Removes links and blobs that no manifest needs: each blob with its links is one transaction, and its bytes go after it.
    async fn blobs(&mut self, snapshot: &mut Snapshot) -> Result<(), CentreError> {
        for Loose { digest, links, is_garbage } in needed::loose(snapshot, self.settings.grace, self.now) {
            let Some(seen) = snapshot.blobs.get(&digest).cloned() else { continue };
            if !is_garbage {
                let txn = unlink(snapshot, &digest, &links, &seen)?;
                self.commit(txn).await?;
            } else if self.dry_run || self.shelves.drop_blob(&digest, Some(seen.revision), links).await? {
                snapshot.blobs.remove(&digest);
                self.done.freed_bytes += seen.record.bytes;
                self.done.removed.push(Removed::Blob(digest, seen.record.bytes));
            } else {
                self.done.gave_way += 1;
            }
        }
        Ok(())
    }

    /// Removes bytes that no record knows: a crash came between placing them and recording them, or between the two ends of a removal.
    async fn orphans(&mut self) -> Result<(), CentreError> {
        let stored = self.shelves.stored().await?;
        // Read after the listing: what is placed and recorded meanwhile is in neither, or in both.
        let known: BTreeSet<String> = self.store.range(BLOB).await?.into_iter().map(|entry| entry.key).collect();
        for Stored { digest, bytes, since } in stored {
            if known.contains(&blob_key(&digest)) || is_fresh(since, self.now, self.settings.grace) {
                continue;
            }
            if self.dry_run || self.shelves.drop_blob(&digest, None, Vec::new()).await? {
                self.done.freed_bytes += bytes;
                self.done.removed.push(Removed::Orphan(digest, bytes));
            }
        }
        Ok(())
    }

    /// Whether it is done, or would be.
    async fn commit(&mut self, txn: Txn) -> Result<bool, CentreError> {
        let is_done = self.try_commit(txn).await?;
        if !is_done {
            self.done.gave_way += 1;
        }
        Ok(is_done)
    }

    async fn try_commit(&self, txn: Txn) -> Result<bool, CentreError> {
        if self.dry_run {
            return Ok(true);
        }
        Ok(matches!(self.store.txn(txn).await?, Committed::Yes(_)))
    }
}

/// What documents use of a repository.
fn used_digests(snapshot: &Snapshot, roots: &[Root], repository: &Repository) -> BTreeSet<Digest> {
    let own = roots.iter().filter(|root| root.repository == *repository);
    let digests = own.filter_map(|root| match &root.wanted {
        Wanted::Manifest(digest) => Some(digest.clone()),
        Wanted::Tag(tag) => snapshot.tags.get(&(repository.clone(), tag.clone())).map(|seen| seen.record.digest.clone()),
    });
    digests.collect()
}

/// Removes links of a blob that other repositories need.
fn unlink(
    snapshot: &Snapshot,
    digest: &Digest,
    links: &[Repository],
    blob: &records::Seen<records::BlobRecord>,
) -> Result<Txn, CentreError> {
    // The blob is written as it was: whoever has looked at a link, and not yet used it, must look again.
    let mut txn =
        Txn::default().expect(blob_key(digest), Some(blob.revision)).put(blob_key(digest), records::encode(&blob.record)?);
    for repository in links {
        let Some(link) = snapshot.links.get(&(repository.clone(), digest.clone())) else { continue };
        let key = link_key(repository, digest);
        txn = txn.expect(&key, Some(link.revision)).delete(key);
    }
    Ok(txn)
}

/// Removes these manifests, all or none.
fn without(snapshot: &Snapshot, manifests: &[ManifestId]) -> Txn {
    let mut txn = Txn::default();
    for id in manifests {
        let Some(seen) = snapshot.manifests.get(id) else { continue };
        let key = manifest_key(&id.0, &id.1);
        txn = txn.expect(&key, Some(seen.revision)).delete(key);
        if let Some(subject) = &seen.record.subject {
            txn = txn.delete(referrer_key(&id.0, subject, &id.1));
        }
    }
    txn
}

impl Centre {
    /// Collects once: removes the tags that the rules let go, and whatever nothing needs. `dry_run` only says what would go.
    ///
    /// # Errors
    /// Nobody can say what is in use (then nothing is removed), or the store or the storage fails (what was removed by then was whole, and
    /// the next collection goes on).
    pub async fn collect(&self, roots: &dyn Roots, settings: &CollectSettings, dry_run: bool) -> Result<Collected, CentreError> {
        self.collect_at(crate::clock::wall(), roots, settings, dry_run).await
    }

    /// The same at some other time, for tests.
    pub(crate) async fn collect_at(
        &self,
        now: Timestamp,
        roots: &dyn Roots,
        settings: &CollectSettings,
        dry_run: bool,
    ) -> Result<Collected, CentreError> {
        let done = Collected::default();
        Sweep { store: self.store(), roots, shelves: self, settings, now, dry_run, done }.run().await
    }

    /// Says that somebody is about to need a manifest: within the grace period it is not collected. To be asked before a document that
    /// names it is published. Whether it is there.
    ///
    /// # Errors
    /// The store fails.
    pub async fn touch(&self, repository: &Repository, digest: &Digest) -> Result<bool, CentreError> {
        let key = manifest_key(repository, digest);
        self.change(|| async {
            let seen: Option<records::Seen<records::ManifestRecord>> = records::load(&**self.store(), &key).await?;
            let Some(seen) = seen else { return Ok(Attempt::Done(false)) };
            let record = records::ManifestRecord { touched: crate::clock::wall(), ..seen.record };
            Ok(Attempt::Write(Txn::default().expect(&key, Some(seen.revision)).put(&key, records::encode(&record)?), true))
        })
        .await
    }
}
