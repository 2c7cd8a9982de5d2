//! The same image, asked for by many at once: one pulls, the others wait and get what he gets.
//!
//! Whoever comes first takes the turn; the others queue for it. When his pull succeeds, the next in the queue finds the image in the
//! store. When it fails, everybody who was waiting gets the same error: twenty instances of a workload do not ask a broken registry
//! twenty times over. When he goes away halfway (his pull was dropped), the next one pulls.

use super::Progress;
use crate::error::PullError;
use coord_shared::names::{Digest, ImageReference};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often those who wait are told how far the pull has come.
const MIRROR_EVERY: Duration = Duration::from_millis(200);

/// What is asked for: the same digest by another name comes from elsewhere, and may well be had when the first cannot.
type Asked = (ImageReference, Digest);

/// All pulls of a store that are under way.
#[derive(Default)]
pub(crate) struct Flights(Mutex<BTreeMap<Asked, Arc<Flight>>>);

/// One image's pull.
#[derive(Default)]
pub(super) struct Flight {
    turn: tokio::sync::Mutex<()>,
    failed: Mutex<Option<Arc<PullError>>>,
    progress: Progress,
}

/// Being part of a flight.
pub(super) struct Seat<'f> {
    flights: &'f Flights,
    asked: Asked,
    flight: Arc<Flight>,
}

impl Flights {
    /// Takes part in the pull of this image, the first or one of many.
    pub(super) fn join(&self, image: &ImageReference, digest: &Digest) -> Seat<'_> {
        let asked = (image.clone(), digest.clone());
        let flight = Arc::clone(self.all().entry(asked.clone()).or_default());
        Seat { flights: self, asked, flight }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Asked, Arc<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat<'_> {
    /// Pulls when it is this one's turn, unless another one has failed meanwhile. `pull` is to look into the store first.
    pub(super) async fn fly<T>(
        &self,
        progress: &Progress,
        pull: impl AsyncFnOnce(&Progress) -> Result<T, PullError>,
    ) -> Result<T, PullError> {
        let flight = &self.flight;
        let work = async {
            let _turn = flight.turn.lock().await;
            if let Some(error) = &*flight.failed() {
                return Err(PullError::Shared { source: Arc::clone(error) });
            }
            pull(&flight.progress).await.map_err(|error| self.share(error))
        };
        let mut work = pin!(work);
        let mut ticks = tokio::time::interval(MIRROR_EVERY);
        let result = loop {
            tokio::select! {
                biased;
                result = &mut work => break result,
                _ = ticks.tick() => progress.copy_from(&flight.progress),
            }
        };
        progress.copy_from(&flight.progress);
        result
    }

    /// Ends the flight. Who comes later tries again; who has been waiting gets this error.
    fn share(&self, error: PullError) -> PullError {
        let mut flights = self.flights.all();
        let is_current = flights.get(&self.asked).is_some_and(|current| Arc::ptr_eq(current, &self.flight));
        let others = if is_current { 2 } else { 1 };
        if Arc::strong_count(&self.flight) <= others {
            return error;
        }
        if is_current {
            flights.remove(&self.asked);
        }
        let error = Arc::new(error);
        *self.flight.failed() = Some(Arc::clone(&error));
        PullError::Shared { source: error }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut flights = self.flights.all();
        // The map's own and this one's.
        if Arc::strong_count(&self.flight) <= 2
            && flights.get(&self.asked).is_some_and(|current| Arc::ptr_eq(current, &self.flight))
        {
            flights.remove(&self.asked);
        }
    }
}

impl Flight {
    fn failed(&self) -> MutexGuard<'_, Option<Arc<PullError>>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn copy_from(&self, other: &Progress) {
        let copy = |to: &AtomicU64, from: &AtomicU64| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        copy(&self.total_bytes, &other.total_bytes);
        copy(&self.done_bytes, &other.done_bytes);
        copy(&self.total_layers, &other.total_layers);
        copy(&self.done_layers, &other.done_layers);
    }
}
