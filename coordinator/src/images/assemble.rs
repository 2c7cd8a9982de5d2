//! All of it in order: base, layer, config, manifest, provenance, tags.

use super::AssembleError;
use super::base::{Base, platform};
use super::below::Belows;
use super::json;
use super::layer::{self, MadeLayer};
use bytes::Bytes;
use coord_centre::{Centre, NewManifest, OCI_MANIFEST, Reference, Tag};
use coord_registry::Registry;
use coord_shared::names::{Commit, Digest, Repository, RunId};
use coord_shared::recipe::Recipe;
use coord_shared::wire::ImageMade;
use jiff::Timestamp;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Images that are made at a time: each keeps a core busy, and a disk.
const ASSEMBLIES_MAX: usize = 2;

/// An archive that is to become an image.
#[derive(Debug, Clone)]
pub struct Assembly {
    /// The archive's file: tar.gz, tar.zst, tar or zip.
    pub archive: PathBuf,
    /// How it becomes an image.
    pub recipe: Recipe,
    /// Where the image goes.
    pub repository: Repository,
    /// Tags that move to it, once all else is done.
    pub tags: Vec<String>,
    /// The time of all its files, and of itself: of the commit, or what SOURCE_DATE_EPOCH says. Whole seconds count.
    pub at: Timestamp,
    /// Where its source lies, without credentials.
    pub source: Option<String>,
    /// Of which commit it is.
    pub commit: Option<Commit>,
    /// Which run made the archive.
    pub run: Option<RunId>,
    /// Who wants it, for the records.
    pub who: String,
}

/// Makes images of archives. Cheap to clone.
#[derive(Clone)]
pub struct Assembler {
    inner: Arc<Inner>,
}

struct Inner {
    centre: Centre,
    registry: Box<dyn Fn() -> Registry + Send + Sync>,
    work_dir: PathBuf,
    slots: Semaphore,
    belows: Belows,
}

impl Assembler {
    /// Images go to `centre`; bases come from there, or by what `registry` answers at the moment. Unpacked contents wait in `work_dir`, which
    /// must be there, and needs room for two archives at a time.
    pub fn new(centre: Centre, registry: impl Fn() -> Registry + Send + Sync + 'static, work_dir: PathBuf) -> Assembler {
        let slots = Semaphore::new(ASSEMBLIES_MAX);
        Assembler { inner: Arc::new(Inner { centre, registry: Box::new(registry), work_dir, slots, belows: Belows::default() }) }
    }

    /// Where archives may wait that are about to become images.
    pub fn work_dir(&self) -> &std::path::Path {
        &self.inner.work_dir
    }

    /// Makes an image of an archive. Waits while others are being made. May be done again: the same input is the same image.
    ///
    /// # Errors
    /// Archive, base, platform or tags are not as they should be; a registry, the image centre or the disk fails. No tag has moved then.
    pub async fn assemble(&self, assembly: Assembly) -> Result<ImageMade, AssembleError> {
        let _slot = self.inner.slots.acquire().await.map_err(|_| AssembleError::Ending)?;
        let tag = |tag: &String| tag.parse::<Tag>().map_err(|source| AssembleError::Tag { source });
        let tags = assembly.tags.iter().map(tag).collect::<Result<Vec<_>, _>>()?;
        let Inner { centre, registry, work_dir, belows, .. } = &*self.inner;
        let Assembly { repository, who, recipe, .. } = &assembly;
        let (wanted, host) = platform(recipe.platform.as_deref())?;
        let base = match &recipe.base {
            Some(image) => Some(Base::find(centre, registry(), image, &host).await?),
            None => None,
        };
        if let Some(base) = &base {
            base.copy_layers(centre, repository, who).await?;
        }
        let below = belows.of(base.as_ref(), centre, repository).await?;
        let (made, file) = layer::make(&assembly, below, work_dir).await?;
        layer::upload(centre, repository, who, &made.layer, file).await?;
        let about = json::about(&assembly, base.as_ref());
        let config = bytes(&json::config(base.as_ref(), recipe, &wanted, &made, &about, assembly.at));
        layer::put(centre, repository, who, &config).await?;
        let manifest = bytes(&json::manifest(base.as_ref(), &config, &made, &about));
        let digest = self.put_manifest(&assembly, None, &manifest).await?;
        self.put_provenance(&assembly, base.as_ref(), &manifest, &made, &about).await?;
        for tag in &tags {
            self.put_manifest(&assembly, Some(tag), &manifest).await?;
        }
        tracing::info!(%repository, %digest, who, layer_bytes = made.layer.bytes, "made an image");
        Ok(ImageMade { repository: repository.clone(), digest, tags: assembly.tags, layer_bytes: made.layer.bytes })
    }

    /// Refers from who made the image of what to the image.
    async fn put_provenance(
        &self,
        assembly: &Assembly,
        base: Option<&Base>,
        image: &Bytes,
        made: &MadeLayer,
        about: &std::collections::BTreeMap<String, String>,
    ) -> Result<(), AssembleError> {
        let Assembly { repository, who, .. } = assembly;
        let record = bytes(&json::provenance(assembly, base, &Digest::of(image), made));
        layer::put(&self.inner.centre, repository, who, json::EMPTY).await?;
        layer::put(&self.inner.centre, repository, who, &record).await?;
        let manifest = bytes(&json::provenance_manifest(&record, image, about));
        self.put_manifest(assembly, None, &manifest).await.map(drop)
    }

    /// Puts a manifest under its digest or a tag.
    async fn put_manifest(&self, assembly: &Assembly, tag: Option<&Tag>, manifest: &Bytes) -> Result<Digest, AssembleError> {
        let reference = tag.map_or_else(|| Reference::Digest(Digest::of(manifest)), |tag| Reference::Tag(tag.clone()));
        let new = NewManifest {
            repository: assembly.repository.clone(),
            reference: Some(reference),
            media_type: Some(OCI_MANIFEST.to_owned()),
            bytes: manifest.clone(),
            by: assembly.who.clone(),
        };
        Ok(self.inner.centre.put_manifest(new).await?.digest)
    }
}

/// Values have their keys sorted, so the bytes are always the same.
fn bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}
