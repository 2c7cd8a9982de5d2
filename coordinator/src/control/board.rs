//! The board: what the last pass of the controller found, for everyone who only wants to know.

use super::model::Model;
use crate::records::{ParsedRevision, WorkloadRecord};
use coord_shared::decide::reason::Reason;
use coord_shared::names::{Generation, HostName, Labels, Revision, WorkloadName};
use coord_store::StoreRevision;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The fleet as of one revision of the store.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// The store's revision that it is made from.
    pub at: StoreRevision,
    /// Every workload that ever was, the deleted ones too.
    pub workloads: BTreeMap<WorkloadName, WorkloadBoard>,
    /// Every known host.
    pub hosts: BTreeMap<HostName, HostBoard>,
}

/// One workload.
#[derive(Debug, Clone)]
pub struct WorkloadBoard {
    /// Where its name stands.
    pub record: WorkloadRecord,
    /// Its newest revision; absent if deleted.
    pub newest: Option<Arc<ParsedRevision>>,
    /// Its targets.
    pub targets: BTreeMap<HostName, TargetBoard>,
    /// What concerns it as a whole.
    pub reasons: Vec<Reason>,
}

/// One target of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetBoard {
    /// What the host is told to run.
    pub assigned: Option<Revision>,
    /// Why it is not as desired.
    pub reason: Option<Reason>,
    /// Whether it is known to be ready in the newest revision.
    pub is_ready: bool,
    /// Whether it fetches the newest revision's image before its turn comes.
    pub prefetches: bool,
}

/// One host.
#[derive(Debug, Clone, Default)]
pub struct HostBoard {
    /// The generation of its state.
    pub generation: Generation,
    /// What it is told to run.
    pub assigned: BTreeMap<WorkloadName, Revision>,
    /// As it last reported them.
    pub labels: Labels,
}

impl Board {
    pub(super) fn new(model: &Model, planned: BTreeMap<WorkloadName, WorkloadPlan>) -> Self {
        let mut planned = planned;
        let workloads = model.workloads.iter().map(|(name, record)| {
            let WorkloadPlan { targets, reasons } = planned.remove(name).unwrap_or_default();
            let newest = if record.deleted { None } else { model.revision(name, record.newest).cloned() };
            (name.clone(), WorkloadBoard { record: record.clone(), newest, targets, reasons })
        });
        let hosts = model.hosts.iter().map(|(host, record)| {
            let assign = model.assigns.get(host).map(|(assign, _)| assign.clone()).unwrap_or_default();
            let assigned = assign.instances.into_iter().map(|i| (i.workload, i.revision)).collect();
            (host.clone(), HostBoard { generation: assign.generation, assigned, labels: record.labels.clone() })
        });
        Self { at: model.at, workloads: workloads.collect(), hosts: hosts.collect() }
    }
}

/// What the plan found out about one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WorkloadPlan {
    pub(super) targets: BTreeMap<HostName, TargetBoard>,
    pub(super) reasons: Vec<Reason>,
}
