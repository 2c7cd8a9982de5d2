//! Schedules: pipelines that run at set times, whether or not anything is new.
//!
//! The next time of each is in the store, so that one that fell while no coordinator ran is made up for: once, however many were missed.
//! A schedule that is new or was changed begins with its next time from now on.

#[cfg(test)]
mod tests;

use crate::clock;
use crate::pipeline::records::{PIPELINE, PipelineRecord};
use crate::pipeline::{PipelineError, Pipelines};
use crate::records::{RecordError, decode, encode};
use coord_shared::decide::pipeline::Cause;
use coord_shared::decide::schedule::Schedule;
use coord_shared::names::PipelineName;
use coord_store::{Change, SharedStore, StoreError, StoreRevision, Txn};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Prefix of the times that come next.
const SCHEDULE: &str = "schedule/";
/// How long to wait before asking a failing store again.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Longest sleep: the clock of the machine may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// When a pipeline runs next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Next {
    /// The schedule that it was made from.
    schedule: String,
    at: Timestamp,
}

/// Runs pipelines when it is time.
pub struct Schedules {
    store: SharedStore,
    pipelines: Arc<Pipelines>,
    at: StoreRevision,
    schedules: BTreeMap<PipelineName, Schedule>,
    next: BTreeMap<PipelineName, Next>,
}

#[derive(Debug, thiserror::Error)]
enum ScheduleError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl Schedules {
    /// Those of the store's pipelines.
    pub fn new(store: SharedStore, pipelines: Arc<Pipelines>) -> Self {
        Self { store, pipelines, at: 0, schedules: BTreeMap::new(), next: BTreeMap::new() }
    }

    /// Never returns while the store lives.
    pub async fn run(mut self) {
        let mut newest = self.store.watch();
        loop {
            newest.mark_unchanged();
            let sleep = match self.pass(clock::wall()).await {
                Ok(sleep) => sleep.min(SLEEP_MAX),
                Err(error) => {
                    tracing::warn!(error = %coord_registry::chain(&error), "cannot see to schedules; trying again");
                    STORE_RETRY
                }
            };
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Starts what is due. Answers how long nothing will be.
    async fn pass(&mut self, now: Timestamp) -> Result<Duration, ScheduleError> {
        self.refresh().await?;
        for (name, schedule) in &self.schedules {
            let key = format!("{SCHEDULE}{name}");
            let known = self.next.get(name).filter(|next| next.schedule == schedule.to_string());
            if known.is_some_and(|next| next.at > now) {
                continue;
            }
            if let Some(due) = known {
                tracing::info!(pipeline = %name, due = %due.at, "it is time for a run");
                match self.pipelines.start(name, Cause::Schedule, false).await {
                    // It was deleted this moment.
                    Ok(_) | Err(PipelineError::Unknown(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // After the last time there is, none is due.
            let at = schedule.next(now).unwrap_or(Timestamp::MAX);
            let next = Next { schedule: schedule.to_string(), at };
            self.store.txn(Txn::default().put(&*key, encode(&next))).await?;
            self.next.insert(name.clone(), next);
        }
        let gone: Vec<PipelineName> = self.next.keys().filter(|name| !self.schedules.contains_key(name)).cloned().collect();
        for name in gone {
            self.store.txn(Txn::default().delete(format!("{SCHEDULE}{name}"))).await?;
            self.next.remove(&name);
        }
        let soonest = self.next.values().map(|next| next.at).min();
        Ok(soonest.map_or(SLEEP_MAX, |at| Duration::try_from(at.duration_since(now)).unwrap_or_default()))
    }

    async fn refresh(&mut self) -> Result<(), ScheduleError> {
        let prefixes = &[PIPELINE, SCHEDULE];
        let changes = match self.store.changes(self.at, prefixes).await {
            Err(StoreError::Compacted { .. }) => {
                (self.schedules, self.next) = Default::default();
                self.store.changes(0, prefixes).await?
            }
            changes => changes?,
        };
        for change in &changes.changes {
            self.apply(change)?;
        }
        self.at = changes.revision;
        Ok(())
    }

    fn apply(&mut self, change: &Change) -> Result<(), RecordError> {
        if let Some(Ok(name)) = change.key.strip_prefix(PIPELINE).map(str::parse::<PipelineName>) {
            let record = change.value.as_ref().map(|value| decode::<PipelineRecord>(&change.key, value)).transpose()?;
            match record.as_ref().and_then(schedule_of) {
                Some(schedule) => drop(self.schedules.insert(name, schedule)),
                None => drop(self.schedules.remove(&name)),
            }
        } else if let Some(Ok(name)) = change.key.strip_prefix(SCHEDULE).map(str::parse::<PipelineName>) {
            match change.value.as_ref().map(|value| decode::<Next>(&change.key, value)).transpose()? {
                Some(next) => drop(self.next.insert(name, next)),
                None => drop(self.next.remove(&name)),
            }
        }
        Ok(())
    }
}

fn schedule_of(record: &PipelineRecord) -> Option<Schedule> {
    if record.deleted {
        return None;
    }
    coord_shared::pipeline::parse(&record.text).ok()?.trigger.schedule?.parse().ok()
}
