//! What a person can do with this host's images: one implementation for the command line and for the control socket.
//!
//! Deliberately absent: deciding what is in use. Whoever calls says so: the loop, which knows, or [`in_use`], which reads it from
//! disk where no agent runs.

mod bodies;
mod error;
mod in_use;
mod room;
mod rows;

pub use bodies::{
    Finding, HealthcheckRow, ImageDetails, ImageRow, LayerRow, Pruned, PullProgress, Pulled, ReadyImage, Verified, View,
};
pub use error::ImagesError;
pub use in_use::{Uses, on_disk, uses};
pub use room::{Room, removed, uses as ask_for_uses};

use crate::builds;
use crate::clock;
use crate::config::Config;
use crate::nested;
use crate::one_off;
use crate::sync::ledger::Ledger;
use crate::sync::logins;
use coord_image::{ImageStore, Policy, Progress, StoreError};
use coord_registry::{Registry, login_files};
use coord_shared::names::{Digest, ImageReference};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a pull's progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The images of this host and the registries they come from.
#[derive(Clone)]
pub struct Images {
    store: ImageStore,
    registry: Registry,
    /// Where one-off containers say what they use.
    run_dir: PathBuf,
}

impl Images {
    /// The same store and client as the rest of the agent with this `run_dir`.
    pub fn new(store: ImageStore, registry: Registry, run_dir: &Path) -> Self {
        Self { store, registry, run_dir: run_dir.to_owned() }
    }

    /// Opens the store of a host whose agent does not run.
    ///
    /// # Errors
    /// `Store(InUse)` when it does run, or somebody else is at work there.
    pub fn open(config: &Config) -> Result<Self, ImagesError> {
        let store = ImageStore::open_with(&config.state_dir.join("images"), config.images.options())?;
        Ok(Self { store, registry: registry(config)?, run_dir: config.run_dir.clone() })
    }

    /// All images, the names of their users beside them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self, uses: &Uses) -> Result<Vec<ImageRow>, ImagesError> {
        let listed = self.blocking(|store| store.list()).await?;
        Ok(listed.into_iter().map(|summary| rows::row(summary, uses)).collect())
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

    /// An image that is here, ready to be stacked. It stays for as long as somebody says that it is in use.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`; and when the kernel does not mount it.
    pub async fn ready(&self, wanted: &str) -> Result<ReadyImage, ImagesError> {
        let digest = self.find(wanted).await?;
        let image = digest.clone();
        let ready = self.blocking(move |store| Ok((store.get(&image)?, store.mount(&image)?))).await?;
        let (Some(image), rootfs) = ready else { return Err(ImagesError::NotFound { wanted: wanted.to_owned() }) };
        Ok(ReadyImage { digest, config: image.config, lowers: rootfs.lowers })
    }

    /// Everything about one image.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`; and when it is damaged.
    pub async fn inspect(&self, wanted: &str, uses: &Uses) -> Result<ImageDetails, ImagesError> {
        let digest = self.find(wanted).await?;
        let details = self.blocking(move |store| store.inspect(&digest)).await?;
        let details = details.ok_or_else(|| ImagesError::NotFound { wanted: wanted.to_owned() })?;
        Ok(rows::details(details, uses))
    }

    /// Shows an image, read-only, at a folder.
    ///
    /// # Errors
    /// `Place` when it is no folder; `NotFound`, `Ambiguous`; and when the kernel does not mount it.
    pub async fn mount(&self, wanted: &str, dir: &Path) -> Result<View, ImagesError> {
        check_place(dir)?;
        let digest = self.find(wanted).await?;
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

    /// Reads one image, or all, from the disk, and says what is not as it was written. With `repair` that goes.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`; and when the store cannot be read. What is damaged is no error but a finding.
    pub async fn verify(&self, wanted: Option<&str>, repair: bool) -> Result<Verified, ImagesError> {
        let image = match wanted {
            Some(wanted) => Some(self.find(wanted).await?),
            None => None,
        };
        let verify = move |store: &ImageStore| {
            let images = if image.is_some() { 1 } else { store.list()?.len() };
            Ok((images, store.verify(image.as_ref(), repair)?))
        };
        let (images, findings) = self.blocking(verify).await?;
        Ok(Verified { images, findings: findings.into_iter().map(rows::finding).collect() })
    }

    /// Removes images that nothing uses: those that the policy lets go, or all of them. When it returns, their room is back.
    ///
    /// # Errors
    /// When something cannot be removed; what is already gone stays gone.
    pub async fn prune(&self, uses: &Uses, policy: Policy, all: bool) -> Result<Pruned, ImagesError> {
        let in_use = uses.keys().cloned().chain(self.used_by_one_offs()).collect();
        let policy = if all { Policy { keep: Duration::ZERO, ..policy } } else { policy };
        let pruned = self.blocking(move |store| store.collect(&in_use, &policy)).await?;
        let coord_image::Pruned { images, layers, content_bytes } = pruned;
        Ok(Pruned { images, layers, content_bytes })
    }

    /// What containers use that are nobody's but of whoever runs them, and what builds and second containers use.
    fn used_by_one_offs(&self) -> BTreeSet<Digest> {
        let others = builds::images(&self.run_dir).into_iter().chain(nested::images(&self.run_dir));
        one_off::images(&self.run_dir).into_iter().chain(others).collect()
    }

    /// The one image that `wanted` names: by reference, by digest, or by the beginning of its digest.
    async fn find(&self, wanted: &str) -> Result<Digest, ImagesError> {
        let text = wanted.to_owned();
        let mut found = self.blocking(move |store| store.find(&text)).await?;
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                found.push(last);
                let found = found.iter().map(Digest::to_string).collect();
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

/// The registries as an agent with this configuration and its ledger reaches them.
///
/// # Errors
/// `Registry` when an entry or a login file cannot be used.
pub fn registry(config: &Config) -> Result<Registry, ImagesError> {
    let files = login_files(config.docker_config.clone());
    let registry = Registry::new(config.registries.clone(), files).map_err(ImagesError::Registry)?;
    // A ledger that cannot be read costs what the coordinator said of registries; the agent will say so.
    if let Ok(ledger) = Ledger::of_any_host(&config.state_dir) {
        registry.set_delivered(logins::delivered(ledger.registries()));
    }
    Ok(registry)
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
