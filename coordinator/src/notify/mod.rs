//! Notifications: people and programs are told how a run ended, by webhook and by mail.
//!
//! ```text
//!   tell ─▶ notify/RUN/TARGET (outbox, in the store) ─▶ deliver, one at a time for each target ─▶ delivered | later | given up
//! ```
//!
//! What was told to this outbox is delivered whatever happens to this process: tried again, ever more slowly, for a day. Telling the same
//! twice tells nobody twice; only if the process ends between a delivery and its record may a message come again, and then under the same
//! name (`x-coord-delivery`, `Message-ID`). A target that fails holds up no other, and no run. Deliberately absent: templates, and any word
//! from a target: its answer is a status, nothing more.

mod config;
mod deliver;
mod outbox;
#[cfg(test)]
mod tests;
mod text;

pub use config::{NotifyConfig, Smtp, SmtpTls};
pub use text::{Message, message};

use crate::clock;
use crate::pipeline::{Tell, Told};
use crate::records::{RecordError, encode, load};
use crate::secrets::Secrets;
use coord_shared::decide::backoff::Backoff;
use coord_shared::names::PipelineName;
use coord_shared::pipeline::NotifyTarget;
use coord_shared::wire::RunView;
use coord_store::{Committed, SharedStore, StoreError, Txn};
use deliver::{Deliverer, Undelivered};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use outbox::{Ended, NOTICE, Notice, Outbox, Outcome, notice_key};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a target is tried.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);
/// How long a delivered notice is remembered, so that it is not delivered again.
const MEMORY: SignedDuration = SignedDuration::from_hours(48);
/// The waits between attempts: a restart of the target costs seconds, a broken one a try an hour.
const RETRY: Backoff = Backoff { base: Duration::from_secs(5), max: Duration::from_secs(3600) };
/// Deliveries at a time, each to another target.
const DELIVERIES_MAX: usize = 16;
/// How long to wait before asking a failing store again.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Attempts at a compare-and-set.
const TXN_ATTEMPTS_MAX: u32 = 10;
/// Undelivered notices of one pipeline that are shown.
const PROBLEMS_MAX: usize = 3;

/// The end of a run, and who is told of it.
#[derive(Debug, Clone)]
pub struct Notification {
    /// Which run, and how it ended.
    pub run: RunView,
    /// Who is told.
    pub targets: Vec<NotifyTarget>,
}

/// Why somebody could not be told, not even later.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record could not be had.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Others wrote the same key, again and again.
    #[error("the outbox is being changed by others; try again")]
    Busy,
}

/// Tells people.
pub struct Notifier {
    store: SharedStore,
    deliverer: Deliverer,
    outbox: Mutex<Outbox>,
    retry: Backoff,
}

impl Notifier {
    /// Over what the store holds. `smtp`: who takes mail; without it, mail waits until a coordinator has one, or a day is over.
    pub fn new(store: SharedStore, secrets: Arc<Secrets>, config: &NotifyConfig, smtp: Option<Smtp>) -> Self {
        let deliverer = Deliverer::new(secrets, config.webhook_secret.clone(), smtp);
        Self { store, deliverer, outbox: Mutex::default(), retry: RETRY }
    }

    #[cfg(test)]
    fn with_retry(mut self, retry: Backoff) -> Self {
        self.retry = retry;
        self
    }

    /// Takes it upon itself to tell everybody named. When it answers, that is written down.
    ///
    /// # Errors
    /// It could not be written down.
    pub async fn tell(&self, notification: &Notification) -> Result<(), NotifyError> {
        let targets: BTreeSet<&NotifyTarget> = notification.targets.iter().collect();
        for target in targets {
            let key = notice_key(&notification.run.run, target);
            let message = message(&notification.run, &outbox::delivery(&key));
            let notice = Notice::new(target.clone(), message, clock::wall());
            // A conflict: it is there already, delivered or not.
            let txn = Txn::default().expect(&*key, None).put(&*key, encode(&notice));
            if let Committed::Yes(_) = self.store.txn(txn).await? {
                tracing::info!(run = %notification.run.run, target = notice.shown(), "somebody is to be told");
            }
        }
        Ok(())
    }

    async fn note(&self, told: Told) -> Result<(), String> {
        let notification = Notification { run: told.run, targets: told.targets };
        self.tell(&notification).await.map_err(|error| coord_registry::chain(&error))
    }

    /// Who could not be told yet of the pipeline's runs, or at all: a sentence each, the newest first, with its cure.
    pub fn problems(&self, pipeline: &PipelineName) -> Vec<String> {
        let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        outbox.problems(pipeline).take(PROBLEMS_MAX).collect()
    }

    /// Delivers; never returns while the store lives.
    pub async fn run(self: Arc<Self>) {
        let mut newest = self.store.watch();
        let mut running = FuturesUnordered::new();
        let mut busy: BTreeSet<String> = BTreeSet::new();
        loop {
            newest.mark_unchanged();
            let wake = match self.refresh().await {
                Ok(()) => {
                    let now = clock::wall();
                    self.forget(now).await;
                    for (key, notice) in self.due(now, &busy) {
                        busy.insert(notice.target_text());
                        let this = Arc::clone(&self);
                        running.push(async move {
                            this.deliver(&key, &notice).await;
                            notice.target_text()
                        });
                    }
                    self.next_due(now, &busy)
                }
                Err(error) => {
                    tracing::warn!(error = %coord_registry::chain(&error), "cannot read the outbox; trying again");
                    Some(STORE_RETRY)
                }
            };
            let timer = async {
                match wake {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                Some(target) = running.next() => drop(busy.remove(&target)),
                () = timer => {}
            }
        }
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let since = self.outbox.lock().unwrap_or_else(PoisonError::into_inner).at;
        let (changes, is_whole) = match self.store.changes(since, &[NOTICE]).await {
            Err(StoreError::Compacted { .. }) => (self.store.changes(0, &[NOTICE]).await?, true),
            changes => (changes?, since == 0),
        };
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner).apply(changes, is_whole);
        Ok(())
    }

    /// What is due now, at most one for each target that is not busy.
    fn due(&self, now: Timestamp, busy: &BTreeSet<String>) -> Vec<(String, Notice)> {
        let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = busy.clone();
        let due = outbox.open().filter(|(_, notice)| notice.next_at <= now && taken.insert(notice.target_text()));
        let due = due.map(|(key, notice)| (key.clone(), notice.clone()));
        due.take(DELIVERIES_MAX.saturating_sub(busy.len())).collect()
    }

    /// How long until something is due that is not being done.
    fn next_due(&self, now: Timestamp, busy: &BTreeSet<String>) -> Option<Duration> {
        let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = outbox.open().filter(|(_, notice)| !busy.contains(&notice.target_text()));
        let next = waiting.map(|(_, notice)| notice.next_at).filter(|at| *at > now).min();
        next.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default())
    }

    async fn deliver(&self, key: &str, notice: &Notice) {
        let delivered = self.deliverer.deliver(&outbox::delivery(key), notice).await;
        let now = clock::wall();
        let target = notice.shown();
        let changed = match delivered {
            Ok(()) => {
                tracing::info!(key, target, "told");
                self.change(key, |notice| notice.end(Outcome::Delivered, now)).await
            }
            Err(Undelivered(problem)) => {
                let is_last = now.duration_since(notice.made_at) >= PATIENCE;
                tracing::warn!(key, target, problem, attempts = notice.attempts + 1, is_last, "cannot tell");
                let wait = self.retry.delay_with_jitter(notice.attempts.saturating_add(1), fastrand::f64());
                self.change(key, |notice| {
                    notice.attempts = notice.attempts.saturating_add(1);
                    notice.problem = Some(problem.clone());
                    notice.next_at = now.checked_add(wait).unwrap_or(now);
                    if is_last {
                        notice.end(Outcome::GivenUp, now);
                    }
                })
                .await
            }
        };
        if let Err(error) = changed {
            // It is delivered again, under the same name.
            tracing::warn!(key, error = %coord_registry::chain(&error), "cannot note what became of a notice");
            tokio::time::sleep(STORE_RETRY).await;
        }
    }

    async fn change(&self, key: &str, change: impl Fn(&mut Notice)) -> Result<(), NotifyError> {
        for _ in 0..TXN_ATTEMPTS_MAX {
            let Some((mut notice, revision)) = load::<Notice>(&*self.store, key).await? else { return Ok(()) };
            change(&mut notice);
            let txn = Txn::default().expect(key, Some(revision)).put(key, encode(&notice));
            if let Committed::Yes(_) = self.store.txn(txn).await? {
                // Before anything else is due: the same must not be taken up again.
                return Ok(self.refresh().await?);
            }
        }
        Err(NotifyError::Busy)
    }

    /// Deletes what is remembered for long enough.
    async fn forget(&self, now: Timestamp) {
        let is_old = |ended: &Ended| now.duration_since(ended.at) > MEMORY;
        let old: Vec<String> = {
            let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            outbox.ended().filter(|(_, ended)| is_old(ended)).map(|(key, _)| key.clone()).collect()
        };
        if old.is_empty() {
            return;
        }
        let txn = old.into_iter().fold(Txn::default(), |txn, key| txn.delete(key));
        if let Err(error) = self.store.txn(txn).await {
            tracing::warn!(error = %coord_registry::chain(&error), "cannot forget old notices");
        }
    }
}

impl Tell for Notifier {
    fn tell(&self, told: Told) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.note(told))
    }
}
