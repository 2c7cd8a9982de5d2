//! Keeps the image centre tidy: collects now and then and when somebody asks, and forgets uploads that nobody goes on with.

use crate::config::CentreSection;
use coord_centre::collect::{CollectSettings, Collected, Roots};
use coord_centre::{Centre, CentreError};
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
    /// One collection at a time: a second one would only find what the first is about to remove.
    collecting: Mutex<()>,
}

impl Keeper {
    /// Over a centre; `roots` know what is in use.
    pub fn new(centre: Centre, roots: Arc<dyn Roots>, section: &CentreSection) -> Self {
        Self { centre, roots, settings: section.collect(), every: section.collect_every.0, collecting: Mutex::default() }
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
}
