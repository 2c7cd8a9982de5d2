//! Keeps the image centre tidy: collects now and then and when somebody asks, and forgets uploads that nobody goes on with.

use crate::config::CentreSection;
use coord_centre::collect::{CollectSettings, Collected, Roots, Snapshot};
use coord_centre::through::{Through, Upstreams, evicted};
use coord_centre::{Centre, CentreError, Reference};
use coord_registry::chain;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// After a start, first things first.
const FIRST_AFTER: Duration = Duration::from_secs(120);

/// The one who collects.
pub struct Keeper {
    centre: Centre,
    roots: Arc<dyn Roots>,
    settings: CollectSettings,
    every: Duration,
    through: Option<Arc<Through>>,
    /// One collection at a time: a second one would only find what the first is about to remove.
    collecting: Mutex<()>,
}

impl Keeper {
    /// Over a centre; `roots` know what is in use.
    pub fn new(centre: Centre, roots: Arc<dyn Roots>, section: &CentreSection, upstreams: Upstreams) -> Self {
        let through = (!section.through.is_empty()).then(|| Arc::new(Through::new(section.through.clone(), upstreams)));
        let (settings, every) = (section.collect(), section.collect_every.0);
        Self { centre, roots, settings, every, through, collecting: Mutex::default() }
    }

    /// What makes copies of other registries' images, where that is configured.
    pub fn through(&self) -> Option<Arc<Through>> {
        self.through.clone()
    }

    /// The centre.
    pub fn centre(&self) -> &Centre {
        &self.centre
    }

    /// What documents need.
    pub fn roots(&self) -> &dyn Roots {
        &*self.roots
    }

    /// What a collection may do.
    pub fn settings(&self) -> &CollectSettings {
        &self.settings
    }

    /// Collects once. `dry_run` only says what would go.
    ///
    /// # Errors
    /// As [`Centre::collect`].
    pub async fn collect(&self, dry_run: bool) -> Result<Collected, CentreError> {
        let _one = self.collecting.lock().await;
        self.centre.collect(&*self.roots, &self.settings, dry_run).await
    }

    /// Never returns.
    pub async fn run(self: Arc<Self>) {
        tokio::time::sleep(FIRST_AFTER).await;
        loop {
            self.pass().await;
            tokio::time::sleep(self.every).await;
        }
    }

    async fn pass(&self) {
        match self.centre.expire_uploads().await {
            Ok(0) => {}
            Ok(uploads) => tracing::info!(uploads, "forgot uploads that nobody went on with"),
            Err(error) => tracing::warn!(error = %chain(&error), "idle uploads stay; trying again"),
        }
        match self.make_room().await {
            Ok(0) => {}
            Ok(copies) => tracing::info!(copies, "removed copies of other registries' images that were used least"),
            Err(error) => tracing::warn!(error = %chain(&error), "copies of other registries' images stay; trying again"),
        }
        match self.collect(false).await {
            Ok(Collected { removed, .. }) if removed.is_empty() => {}
            Ok(Collected { removed, freed_bytes, kept_bytes, .. }) => {
                tracing::info!(
                    removed = removed.len(),
                    freed_bytes,
                    kept_bytes,
                    "collected what nothing needs in the image centre"
                );
            }
            Err(error) => tracing::warn!(error = %chain(&error), "the image centre is not collected; trying again"),
        }
    }

    /// Removes copies where the quota is nearly used up. How many.
    async fn make_room(&self) -> Result<usize, CentreError> {
        let (Some(through), Some(quota)) = (&self.through, self.centre.quota().limit()) else { return Ok(0) };
        let snapshot = Snapshot::read(&**self.centre.store()).await?;
        let roots = self.roots.roots().await.map_err(|error| CentreError::Roots(Box::new(error)))?;
        let mut removed = 0;
        for (repository, digest) in evicted(&snapshot, through, &roots, Some(quota)) {
            match self.centre.delete_manifest(&repository, &Reference::Digest(digest)).await {
                Ok(()) => removed += 1,
                // Part of an index that is used: it goes when that goes.
                Err(CentreError::Used { .. } | CentreError::NoManifest { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}
