//! What the controller of pipelines knows of the store: loaded once, then kept up to date by what changed.
//!
//! Of a run that is over only what decisions need is held; the rest is read when somebody asks.

use super::records::{PIPELINE, PipelineRecord, RUN, RunRecord, run_of};
use super::views::Ended;
use crate::records::{self, HOST, HostRecord, RecordError};
use coord_shared::names::{HostName, PipelineName, RunId};
use coord_shared::pipeline::Pipeline;
use coord_store::{Change, Store, StoreError, StoreRevision};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The part of the store that decisions about pipelines need.
#[derive(Default)]
pub(super) struct Model {
    pub(super) at: StoreRevision,
    pub(super) pipelines: BTreeMap<PipelineName, Known<PipelineRecord>>,
    pub(super) runs: BTreeMap<RunId, Known<RunRecord>>,
    pub(super) hosts: BTreeMap<HostName, HostRecord>,
    /// Runs that were seen to end, by how.
    pub(super) ended: BTreeMap<String, Ended>,
}

/// A record, the transaction that wrote it, and its text parsed.
#[derive(Debug, Clone)]
pub(super) struct Known<R> {
    pub(super) record: R,
    pub(super) revision: StoreRevision,
    /// Absent where this version cannot read the text, or nobody needs it any more.
    pub(super) settings: Option<Arc<Pipeline>>,
}

impl Model {
    /// Catches up with the store.
    pub(super) async fn refresh(&mut self, store: &dyn Store) -> Result<(), RecordError> {
        let prefixes = &[HOST, PIPELINE, RUN];
        let changes = match store.changes(self.at, prefixes).await {
            Err(StoreError::Compacted { .. }) => {
                *self = Self { ended: std::mem::take(&mut self.ended), ..Self::default() };
                store.changes(0, prefixes).await?
            }
            other => other?,
        };
        for change in &changes.changes {
            self.apply(change);
        }
        self.at = changes.revision;
        Ok(())
    }

    /// The runs of one pipeline, the oldest first.
    pub(super) fn runs_of(&self, name: &PipelineName) -> impl Iterator<Item = (&RunId, &Known<RunRecord>)> {
        let all = RunId { pipeline: name.clone(), number: 0 }..=RunId { pipeline: name.clone(), number: u64::MAX };
        self.runs.range(all)
    }

    fn apply(&mut self, change: &Change) {
        if let Some(name) = change.key.strip_prefix(HOST) {
            if let Ok(host) = name.parse() {
                match read::<HostRecord>(change) {
                    Read::Gone => drop(self.hosts.remove(&host)),
                    Read::Record(record) => drop(self.hosts.insert(host, record)),
                    Read::Damaged => {}
                }
            }
        } else if let Some(name) = change.key.strip_prefix(PIPELINE) {
            if let Ok(name) = name.parse() {
                match read::<PipelineRecord>(change) {
                    Read::Gone => drop(self.pipelines.remove(&name)),
                    Read::Record(record) => {
                        let settings = if record.deleted { None } else { parse(&record.text) };
                        self.pipelines.insert(name, Known { record, revision: change.revision, settings });
                    }
                    Read::Damaged => {}
                }
            }
        } else if let Some(id) = run_of(&change.key) {
            match read::<RunRecord>(change) {
                Read::Gone => drop(self.runs.remove(&id)),
                Read::Record(record) => {
                    let was_open = self.runs.get(&id).is_some_and(|known| !known.record.state.is_over());
                    if let (true, Some(ended_at)) = (was_open, record.ended_at) {
                        let ended = self.ended.entry(record.state.to_string()).or_default();
                        ended.count += 1;
                        ended.seconds += ended_at.duration_since(record.made_at).as_secs_f64();
                    }
                    self.runs.insert(id, run(record, change.revision));
                }
                Read::Damaged => {}
            }
        } else {
            tracing::error!(key = change.key, "the store has a record under a name that is none");
        }
    }
}

fn run(mut record: RunRecord, revision: StoreRevision) -> Known<RunRecord> {
    let settings = if record.state.is_over() && record.told { None } else { parse(&record.text) };
    if settings.is_none() && record.state.is_over() {
        (record.text, record.deploy, record.steps) = (String::new(), None, Vec::new());
    }
    Known { record, revision, settings }
}

fn parse(text: &str) -> Option<Arc<Pipeline>> {
    coord_shared::pipeline::parse(text).ok().map(Arc::new)
}

enum Read<R> {
    Gone,
    Record(R),
    /// Left as it was known before: one bad row must not stop the decisions for all others.
    Damaged,
}

fn read<R: serde::de::DeserializeOwned>(change: &Change) -> Read<R> {
    match &change.value {
        None => Read::Gone,
        Some(bytes) => match records::decode(&change.key, bytes) {
            Ok(record) => Read::Record(record),
            Err(error) => {
                tracing::error!("{}", coord_registry::chain(&error));
                Read::Damaged
            }
        },
    }
}
