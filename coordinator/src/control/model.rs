//! What the controller knows of the store: loaded once, then kept up to date by what changed.

use crate::records::{
    self, ASSIGN, AssignRecord, HOST, HostRecord, ParsedRevision, RecordError, RevisionRecord, WORKLOAD, WorkloadRecord,
    revision_key,
};
use coord_shared::names::{HostName, Labels, Revision, WorkloadName};
use coord_store::{Change, Store, StoreError, StoreRevision};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The part of the store that decisions need.
#[derive(Default)]
pub(super) struct Model {
    pub(super) at: StoreRevision,
    pub(super) hosts: BTreeMap<HostName, HostRecord>,
    pub(super) assigns: BTreeMap<HostName, (AssignRecord, StoreRevision)>,
    pub(super) workloads: BTreeMap<WorkloadName, WorkloadRecord>,
    pub(super) revisions: BTreeMap<RevisionKey, Arc<ParsedRevision>>,
    reported: BTreeSet<RevisionKey>,
}

/// Names one revision of one workload.
pub(super) type RevisionKey = (WorkloadName, Revision);

impl Model {
    /// Catches up with the store. `reported`: revisions that hosts run, whatever they were told since.
    pub(super) async fn refresh(&mut self, store: &dyn Store, reported: BTreeSet<RevisionKey>) -> Result<(), RecordError> {
        let changes = match store.changes(self.at, &[HOST, ASSIGN, WORKLOAD]).await {
            Err(StoreError::Compacted { .. }) => {
                *self = Self::default();
                store.changes(0, &[HOST, ASSIGN, WORKLOAD]).await?
            }
            other => other?,
        };
        for change in &changes.changes {
            self.apply(change);
        }
        self.at = changes.revision;
        self.reported = reported;
        self.fetch_revisions(store).await
    }

    /// Loads the revisions that are newest, assigned or reported somewhere, and forgets the others.
    pub(super) async fn fetch_revisions(&mut self, store: &dyn Store) -> Result<(), RecordError> {
        let newest = self.workloads.iter().filter(|(_, record)| !record.deleted);
        let mut needed: BTreeSet<_> = newest.map(|(name, record)| (name.clone(), record.newest)).collect();
        let assigned = self.assigns.values().flat_map(|(record, _)| &record.instances);
        needed.extend(assigned.map(|instance| (instance.workload.clone(), instance.revision)));
        let mut wanted: BTreeSet<_> = needed.union(&self.reported).cloned().collect();
        let ahead = self.assigns.values().flat_map(|(record, _)| &record.prefetch);
        wanted.extend(ahead.map(|instance| (instance.workload.clone(), instance.revision)));
        self.revisions.retain(|key, _| wanted.contains(key));
        for key in wanted {
            if self.revisions.contains_key(&key) {
                continue;
            }
            match records::load::<RevisionRecord>(store, &revision_key(&key.0, key.1)).await? {
                Some((record, _)) => {
                    self.revisions.insert(key, Arc::new(record.into()));
                }
                None if needed.contains(&key) => {
                    tracing::error!(workload = %key.0, revision = %key.1, "the store has no text of a revision that is in use");
                }
                None => {}
            }
        }
        Ok(())
    }

    pub(super) fn revision(&self, workload: &WorkloadName, revision: Revision) -> Option<&Arc<ParsedRevision>> {
        // The key is a pair of owned values; a lookup is rare enough for the clone.
        self.revisions.get(&(workload.clone(), revision))
    }

    pub(super) fn host_names(&self) -> BTreeSet<HostName> {
        self.hosts.keys().cloned().collect()
    }

    pub(super) fn labels(&self) -> BTreeMap<HostName, Labels> {
        self.hosts.iter().map(|(host, record)| (host.clone(), record.labels.clone())).collect()
    }

    pub(super) fn assign_revision(&self, host: &HostName) -> Option<StoreRevision> {
        self.assigns.get(host).map(|(_, revision)| *revision)
    }

    pub(super) fn set_assign(&mut self, host: HostName, record: AssignRecord, revision: StoreRevision) {
        self.assigns.insert(host, (record, revision));
    }

    fn apply(&mut self, change: &Change) {
        if let Some(name) = change.key.strip_prefix(HOST) {
            update(&mut self.hosts, name, change, |record, _| record);
        } else if let Some(name) = change.key.strip_prefix(ASSIGN) {
            update(&mut self.assigns, name, change, |record, revision| (record, revision));
        } else if let Some(name) = change.key.strip_prefix(WORKLOAD) {
            update(&mut self.workloads, name, change, |record, _| record);
        }
    }
}

/// A damaged record is left as it was known before: one bad row must not stop the decisions for all others.
fn update<K, R, V>(map: &mut BTreeMap<K, V>, name: &str, change: &Change, value: impl FnOnce(R, StoreRevision) -> V)
where
    K: Ord + std::str::FromStr,
    R: DeserializeOwned,
{
    let Ok(key) = name.parse::<K>() else {
        tracing::error!(key = change.key, "the store has a record under a name that is none");
        return;
    };
    match &change.value {
        None => {
            map.remove(&key);
        }
        Some(bytes) => match records::decode::<R>(&change.key, bytes) {
            Ok(record) => {
                map.insert(key, value(record, change.revision));
            }
            Err(error) => tracing::error!("{}", coord_registry::chain(&error)),
        },
    }
}
