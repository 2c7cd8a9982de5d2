//! Retention: forgets the texts of old revisions and old lines of histories, so that the store does not grow for ever.
//!
//! A text stays as long as any host was told to run or fetch it, or says that it runs it; so does the newest, and some before it. Where
//! any of this cannot be read, nothing is forgotten. Nothing else in the coordinator waits for this or depends on it.

use crate::clock;
use crate::hosts::Hosts;
use crate::records::{
    self, ASSIGN, AssignRecord, RecordError, WORKLOAD, WorkloadRecord, history_prefix, revision_prefix, workload_key,
};
use coord_registry::chain;
use coord_shared::decide::retention::{HISTORY_KEPT, REVISIONS_KEPT, forgotten};
use coord_shared::names::{Revision, WorkloadName};
use coord_store::{Committed, SharedStore, Txn};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often old records are looked for. A day of the busiest editor is a few thousand of them.
const INTERVAL: Duration = Duration::from_secs(3600);
/// After a start, hosts are given this long to say what they run.
const FIRST_AFTER: Duration = Duration::from_secs(300);
/// Records that one transaction removes: others wait for it.
const DELETES_PER_TXN: usize = 100;

/// Forgets what is old.
pub struct Retention {
    store: SharedStore,
    hosts: Arc<Hosts>,
}

impl Retention {
    /// Over `store`; `hosts` say what they run.
    pub fn new(store: SharedStore, hosts: Arc<Hosts>) -> Self {
        Self { store, hosts }
    }

    /// Never returns.
    pub async fn run(self) {
        tokio::time::sleep(FIRST_AFTER).await;
        loop {
            match self.pass().await {
                Ok(0) => {}
                Ok(records) => tracing::info!(records, "forgot old revisions"),
                Err(error) => tracing::warn!(error = %chain(&error), "old revisions stay; trying again in an hour"),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Looks once through everything. Answers how many records were removed.
    pub async fn pass(&self) -> Result<usize, RecordError> {
        let used = self.used().await?;
        let mut removed = 0;
        for entry in self.store.range(WORKLOAD).await? {
            let Ok(name) = entry.key[WORKLOAD.len()..].parse::<WorkloadName>() else { continue };
            let record: WorkloadRecord = records::decode(&entry.key, &entry.value)?;
            let mut in_use = used.get(&name).cloned().unwrap_or_default();
            in_use.extend([record.newest, record.last_text]);
            let mut old = self.old(&revision_prefix(&name), &in_use, REVISIONS_KEPT).await?;
            old.extend(self.old(&history_prefix(&name), &BTreeSet::new(), HISTORY_KEPT).await?);
            for keys in old.chunks(DELETES_PER_TXN) {
                // Whoever publishes under this name meanwhile comes first.
                let txn = Txn::default().expect(workload_key(&name), Some(entry.revision));
                match self.store.txn(keys.iter().fold(txn, Txn::delete)).await? {
                    Committed::Yes(_) => removed += keys.len(),
                    Committed::Conflict => break,
                }
            }
        }
        Ok(removed)
    }

    /// The revisions that hosts were told, and those that they say they run.
    async fn used(&self) -> Result<BTreeMap<WorkloadName, BTreeSet<Revision>>, RecordError> {
        let mut used: BTreeMap<WorkloadName, BTreeSet<Revision>> = BTreeMap::new();
        for entry in self.store.range(ASSIGN).await? {
            let assign: AssignRecord = records::decode(&entry.key, &entry.value)?;
            for assigned in assign.instances.into_iter().chain(assign.prefetch) {
                used.entry(assigned.workload).or_default().insert(assigned.revision);
            }
        }
        for summary in self.hosts.summaries(clock::now().mono).into_values() {
            for report in summary.full.iter().flat_map(|full| &full.instances) {
                used.entry(report.instance.workload.clone()).or_default().extend(report.revision);
            }
        }
        Ok(used)
    }

    /// The keys under `prefix` that may go.
    async fn old(&self, prefix: &str, in_use: &BTreeSet<Revision>, kept: usize) -> Result<Vec<String>, RecordError> {
        let entries = self.store.range(prefix).await?;
        let number = |key: &str| key[prefix.len()..].parse().ok().map(Revision);
        let mut keys: BTreeMap<Revision, String> =
            entries.into_iter().filter_map(|entry| Some((number(&entry.key)?, entry.key))).collect();
        let present = keys.keys().copied().collect();
        Ok(forgotten(&present, in_use, kept).iter().filter_map(|revision| keys.remove(revision)).collect())
    }
}
