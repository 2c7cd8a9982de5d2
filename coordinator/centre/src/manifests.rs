//! Manifests: taking them with everything they refer to, finding them by tag or digest, removing them.

use crate::Centre;
use crate::centre::Attempt;
use crate::clock;
use crate::error::CentreError;
use crate::names::{Reference, Tag};
use crate::outline::{Descriptor, MANIFEST_MAX_BYTES, Outline};
use crate::records::{self, LinkRecord, ManifestRecord, ReferrerRecord, Seen, TagRecord, link_key, load, manifest_key, tag_key};
use bytes::Bytes;
use coord_shared::names::{Digest, Repository};
use coord_store::Txn;
use futures_util::TryStreamExt as _;

/// Most levels of indexes within indexes: nobody nests them deeper than once or twice, and whoever follows them must end.
const DEPTH_MAX: u8 = 4;

/// A manifest to be taken.
#[derive(Debug, Clone)]
pub struct NewManifest {
    /// For which repository.
    pub repository: Repository,
    /// Under which name; a digest must be its own.
    pub reference: Option<Reference>,
    /// The media type that the sender says, if he does.
    pub media_type: Option<String>,
    /// The manifest itself.
    pub bytes: Bytes,
    /// Who sends it.
    pub by: String,
}

/// A manifest that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its digest.
    pub digest: Digest,
    /// What it says something about.
    pub subject: Option<Digest>,
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its media type.
    pub media_type: String,
    /// The very bytes that were pushed.
    pub bytes: Bytes,
}

impl Centre {
    /// What a tag or a digest stands for in a repository now.
    ///
    /// # Errors
    /// The store fails.
    pub async fn resolve(&self, repository: &Repository, reference: &Reference) -> Result<Option<Descriptor>, CentreError> {
        let store = &*self.inner.store;
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => match load::<TagRecord>(store, &tag_key(repository, tag)).await? {
                Some(tag) => tag.record.digest,
                None => return Ok(None),
            },
        };
        let found: Option<Seen<ManifestRecord>> = load(store, &manifest_key(repository, &digest)).await?;
        Ok(found.map(|found| Descriptor {
            media_type: found.record.media_type,
            digest,
            bytes: found.record.bytes,
            artifact_type: None,
            annotations: std::collections::BTreeMap::new(),
        }))
    }

    /// A manifest by its digest.
    ///
    /// # Errors
    /// The store fails, or its bytes cannot be read.
    pub async fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<Option<Manifest>, CentreError> {
        let found: Option<Seen<ManifestRecord>> = load(&*self.inner.store, &manifest_key(repository, digest)).await?;
        let Some(found) = found.map(|found| found.record) else { return Ok(None) };
        let Some(stream) = self.inner.storage.read(digest, 0, found.bytes).await? else {
            tracing::error!(repository = %repository, digest = %digest, "the bytes of a manifest are gone from the storage; push it again");
            return Ok(None);
        };
        let pieces: Vec<Bytes> = stream.try_collect().await?;
        Ok(Some(Manifest { media_type: found.media_type, bytes: Bytes::from(pieces.concat()) }))
    }

    /// Takes a manifest. Goes on to its end when the caller goes away.
    ///
    /// # Errors
    /// It is too large, no manifest, or refers to what its repository does not have; its digest is not the one it is pushed by; the store
    /// or the storage fails.
    pub async fn put_manifest(&self, new: NewManifest) -> Result<Taken, CentreError> {
        if new.bytes.len() > MANIFEST_MAX_BYTES {
            let max_bytes = u64::try_from(MANIFEST_MAX_BYTES).unwrap_or(u64::MAX);
            return Err(CentreError::TooLarge { what: "the manifest", max_bytes });
        }
        let found = Digest::of(&new.bytes);
        if let Some(Reference::Digest(wanted)) = &new.reference
            && *wanted != found
        {
            return Err(CentreError::WrongDigest { wanted: wanted.clone(), found });
        }
        let outline = Outline::read(&new.bytes, new.media_type.as_deref()).map_err(CentreError::BadManifest)?;
        let centre = self.clone();
        let task = tokio::spawn(async move { centre.put_now(new, found, outline).await });
        task.await.unwrap_or(Err(CentreError::Ending))
    }

    async fn put_now(&self, new: NewManifest, digest: Digest, outline: Outline) -> Result<Taken, CentreError> {
        // Refused before its bytes are stored, and asked again with what is written.
        self.depend(Txn::default(), &new.repository, &outline).await?;
        let bytes = u64::try_from(new.bytes.len()).unwrap_or(u64::MAX);
        let _lock = self.inner.locks.lock(&digest).await;
        self.store_bytes(&new, &digest).await?;
        let is_new = self.is_new(&digest).await?;
        let tag = new.reference.as_ref().and_then(|reference| match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        });
        self.change(|| async {
            let (txn, depth) = self.depend(Txn::default(), &new.repository, &outline).await?;
            let txn = self.with_blob(txn, &digest, Some(bytes)).await?.unwrap_or_default();
            let record = ManifestRecord {
                media_type: outline.media_type.clone(),
                bytes,
                at: clock::wall(),
                touched: clock::wall(),
                by: new.by.clone(),
                depth,
                blobs: outline.blobs.clone(),
                manifests: outline.manifests.clone(),
                subject: outline.subject.clone(),
                content_bytes: outline.content_bytes,
            };
            let txn = self.with_manifest(txn, &new.repository, &digest, record).await?;
            let txn = match &outline.subject {
                Some(subject) => {
                    let record = ReferrerRecord { artifact_type: outline.artifact_type.clone() };
                    txn.put(records::referrer_key(&new.repository, subject, &digest), records::encode(&record)?)
                }
                None => txn,
            };
            let txn = match tag {
                Some(tag) => {
                    let record = TagRecord { digest: digest.clone(), at: clock::wall(), by: new.by.clone() };
                    txn.put(tag_key(&new.repository, tag), records::encode(&record)?)
                }
                None => txn,
            };
            Ok(Attempt::Write(self.with_repository(txn, &new.repository).await?, ()))
        })
        .await?;
        let reference = new.reference.as_ref().map(ToString::to_string);
        tracing::info!(repository = %new.repository, digest = %digest, reference, by = new.by, "a manifest was pushed");
        if is_new {
            self.inner.quota.added(bytes);
        }
        Ok(Taken { digest, subject: outline.subject })
    }

    /// Adds to a transaction that everything that a manifest needs is there, and touches it. How deep the manifest is.
    async fn depend(&self, mut txn: Txn, repository: &Repository, outline: &Outline) -> Result<(Txn, u8), CentreError> {
        let store = &*self.inner.store;
        let missing =
            |what, digest: &Digest| CentreError::Missing { what, digest: digest.clone(), repository: repository.clone() };
        for digest in &outline.blobs {
            let key = link_key(repository, digest);
            let link: Option<Seen<LinkRecord>> = load(store, &key).await?;
            let link = link.ok_or_else(|| missing("blob", digest))?;
            txn = txn.expect(key, Some(link.revision));
            txn = self.with_blob(txn, digest, None).await?.ok_or_else(|| missing("blob", digest))?;
        }
        let mut depth = 0;
        for digest in &outline.manifests {
            let key = manifest_key(repository, digest);
            let child: Option<Seen<ManifestRecord>> = load(store, &key).await?;
            let child = child.ok_or_else(|| missing("manifest", digest))?;
            depth = depth.max(child.record.depth.saturating_add(1));
            let touched = ManifestRecord { touched: clock::wall(), ..child.record };
            txn = txn.expect(&key, Some(child.revision)).put(key, records::encode(&touched)?);
        }
        if depth > DEPTH_MAX {
            return Err(CentreError::BadManifest(format!("its indexes are nested deeper than {DEPTH_MAX}")));
        }
        Ok((txn, depth))
    }

    async fn with_manifest(
        &self,
        txn: Txn,
        repository: &Repository,
        digest: &Digest,
        new: ManifestRecord,
    ) -> Result<Txn, CentreError> {
        let key = manifest_key(repository, digest);
        let seen: Option<Seen<ManifestRecord>> = load(&*self.inner.store, &key).await?;
        let (revision, record) = match seen {
            Some(seen) => (Some(seen.revision), ManifestRecord { at: seen.record.at, by: seen.record.by, ..new }),
            None => (None, new),
        };
        Ok(txn.expect(&key, revision).put(key, records::encode(&record)?))
    }

    /// A manifest's bytes take the same way as a blob's.
    pub(crate) async fn store_bytes(&self, new: &NewManifest, digest: &Digest) -> Result<(), CentreError> {
        let upload = self.inner.uploads.begin(&new.repository, &new.by, None).await?;
        upload.write(new.bytes.clone()).await?;
        let sealed = upload.seal().await?;
        self.inner.storage.commit(sealed.path.clone(), digest).await?;
        sealed.end().await
    }

    /// Removes a tag, or a manifest with all of its tags.
    ///
    /// # Errors
    /// There is none, an index of the repository needs it, or the store fails.
    pub async fn delete_manifest(&self, repository: &Repository, reference: &Reference) -> Result<(), CentreError> {
        match reference {
            Reference::Tag(tag) => self.delete_tag(repository, tag).await,
            Reference::Digest(digest) => self.delete_by_digest(repository, digest).await,
        }
    }

    async fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<(), CentreError> {
        let key = tag_key(repository, tag);
        self.change(|| async {
            let seen: Option<Seen<TagRecord>> = load(&*self.inner.store, &key).await?;
            let seen = seen
                .ok_or_else(|| CentreError::NoManifest { repository: repository.clone(), reference: tag.as_str().to_owned() })?;
            Ok(Attempt::Write(Txn::default().expect(&key, Some(seen.revision)).delete(&key), ()))
        })
        .await
    }

    async fn delete_by_digest(&self, repository: &Repository, digest: &Digest) -> Result<(), CentreError> {
        self.change(|| async {
            let store = &*self.inner.store;
            let key = manifest_key(repository, digest);
            // Read before everything that may refer to it: a new reference touches it.
            let seen: Option<Seen<ManifestRecord>> = load(store, &key).await?;
            let seen =
                seen.ok_or_else(|| CentreError::NoManifest { repository: repository.clone(), reference: digest.to_string() })?;
            let all = records::load_all::<ManifestRecord>(store, &records::manifest_prefix(repository)).await?;
            if let Some((by, _)) = all.iter().find(|(_, manifest)| manifest.record.manifests.contains(digest)) {
                let by = records::parse_content_key(records::MANIFEST, by).map_or_else(|| by.clone(), |(_, by)| by.to_string());
                return Err(CentreError::Used { what: format!("manifest {digest}"), by: format!("index {by}") });
            }
            let mut txn = Txn::default().expect(&key, Some(seen.revision)).delete(key);
            for (key, tag) in records::load_all::<TagRecord>(store, &records::tag_prefix(repository)).await? {
                if tag.record.digest == *digest {
                    txn = txn.expect(&key, Some(tag.revision)).delete(key);
                }
            }
            if let Some(subject) = &seen.record.subject {
                txn = txn.delete(records::referrer_key(repository, subject, digest));
            }
            Ok(Attempt::Write(txn, ()))
        })
        .await
    }
}
