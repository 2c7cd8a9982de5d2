//! Blobs: finishing an upload, reading, mounting from another repository, removing.

use crate::Centre;
use crate::centre::Attempt;
use crate::clock;
use crate::error::CentreError;
use crate::records::{self, BlobRecord, LinkRecord, ManifestRecord, Seen, blob_key, link_key, load};
use crate::storage::BlobStream;
use crate::uploads::Upload;
use coord_shared::names::{Digest, Repository};
use coord_store::{Committed, StoreRevision, Txn};
use jiff::SignedDuration;

/// A blob that was touched within this time is safe for long enough; the shortest grace period of a collection is longer.
const PROMISED_ANEW_AFTER: SignedDuration = SignedDuration::from_secs(30);

impl Centre {
    /// How many bytes a blob of a repository has; `None`: the repository does not have it.
    ///
    /// # Errors
    /// The store fails.
    pub async fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, CentreError> {
        let store = &*self.inner.store;
        let link: Option<Seen<LinkRecord>> = load(store, &link_key(repository, digest)).await?;
        if link.is_none() {
            return Ok(None);
        }
        let blob: Option<Seen<BlobRecord>> = load(store, &blob_key(digest)).await?;
        Ok(blob.map(|blob| blob.record.bytes))
    }

    /// Reads a blob of a repository from `offset` on, `length` bytes of it (at most what there is).
    ///
    /// # Errors
    /// The repository does not have it, or it cannot be read.
    pub async fn read_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        offset: u64,
        length: Option<u64>,
    ) -> Result<BlobStream, CentreError> {
        let none = || CentreError::NoBlob { repository: repository.clone(), digest: digest.clone() };
        let bytes = self.has_blob(repository, digest).await?.ok_or_else(none)?;
        let rest = bytes.saturating_sub(offset);
        let length = length.map_or(rest, |length| length.min(rest));
        let stream = self.inner.storage.read(digest, offset, length).await?;
        if stream.is_none() {
            tracing::error!(digest = %digest, "the bytes of a blob are gone from the storage; push it again");
        }
        stream.ok_or_else(none)
    }

    /// Makes an upload the blob of this digest, visible in its repository. Its size. Goes on to its end when the caller goes away.
    ///
    /// # Errors
    /// The bytes have another digest (the upload is over then), or the disk or the store fails (it can be finished again).
    pub async fn finish(&self, upload: &Upload, digest: &Digest) -> Result<u64, CentreError> {
        let (centre, upload, digest) = (self.clone(), upload.clone(), digest.clone());
        let task = tokio::spawn(async move { centre.finish_now(&upload, digest).await });
        task.await.unwrap_or(Err(CentreError::Ending))
    }

    async fn finish_now(&self, upload: &Upload, wanted: Digest) -> Result<u64, CentreError> {
        let sealed = upload.seal().await?;
        if sealed.digest != wanted {
            let found = sealed.digest.clone();
            sealed.end().await?;
            return Err(CentreError::WrongDigest { wanted, found });
        }
        let (bytes, path) = (sealed.bytes, sealed.path.clone());
        {
            let _lock = self.inner.locks.lock(&wanted).await;
            self.inner.storage.commit(path, &wanted).await?;
            self.link(upload.repository(), &wanted, bytes).await?;
        }
        sealed.end().await?;
        Ok(bytes)
    }

    /// Records that the storage has a blob, and that a repository may read it.
    async fn link(&self, repository: &Repository, digest: &Digest, bytes: u64) -> Result<(), CentreError> {
        let is_new = self.is_new(digest).await?;
        self.change(|| async {
            let txn = self.with_blob(Txn::default(), digest, Some(bytes)).await?.unwrap_or_default();
            let txn = self.with_link(txn, repository, digest).await?;
            Ok(Attempt::Write(self.with_repository(txn, repository).await?, ()))
        })
        .await?;
        if is_new {
            self.inner.quota.added(bytes);
        }
        Ok(())
    }

    /// Whether a blob has no record. Whoever asks holds the lock of its digest, so that it stays true.
    pub(crate) async fn is_new(&self, digest: &Digest) -> Result<bool, CentreError> {
        Ok(self.inner.store.get(&blob_key(digest)).await?.is_none())
    }

    /// Makes a blob that one repository has visible in another. Whether `from` has it.
    ///
    /// # Errors
    /// The store fails.
    pub async fn mount(&self, from: &Repository, to: &Repository, digest: &Digest) -> Result<bool, CentreError> {
        self.change(|| async {
            let source = link_key(from, digest);
            let link: Option<Seen<LinkRecord>> = load(&*self.inner.store, &source).await?;
            let Some(link) = link else { return Ok(Attempt::Done(false)) };
            let txn = Txn::default().expect(source, Some(link.revision));
            let Some(txn) = self.with_blob(txn, digest, None).await? else { return Ok(Attempt::Done(false)) };
            let txn = if from == to { txn } else { self.with_link(txn, to, digest).await? };
            Ok(Attempt::Write(self.with_repository(txn, to).await?, true))
        })
        .await
    }

    /// Takes a blob from a repository; its bytes go when nothing else needs them, at the next collection.
    ///
    /// # Errors
    /// The repository does not have it, one of its manifests needs it, or the store fails.
    pub async fn delete_blob(&self, repository: &Repository, digest: &Digest) -> Result<(), CentreError> {
        self.change(|| async {
            let store = &*self.inner.store;
            let key = link_key(repository, digest);
            let link: Option<Seen<LinkRecord>> = load(store, &key).await?;
            let link = link.ok_or_else(|| CentreError::NoBlob { repository: repository.clone(), digest: digest.clone() })?;
            // Read before the manifests: one that is pushed meanwhile touches it.
            let blob: Option<Seen<BlobRecord>> = load(store, &blob_key(digest)).await?;
            let manifests = records::load_all::<ManifestRecord>(store, &records::manifest_prefix(repository)).await?;
            if let Some((key, _)) = manifests.iter().find(|(_, manifest)| manifest.record.blobs.contains(digest)) {
                let by = records::parse_content_key(records::MANIFEST, key).map_or_else(|| key.clone(), |(_, by)| by.to_string());
                return Err(CentreError::Used { what: format!("blob {digest}"), by: format!("manifest {by}") });
            }
            let txn = Txn::default().expect(&key, Some(link.revision)).delete(key);
            Ok(Attempt::Write(txn.expect(blob_key(digest), blob.map(|blob| blob.revision)), ()))
        })
        .await
    }

    /// Removes a blob that nothing needs: its record, the links that `linked_in` names, then its bytes. Whether that was done: not if
    /// anything touched it since `seen`, the revision of its record (`None`: it has none, and its bytes are an orphan).
    /// Whoever calls it has found no reference in records that he read after he read `seen`.
    ///
    /// # Errors
    /// The store or the storage fails; bytes without a record are left at worst.
    pub async fn drop_blob(
        &self,
        digest: &Digest,
        seen: Option<StoreRevision>,
        linked_in: Vec<Repository>,
    ) -> Result<bool, CentreError> {
        let (centre, digest) = (self.clone(), digest.clone());
        let task = tokio::spawn(async move {
            let _lock = centre.inner.locks.lock(&digest).await;
            let known: Option<Seen<BlobRecord>> = load(&*centre.inner.store, &blob_key(&digest)).await?;
            let mut txn = Txn::default().expect(blob_key(&digest), seen).delete(blob_key(&digest));
            for repository in &linked_in {
                txn = txn.delete(link_key(repository, &digest));
            }
            if centre.inner.store.txn(txn).await? == Committed::Conflict {
                return Ok(false);
            }
            centre.inner.quota.removed(known.map_or(0, |known| known.record.bytes));
            centre.inner.storage.remove(&digest).await?;
            Ok(true)
        });
        task.await.unwrap_or(Err(CentreError::Ending))
    }

    /// Says that somebody who pushes was just told that a blob is there: he will not send it, so it must stay until his manifest comes.
    pub(crate) async fn promise(&self, digest: &Digest) -> Result<(), CentreError> {
        self.change(|| async {
            let seen: Option<Seen<BlobRecord>> = load(&*self.inner.store, &blob_key(digest)).await?;
            let is_lately = seen.is_none_or(|seen| clock::wall().duration_since(seen.record.touched) < PROMISED_ANEW_AFTER);
            if is_lately {
                return Ok(Attempt::Done(()));
            }
            let touched = self.with_blob(Txn::default(), digest, None).await?;
            Ok(touched.map_or(Attempt::Done(()), |txn| Attempt::Write(txn, ())))
        })
        .await
    }

    /// Adds to a transaction that a blob's record is touched. `made`: its size, if its bytes were just placed; otherwise `None` is the
    /// answer when there is no such blob.
    pub(crate) async fn with_blob(&self, txn: Txn, digest: &Digest, made: Option<u64>) -> Result<Option<Txn>, CentreError> {
        let key = blob_key(digest);
        let seen: Option<Seen<BlobRecord>> = load(&*self.inner.store, &key).await?;
        let now = clock::wall();
        let record = match (&seen, made) {
            (Some(seen), _) => BlobRecord { touched: now, ..seen.record.clone() },
            (None, Some(bytes)) => BlobRecord { bytes, since: now, touched: now },
            (None, None) => return Ok(None),
        };
        Ok(Some(txn.expect(&key, seen.map(|seen| seen.revision)).put(key, records::encode(&record)?)))
    }

    async fn with_link(&self, txn: Txn, repository: &Repository, digest: &Digest) -> Result<Txn, CentreError> {
        let key = link_key(repository, digest);
        let seen: Option<Seen<LinkRecord>> = load(&*self.inner.store, &key).await?;
        Ok(match seen {
            Some(seen) => txn.expect(key, Some(seen.revision)),
            None => txn.expect(&key, None).put(key, records::encode(&LinkRecord { at: clock::wall() })?),
        })
    }
}
