//! Room for images: tidies up now and then, and when a pull did not fit.
//!
//! What goes is decided in `coord_shared::decide::images`; here it is asked for, one at a time. Deliberately absent: knowing what is in
//! use; the loop is asked, so that nothing goes that it has just begun to need.

use super::{Images, ImagesError, Uses};
use crate::event::Event;
use coord_image::{LayerError, Policy, Progress, Pruned, PullError, StoreError};
use coord_shared::names::Digest;
use coord_shared::quantity::ByteSize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{Mutex, mpsc, oneshot};

/// What a layer takes on the disk for each byte of its download, about, where the store has not said how much it needs.
const UNPACKED_PER_PACKED: u64 = 3;

/// Tidies up after the images of a running agent. Cheap to clone.
#[derive(Clone)]
pub struct Room {
    images: Images,
    policy: Policy,
    events: mpsc::Sender<Event>,
    /// Held by whoever tidies up: two at once would both remove what is enough for each.
    turn: Arc<Mutex<()>>,
}

impl Room {
    /// Tidies by `policy`, and asks and tells the loop by `events`.
    pub fn new(images: Images, policy: Policy, events: mpsc::Sender<Event>) -> Self {
        Self { images, policy, events, turn: Arc::default() }
    }

    /// Notes what is in use, and removes what the policy says.
    pub async fn tidy(&self) {
        if let Err(error) = self.collect(self.policy).await {
            tracing::warn!(error = %crate::chain(&error), "images are not tidied up");
        }
    }

    /// Makes room for a pull that failed for want of it. False if that was not why, or if nothing could go.
    pub async fn make_for(&self, failed: &PullError, progress: &Progress) -> bool {
        let Some(room_bytes) = missing(failed, progress) else { return false };
        match self.collect(Policy { room_bytes, ..self.policy }).await {
            Ok(pruned) if pruned.images.is_empty() && pruned.layers == 0 => false,
            Ok(pruned) => {
                tracing::info!(images = pruned.images.len(), freed = %ByteSize(pruned.content_bytes).human(), "made room for a pull");
                true
            }
            Err(error) => {
                tracing::warn!(error = %crate::chain(&error), "no room was made for a pull");
                false
            }
        }
    }

    async fn collect(&self, policy: Policy) -> Result<Pruned, ImagesError> {
        let _turn = self.turn.lock().await;
        let uses = uses(&self.events).await?;
        let in_use: BTreeSet<Digest> = uses.into_keys().chain(self.images.used_by_one_offs()).collect();
        let pruned = self.images.blocking(move |store| {
            for digest in &in_use {
                match store.touch(digest) {
                    // It is wanted, and not here yet.
                    Ok(()) | Err(StoreError::Missing { .. }) => {}
                    Err(error) => tracing::warn!(image = %digest, error = %crate::chain(&error), "its last use is not noted"),
                }
            }
            store.collect(&in_use, &policy)
        });
        let pruned = pruned.await?;
        removed(&self.events, pruned.images.clone()).await;
        Ok(pruned)
    }
}

/// Which images are needed, and by whom: the loop knows.
///
/// # Errors
/// `Ending`, when there is no loop any more.
pub async fn uses(events: &mpsc::Sender<Event>) -> Result<Uses, ImagesError> {
    let (answer, answered) = oneshot::channel();
    events.send(Event::AskedForUses(answer)).await.map_err(|_| ImagesError::Ending)?;
    answered.await.map_err(|_| ImagesError::Ending)
}

/// The loop must not take for present what is gone.
pub async fn removed(events: &mpsc::Sender<Event>, images: Vec<Digest>) {
    if !images.is_empty() {
        // The loop is gone only when the process is about to be.
        let _ = events.send(Event::ImagesRemoved(images)).await;
    }
}

/// How much must be free for the pull to have a chance, if that is what it failed for.
fn missing(failed: &PullError, progress: &Progress) -> Option<u64> {
    match failed {
        PullError::Store { source: StoreError::Reserve { needed_bytes, reserve_bytes, .. }, .. } => {
            Some(needed_bytes.saturating_add(*reserve_bytes))
        }
        PullError::Layer { source: LayerError::Reserve { reserve_bytes, .. }, .. } => {
            Some(unpacked(progress).saturating_add(*reserve_bytes))
        }
        PullError::Store { source: StoreError::NoSpace { .. }, .. } | PullError::Layer { source: LayerError::NoSpace, .. } => {
            Some(unpacked(progress))
        }
        PullError::Shared { source } => missing(source, progress),
        PullError::Store { .. }
        | PullError::Layer { .. }
        | PullError::Registry { .. }
        | PullError::Platform { .. }
        | PullError::BadImage { .. } => None,
    }
}

fn unpacked(progress: &Progress) -> u64 {
    progress.total_bytes.load(Ordering::Relaxed).saturating_mul(UNPACKED_PER_PACKED)
}

#[cfg(test)]
mod tests;
