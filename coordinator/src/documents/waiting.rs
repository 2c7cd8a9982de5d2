//! Waiting: texts whose image is being resolved, and the task that resolves them.
//!
//! What waits is in the store; how often it was tried and what the registry said is memory. Different names are resolved side by
//! side, so one slow registry holds up nobody else's image.

use super::publish::{PublishError, Published, Publisher};
use super::resolve::{ResolveError, ResolveImage};
use crate::clock;
use crate::records::{self, RecordError, Source, WaitingRecord};
use coord_shared::decide::Mono;
use coord_shared::decide::backoff;
use coord_shared::decide::reason::Reason;
use coord_shared::names::{ImageReference, WorkloadName};
use coord_store::{SharedStore, StoreRevision};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Images that are resolved at a time: enough that one dead registry blocks nobody, too few to be a burden to a live one.
const RESOLVES_MAX: usize = 16;
/// How long one resolve may take, whatever the client's own timeouts.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long to wait before asking a failing store again.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// One waiting text, as people are shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The transaction that keeps it.
    pub at: StoreRevision,
    /// Where it comes from.
    pub source: Source,
    /// Its image.
    pub image: ImageReference,
    /// Why it still waits; absent until the first answer.
    pub reason: Option<Reason>,
    failures: u32,
    retry: Mono,
}

/// What waits. Shared by the resolver (which writes), the status and the API (which read and wait).
pub struct WaitingBoard {
    by_name: Mutex<BTreeMap<WorkloadName, Waiting>>,
    changed: watch::Sender<()>,
}

impl Default for WaitingBoard {
    fn default() -> Self {
        Self { by_name: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl WaitingBoard {
    /// Everything that waits, by name.
    pub fn list(&self) -> BTreeMap<WorkloadName, Waiting> {
        self.lock().clone()
    }

    /// Waits until the text that transaction `at` kept is decided on: `None` when it no longer waits, else why it still does.
    /// After `patience` the answer is that the registry has not answered.
    pub async fn outcome(&self, name: &WorkloadName, at: StoreRevision, patience: Duration) -> Option<Reason> {
        let mut changed = self.changed.subscribe();
        let decided = async {
            loop {
                match self.lock().get(name) {
                    Some(waiting) if waiting.at != at => return None,
                    Some(Waiting { reason: Some(reason), .. }) => return Some(reason.clone()),
                    Some(_) => {}
                    None => return None,
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        match tokio::time::timeout(patience, decided).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let error = "the registry has not answered yet".to_owned();
                Some(Reason::ImageUnresolved { error, retry_at: clock::wall() })
            }
        }
    }

    pub(super) fn begin(&self, name: &WorkloadName, at: StoreRevision, record: &WaitingRecord) {
        let mut by_name = self.lock();
        if by_name.get(name).is_none_or(|known| known.at < at) {
            let (source, image) = (record.source.clone(), record.image.clone());
            by_name.insert(name.clone(), Waiting { at, source, image, reason: None, failures: 0, retry: Mono::default() });
        }
        drop(by_name);
        self.changed.send_replace(());
    }

    pub(super) fn end(&self, name: &WorkloadName) {
        self.lock().remove(name);
        self.changed.send_replace(());
    }

    fn end_at(&self, name: &WorkloadName, at: StoreRevision) {
        let mut by_name = self.lock();
        if by_name.get(name).is_some_and(|known| known.at <= at) {
            by_name.remove(name);
        }
        drop(by_name);
        self.changed.send_replace(());
    }

    fn failed(&self, name: &WorkloadName, at: StoreRevision, error: String, dice: f64) {
        let now = clock::now();
        if let Some(waiting) = self.lock().get_mut(name).filter(|waiting| waiting.at == at) {
            waiting.failures = waiting.failures.saturating_add(1);
            waiting.retry = now.mono.after(backoff::PULL.delay_with_jitter(waiting.failures, dice));
            let retry_at: Timestamp = now.wall_at(waiting.retry);
            tracing::warn!(workload = %name, image = %waiting.image, failures = waiting.failures, "image is not resolved: {error}");
            waiting.reason = Some(Reason::ImageUnresolved { error, retry_at });
        }
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorkloadName, Waiting>> {
        // Every change is one call on the map: a poisoned lock guards a whole map.
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves what waits, for as long as the coordinator runs.
pub struct Resolver {
    /// Where texts wait.
    pub store: SharedStore,
    /// Who publishes them.
    pub publisher: Arc<Publisher>,
    /// Who knows what images stand for.
    pub images: Arc<dyn ResolveImage>,
}

type Resolving = FuturesUnordered<BoxFuture<'static, (WorkloadName, StoreRevision)>>;

impl Resolver {
    /// Never returns; to be raced against the end of the process.
    pub async fn run(self) {
        let mut newest = self.store.watch();
        let mut seen: StoreRevision = 0;
        let mut resolving = Resolving::new();
        let mut busy: BTreeMap<WorkloadName, StoreRevision> = BTreeMap::new();
        loop {
            newest.mark_unchanged();
            if let Err(error) = self.load(&mut seen).await {
                tracing::warn!(error = %coord_registry::chain(&error), "cannot read what waits for its image; trying again");
                tokio::time::sleep(STORE_RETRY).await;
                continue;
            }
            let next = self.start_due(&mut busy, &resolving);
            let (due, wake) = next;
            for (name, waiting) in due {
                busy.insert(name.clone(), waiting.at);
                resolving.push(self.resolve_one(name, waiting));
            }
            let timer = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(clock::instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((name, at)) = resolving.next() => {
                    if busy.get(&name) == Some(&at) {
                        busy.remove(&name);
                    }
                }
                changed = newest.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = timer => {}
            }
        }
    }

    /// Brings the board up to what the store says.
    async fn load(&self, seen: &mut StoreRevision) -> Result<(), RecordError> {
        let changes = self.store.changes(*seen, &[records::WAITING]).await?;
        for change in changes.changes {
            let Ok(name) = change.key[records::WAITING.len()..].parse::<WorkloadName>() else {
                tracing::error!(key = change.key, "the store has a waiting text under a name that is none");
                continue;
            };
            match change.value {
                Some(value) => match records::decode::<WaitingRecord>(&change.key, &value) {
                    Ok(record) => self.publisher.waiting.begin(&name, change.revision, &record),
                    Err(error) => tracing::error!(workload = %name, "{}", coord_registry::chain(&error)),
                },
                None => self.publisher.waiting.end_at(&name, change.revision),
            }
        }
        *seen = changes.revision;
        Ok(())
    }

    /// What may be tried now, and when the next one may.
    fn start_due(
        &self,
        busy: &mut BTreeMap<WorkloadName, StoreRevision>,
        resolving: &Resolving,
    ) -> (Vec<(WorkloadName, Waiting)>, Option<Mono>) {
        let now = clock::now().mono;
        let mut free = RESOLVES_MAX.saturating_sub(resolving.len());
        let (mut due, mut wake) = (Vec::new(), None);
        for (name, waiting) in self.publisher.waiting.list() {
            if busy.get(&name) == Some(&waiting.at) {
                continue;
            }
            if waiting.retry > now {
                wake = Some(wake.map_or(waiting.retry, |at: Mono| at.min(waiting.retry)));
            } else if free > 0 {
                free -= 1;
                due.push((name, waiting));
            }
        }
        (due, wake)
    }

    fn resolve_one(&self, name: WorkloadName, waiting: Waiting) -> BoxFuture<'static, (WorkloadName, StoreRevision)> {
        let (publisher, images) = (Arc::clone(&self.publisher), Arc::clone(&self.images));
        Box::pin(async move {
            let resolved = tokio::time::timeout(RESOLVE_TIMEOUT, images.resolve(&waiting.image)).await;
            let resolved = resolved.unwrap_or_else(|_| {
                Err(ResolveError(format!("registry {} did not answer within 20 s", waiting.image.registry())))
            });
            let outcome: Result<Option<Published>, String> = match resolved {
                Ok(digest) => publisher.publish_waiting(&name, waiting.at, digest).await.map_err(|e: PublishError| {
                    // A failing store is tried again like a failing registry.
                    coord_registry::chain(&e)
                }),
                Err(error) => Err(error.to_string()),
            };
            match outcome {
                Ok(Some(_)) => {}
                Ok(None) => publisher.waiting.end_at(&name, waiting.at),
                Err(error) => publisher.waiting.failed(&name, waiting.at, error, fastrand::f64()),
            }
            (name, waiting.at)
        })
    }
}
