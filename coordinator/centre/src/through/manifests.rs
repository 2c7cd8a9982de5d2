//! Manifests of copies: asked for upstream by tag or digest, kept with what they say.

use super::{Through, ThroughRule, refused};
use crate::centre::{Attempt, Centre};
use crate::clock;
use crate::error::CentreError;
use crate::manifests::NewManifest;
use crate::names::{Reference, Tag};
use crate::outline::Outline;
use crate::records::{self, ManifestRecord, Seen, TagRecord, load, manifest_key, tag_key};
use bytes::Bytes;
use coord_registry::RegistryError;
use coord_shared::names::{Digest, Repository};
use coord_store::Txn;
use jiff::{SignedDuration, Timestamp};

/// Who pushed what nobody pushed.
const BY: &str = "upstream";
/// A copy that is used is touched this often at most: which ones are used least is known that well.
const TOUCH_EVERY: SignedDuration = SignedDuration::from_mins(10);

impl Through {
    /// Makes sure that the copy has what is asked for, as new as its time to live demands. Nothing to do where upstream cannot be asked and
    /// something is kept.
    ///
    /// # Errors
    /// Upstream has no such thing, or does not answer and nothing is kept.
    pub async fn bring(&self, centre: &Centre, repository: &Repository, reference: &Reference) -> Result<(), CentreError> {
        let Some(rule) = self.rule(repository) else { return Ok(()) };
        if self.is_fresh(centre, repository, reference, rule).await? {
            return Ok(());
        }
        let turn = self.turn(repository);
        let _turn = turn.lock().await;
        // Somebody else may have asked meanwhile.
        if self.is_fresh(centre, repository, reference, rule).await? {
            return Ok(());
        }
        let is_kept = centre.resolve(repository, reference).await?.is_some();
        if is_kept && self.rests(rule, clock::wall()) {
            return Ok(());
        }
        match self.ask(centre, repository, reference).await {
            Ok(()) => {
                self.note(rule, None);
                Ok(())
            }
            Err(CentreError::Upstream(error)) if is_kept => {
                self.note(rule, Some(clock::wall()));
                tracing::warn!(%repository, %reference, error = %coord_registry::chain(&*error), "upstream does not answer; what is kept counts");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether what is kept needs no question: a digest always is what it is, a tag for its time to live.
    async fn is_fresh(
        &self,
        centre: &Centre,
        repository: &Repository,
        reference: &Reference,
        rule: &ThroughRule,
    ) -> Result<bool, CentreError> {
        let store = &**centre.store();
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => match load::<TagRecord>(store, &tag_key(repository, tag)).await? {
                Some(seen) if is_young(seen.record.at, rule) => seen.record.digest,
                Some(_) | None => return Ok(false),
            },
        };
        let found: Option<Seen<ManifestRecord>> = load(store, &manifest_key(repository, &digest)).await?;
        let Some(found) = found else { return Ok(false) };
        if clock::wall().duration_since(found.record.touched) > TOUCH_EVERY {
            centre.touch(repository, &digest).await?;
        }
        Ok(true)
    }

    async fn ask(&self, centre: &Centre, repository: &Repository, reference: &Reference) -> Result<(), CentreError> {
        let client = (self.upstreams)();
        let said = reference.to_string();
        let fail = |error: RegistryError| refused(repository, &said, error);
        let (digest, tag) = match reference {
            Reference::Digest(digest) => (digest.clone(), None),
            Reference::Tag(tag) => {
                let image = self.original(repository, &format!(":{tag}"))?;
                (client.resolve(&image).await.map_err(fail)?, Some(tag))
            }
        };
        let has_it = centre.resolve(repository, &Reference::Digest(digest.clone())).await?.is_some();
        if !has_it {
            let image = self.by_digest(repository, &digest)?;
            let bytes = client.manifest_bytes(&image, &digest).await.map_err(fail)?;
            keep(centre, repository, &digest, Bytes::from(bytes)).await?;
        }
        match tag {
            Some(tag) => name(centre, repository, tag, &digest).await,
            None => Ok(()),
        }
    }
}

fn is_young(at: Timestamp, rule: &ThroughRule) -> bool {
    let ttl = SignedDuration::try_from(rule.ttl.0).unwrap_or(SignedDuration::MAX);
    let age = clock::wall().duration_since(at);
    // A time to come is one of a clock that was set back.
    age < ttl && age > -ttl
}

/// Keeps a verified manifest. What it refers to may come later, or never.
async fn keep(centre: &Centre, repository: &Repository, digest: &Digest, bytes: Bytes) -> Result<(), CentreError> {
    let outline = Outline::read(&bytes, None).map_err(CentreError::BadManifest)?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let new = NewManifest { repository: repository.clone(), reference: None, media_type: None, bytes, by: BY.to_owned() };
    let (centre, digest) = (centre.clone(), digest.clone());
    let task = tokio::spawn(async move {
        let _lock = centre.inner.locks.lock(&digest).await;
        centre.store_bytes(&new, &digest).await?;
        let is_new = centre.is_new(&digest).await?;
        let key = manifest_key(&new.repository, &digest);
        centre
            .change(|| async {
                let seen: Option<Seen<ManifestRecord>> = load(&**centre.store(), &key).await?;
                let txn = centre.with_blob(Txn::default(), &digest, Some(size)).await?.unwrap_or_default();
                let record = ManifestRecord {
                    media_type: outline.media_type.clone(),
                    bytes: size,
                    at: clock::wall(),
                    touched: clock::wall(),
                    by: BY.to_owned(),
                    depth: u8::from(!outline.manifests.is_empty()),
                    blobs: outline.blobs.clone(),
                    manifests: outline.manifests.clone(),
                    // What is said of an image is upstream's to list.
                    subject: None,
                    content_bytes: outline.content_bytes,
                };
                let txn = txn.expect(&key, seen.map(|seen| seen.revision)).put(&key, records::encode(&record)?);
                Ok(Attempt::Write(centre.with_repository(txn, &new.repository).await?, ()))
            })
            .await?;
        if is_new {
            centre.quota().added(size);
        }
        Ok(())
    });
    task.await.unwrap_or(Err(CentreError::Ending))
}

/// Says what a tag stands for, and that it was asked for now.
async fn name(centre: &Centre, repository: &Repository, tag: &Tag, digest: &Digest) -> Result<(), CentreError> {
    let (key, manifest) = (tag_key(repository, tag), manifest_key(repository, digest));
    centre
        .change(|| async {
            let seen: Option<Seen<ManifestRecord>> = load(&**centre.store(), &manifest).await?;
            let none = || CentreError::NoManifest { repository: repository.clone(), reference: digest.to_string() };
            let seen = seen.ok_or_else(none)?;
            let record = TagRecord { digest: digest.clone(), at: clock::wall(), by: BY.to_owned() };
            let touched = ManifestRecord { touched: clock::wall(), ..seen.record };
            let txn = Txn::default()
                .expect(&manifest, Some(seen.revision))
                .put(&manifest, records::encode(&touched)?)
                .put(&key, records::encode(&record)?);
            Ok(Attempt::Write(txn, ()))
        })
        .await
}
