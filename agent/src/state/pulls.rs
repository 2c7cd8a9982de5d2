//! What the agent knows of images: which are here, which are on their way, and what failed.

use super::Agent;
use crate::images::{self, Uses};
use coord_image::{Image, Progress};
use coord_shared::decide::planner;
use coord_shared::decide::{Mono, Now};
use coord_shared::names::{Digest, PinnedImage};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a pull's progress is looked at.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A pull under way.
pub(super) struct Pull {
    progress: Arc<Progress>,
    since: Mono,
}

impl Pull {
    fn seen(&self, now: Mono) -> planner::Image {
        let done_bytes = self.progress.done_bytes.load(Ordering::Relaxed);
        let total_bytes = self.progress.total_bytes.load(Ordering::Relaxed);
        // What the first moments say of a rate is chance.
        let seconds = Some(now.since(self.since)).filter(|took| *took >= PROGRESS_INTERVAL).map(|took| took.as_secs());
        let bytes_per_s = seconds.map_or(0, |seconds| done_bytes / seconds);
        planner::Image::Pulling { done_bytes, total_bytes, bytes_per_s }
    }
}

impl Agent {
    /// Takes in which images are complete at the agent's start.
    pub fn found_images(&mut self, images: impl IntoIterator<Item = Image>) {
        for image in images {
            self.observed.images.insert(image.digest.clone(), planner::Image::Present);
            self.images.insert(image.digest.clone(), Arc::new(image));
        }
    }

    /// Takes note of a pull that is set going; the progress is what it tells of itself.
    pub(super) fn begin_pull(&mut self, image: &PinnedImage, now: Now) -> Arc<Progress> {
        let pull = Pull { progress: Arc::default(), since: now.mono };
        let progress = pull.progress.clone();
        self.observed.images.insert(image.digest.clone(), pull.seen(now.mono));
        self.pulls.insert(image.digest.clone(), pull);
        progress
    }

    /// Takes note of how far the pulls are.
    pub(super) fn look_at_pulls(&mut self, now: Mono) {
        for (digest, pull) in &self.pulls {
            self.observed.images.insert(digest.clone(), pull.seen(now));
        }
    }

    /// When to look again.
    pub(super) fn next_look(&self, now: Mono) -> Option<Mono> {
        (!self.pulls.is_empty()).then(|| now.after(PROGRESS_INTERVAL))
    }

    /// A pull ended.
    pub(super) fn pulled(&mut self, digest: Digest, result: Result<Box<Image>, String>, now: Now) {
        self.pulls.remove(&digest);
        match result {
            Ok(image) => {
                tracing::info!(image = %digest, "image complete");
                self.observed.images.insert(digest.clone(), planner::Image::Present);
                self.pull_failures.remove(&digest);
                self.images.insert(digest, Arc::new(*image));
            }
            Err(error) => {
                tracing::warn!(image = %digest, %error, "pull failed");
                let failures = self.pull_failures.entry(digest.clone()).or_insert(0);
                *failures = failures.saturating_add(1);
                let failed = planner::Image::Failed { error, attempts: *failures, at: now.mono };
                self.observed.images.insert(digest, failed);
            }
        }
    }

    /// Forgets failures of images that nothing asks for any more; of all images if there is reason to hope (`new_logins`), so that
    /// they are tried again at once.
    pub(super) fn forget_failed_pulls(&mut self, new_logins: bool) {
        let in_use = self.images_in_use();
        let stays = |digest: &Digest| in_use.contains_key(digest) && !new_logins;
        self.observed.images.retain(|digest, image| !matches!(image, planner::Image::Failed { .. }) || stays(digest));
        self.pull_failures.retain(|digest, _| stays(digest));
    }

    /// Images that anything here needs or may need again at once, and for which instances.
    pub fn images_in_use(&self) -> Uses {
        let containers = self.observed.containers.iter();
        images::uses(&self.desired, &self.ahead, containers.map(|(id, container)| (&id.instance, &container.image)))
    }

    /// Takes note that an image was removed from the store.
    pub fn dropped_image(&mut self, digest: &Digest) {
        self.observed.images.remove(digest);
        self.images.remove(digest);
    }

    /// Images that are here.
    pub fn present_images(&self) -> impl Iterator<Item = &Digest> {
        self.images.keys()
    }
}
