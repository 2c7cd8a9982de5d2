//! What a person can do with this host's images: one implementation for the command line and for the control socket.
//!
//! Deliberately absent: deciding what is in use. Whoever calls says so: the loop, which knows, or [`in_use`], which reads it from
//! disk where no agent runs.

mod bodies;
mod error;
mod in_use;

pub use bodies::{Finding, ImageDetails, ImageRow, Pruned, PullProgress, Pulled, Verified, View};
pub use error::ImagesError;
pub use in_use::{Uses, on_disk, uses};

use crate::clock;
use crate::config::Config;
use crate::sync::ledger::Ledger;
use crate::sync::logins;
use coord_image::{ImageStore, ImageSummary, Progress, StoreError};
use coord_registry::{Registry, login_files};
use coord_shared::names::{Digest, ImageReference, InstanceId};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a pull's progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Fewest digits of a digest that name an image: fewer are likely to be mistaken for a name.
const DIGEST_MIN_DIGITS: usize = 6;

/// The images of this host and the registries they come from.
#[derive(Clone)]
pub struct Images {
    store: ImageStore,
    registry: Registry,
}

impl Images {
    /// The same store and client as the rest of the agent.
    pub fn new(store: ImageStore, registry: Registry) -> Self {
        Self { store, registry }
    }

    /// Opens the store of a host whose agent does not run.
    ///
    /// # Errors
    /// `Store(InUse)` when it does run, or somebody else is at work there.
    pub fn open(config: &Config) -> Result<Self, ImagesError> {
        let store = ImageStore::open(&config.state_dir.join("images"))?;
        let registry =
            Registry::new(config.registries.clone(), login_files(config.docker_config.clone())).map_err(ImagesError::Registry)?;
        // A ledger that cannot be read costs what the coordinator said of registries; the agent will say so.
        if let Ok(ledger) = Ledger::of_any_host(&config.state_dir) {
            registry.set_delivered(logins::delivered(ledger.registries()));
        }
        Ok(Self { store, registry })
    }

    /// All images, the names of their users beside them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self, uses: &Uses) -> Result<Vec<ImageRow>, ImagesError> {
        let listed = self.blocking(|store| store.list()).await?;
        Ok(listed.into_iter().map(|summary| row(summary, uses)).collect())
    }

    /// Pulls what the reference means now. `on_progress` is called several times a second.
    ///
    /// # Errors
    /// Any of the registry and the store; the store is then as before.
    pub async fn pull(&self, reference: &str, mut on_progress: impl FnMut(PullProgress)) -> Result<Pulled, ImagesError> {
        let image: ImageReference = reference.parse()?;
        let began = clock::now().mono;
        let resolve = |source| ImagesError::Resolve { reference: image.to_string(), source };
        let digest = self.registry.resolve(&image).await.map_err(resolve)?;
        let wanted = digest.clone();
        let was_here = matches!(self.blocking(move |store| store.get(&wanted)).await, Ok(Some(_)));
        let progress = Arc::new(Progress::default());
        let pull = self.store.pull(&self.registry, &image, &digest, Arc::clone(&progress));
        let mut pull = std::pin::pin!(pull);
        loop {
            match tokio::time::timeout(PROGRESS_INTERVAL, &mut pull).await {
                Ok(done) => {
                    done?;
                    let download_bytes = read(&progress).total_bytes;
                    let seconds = clock::now().mono.since(began).as_secs_f64();
                    return Ok(Pulled {
                        reference: image.to_string(),
                        digest: digest.clone(),
                        was_here,
                        download_bytes,
                        seconds,
                    });
                }
                Err(_) => on_progress(read(&progress)),
            }
        }
    }

    /// Everything about one image.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`; and when it is damaged.
    pub async fn inspect(&self, wanted: &str, uses: &Uses) -> Result<ImageDetails, ImagesError> {
        let summary = self.find(wanted).await?;
        let digest = summary.digest.clone();
        let image = self.blocking(move |store| store.get(&digest)).await?;
        let image = image.ok_or_else(|| ImagesError::NotFound { wanted: wanted.to_owned() })?;
        let config = serde_json::to_value(&image.config).unwrap_or_default();
        Ok(ImageDetails { row: row(summary, uses), config })
    }

    /// Shows an image, read-only, at a folder.
    ///
    /// # Errors
    /// `Place` when it is no folder; `NotFound`, `Ambiguous`; and when the kernel does not mount it.
    pub async fn mount(&self, wanted: &str, dir: &Path) -> Result<View, ImagesError> {
        check_place(dir)?;
        let digest = self.find(wanted).await?.digest;
        let (image, place) = (digest.clone(), dir.to_owned());
        self.blocking(move |store| store.mount_at(&image, &place)).await?;
        Ok(View { dir: dir.to_owned(), digest: Some(digest) })
    }

    /// Takes such a view away.
    ///
    /// # Errors
    /// When nothing is mounted there.
    pub async fn unmount(&self, dir: &Path) -> Result<View, ImagesError> {
        check_place(dir)?;
        let place = dir.to_owned();
        self.blocking(move |store| store.unmount_at(&place)).await?;
        Ok(View { dir: dir.to_owned(), digest: None })
    }

    /// Looks whether one image, or each, is as it was written.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`; and when the store cannot be read. What is damaged is no error but a finding.
    pub async fn verify(&self, wanted: Option<&str>) -> Result<Verified, ImagesError> {
        let images = match wanted {
            Some(wanted) => vec![self.find(wanted).await?],
            None => self.blocking(|store| store.list()).await?,
        };
        let mut verified = Verified { images: images.len(), findings: Vec::new() };
        for image in images {
            let digest = image.digest.clone();
            match self.blocking(move |store| store.get(&digest)).await {
                Ok(_) => {}
                Err(error @ ImagesError::Store(StoreError::Damaged { .. })) => {
                    verified.findings.push(Finding { object: image.digest.to_string(), problem: crate::chain(&error) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(verified)
    }

    /// Removes every image that nothing uses.
    ///
    /// # Errors
    /// When something cannot be removed; what is already gone stays gone.
    pub async fn prune(&self, uses: &Uses) -> Result<Pruned, ImagesError> {
        let keep = uses.keys().cloned().collect();
        let coord_image::Pruned { images, layers, content_bytes } = self.blocking(move |store| store.prune(&keep)).await?;
        Ok(Pruned { images, layers, content_bytes })
    }

    /// The one image that `wanted` names: by reference, by digest, or by the beginning of its digest.
    async fn find(&self, wanted: &str) -> Result<ImageSummary, ImagesError> {
        let listed = self.blocking(|store| store.list()).await?;
        let reference = wanted.parse::<ImageReference>().map(|image| image.to_string()).ok();
        let digits = wanted.strip_prefix("sha256:").unwrap_or(wanted);
        let by_digest = |digest: &Digest| digits.len() >= DIGEST_MIN_DIGITS && digest.hex().starts_with(digits);
        let mut found: Vec<ImageSummary> = listed
            .into_iter()
            .filter(|image| reference.as_ref().is_some_and(|name| image.references.contains(name)) || by_digest(&image.digest))
            .collect();
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                found.push(last);
                let found = found.iter().map(|image| image.digest.to_string()).collect();
                Err(ImagesError::Ambiguous { wanted: wanted.to_owned(), found })
            }
            (None, _) => Err(ImagesError::NotFound { wanted: wanted.to_owned() }),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ImageStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ImagesError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        Ok(done.map_err(|_| ImagesError::Ending)??)
    }
}

fn row(summary: ImageSummary, uses: &Uses) -> ImageRow {
    let ImageSummary { digest, references, layers, content_bytes, .. } = summary;
    let used_by = uses.get(&digest).into_iter().flatten().map(InstanceId::to_string).collect();
    ImageRow { digest, references, layers, content_bytes, used_by }
}

fn read(progress: &Progress) -> PullProgress {
    PullProgress {
        total_bytes: progress.total_bytes.load(Ordering::Relaxed),
        done_bytes: progress.done_bytes.load(Ordering::Relaxed),
        total_layers: progress.total_layers.load(Ordering::Relaxed),
        done_layers: progress.done_layers.load(Ordering::Relaxed),
    }
}

/// The caller's folder is not ours: a path that is relative to another process would be another place.
fn check_place(dir: &Path) -> Result<(), ImagesError> {
    let problem = |problem| ImagesError::Place { dir: PathBuf::from(dir), problem };
    if !dir.is_absolute() {
        return Err(problem("is not an absolute path"));
    }
    if dir.is_dir() { Ok(()) } else { Err(problem("is not a folder")) }
}
