//! What is known of one instance at one moment.

use super::Figures;
use super::network::{Interface, interfaces};
use super::text::label;
use crate::clock;
use crate::sync::desired::desired;
use crate::sync::ledger::Ledger;
use coord_runtime::Usage;
use coord_shared::decide::planner::{Spec, Target};
use coord_shared::document::Network;
use coord_shared::names::{Generation, InstanceId, Revision};
use coord_shared::wire::{InstanceReport, InstanceState};
use std::collections::BTreeMap;
use std::path::Path;

/// One instance, and what its container uses where it has one that runs.
pub(super) struct Sample {
    pub(super) report: InstanceReport,
    /// `name="web.0",workload="web"`
    pub(super) name: String,
    /// The same with the container's ID and image: cAdvisor's labels.
    pub(super) labels: String,
    pub(super) usage: Option<Usage>,
    /// Of its own network; empty where it shares the host's.
    pub(super) interfaces: Vec<Interface>,
    pub(super) limits: Limits,
    /// When its figures were read, on a clock that nobody sets: nanoseconds.
    pub(super) read_at_ns: u64,
}

/// What a document asks for, as far as cAdvisor has a name for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    pub(super) image: String,
    pub(super) cpus_milli: Option<u32>,
    pub(super) memory_swap_bytes: Option<u64>,
    pub(super) memory_reservation_bytes: Option<u64>,
    pub(super) shares_hosts_network: bool,
}

/// What the documents of one generation ask for.
#[derive(Default)]
pub(super) struct Asked {
    generation: Option<Generation>,
    limits: BTreeMap<(InstanceId, Revision), Limits>,
}

impl Asked {
    /// Reads the ledger again where the generation is another. One that cannot be read costs images and limits, not figures.
    pub(super) fn refresh(&mut self, generation: Option<Generation>, state_dir: &Path) {
        if generation.is_none() || self.generation == generation {
            return;
        }
        let Ok(ledger) = Ledger::of_any_host(state_dir) else { return };
        let Some(state) = ledger.state() else { return };
        self.limits.clear();
        for (instance, wanted) in desired(state, ledger.previous()) {
            let target = match &wanted.target {
                Target::Run(spec) => Some(spec),
                Target::Rejected { .. } => None,
            };
            for spec in target.into_iter().chain(&wanted.previous) {
                self.limits.insert((instance.clone(), spec.revision), limits(spec));
            }
        }
        self.generation = Some(state.generation);
    }
}

fn limits(spec: &Spec) -> Limits {
    let container = &spec.document.container;
    Limits {
        image: spec.image.reference.to_string(),
        cpus_milli: container.resources.cpus.map(|cpus| cpus.0),
        memory_swap_bytes: container.resources.memory_swap.map(|size| size.0),
        memory_reservation_bytes: container.resources.memory_reservation.map(|size| size.0),
        shares_hosts_network: container.network == Network::Host,
    }
}

/// Looks at one instance.
pub(super) fn of(report: &InstanceReport, asked: &Asked, figures: &dyn Figures) -> Sample {
    let known = report.revision.and_then(|revision| asked.limits.get(&(report.instance.clone(), revision)));
    let limits = known.cloned().unwrap_or_default();
    let instance = &report.instance;
    let name = format!("{},{}", label("name", &instance.to_string()), label("workload", instance.workload.as_ref()));
    let runs = matches!(report.state, InstanceState::Running | InstanceState::Stopping);
    let id = report.container.as_ref().filter(|_| runs).map(ToString::to_string);
    let labels = format!("{},{},{name}", label("id", id.as_deref().unwrap_or_default()), label("image", &limits.image));
    // Without an ID there is nothing to be asked about.
    let usage = id.and_then(|id| figures.usage(&id));
    let has_own = usage.is_some() && !limits.shares_hosts_network && known.is_some();
    Sample {
        interfaces: report.pid.filter(|_| has_own).map(interfaces).unwrap_or_default(),
        read_at_ns: u64::try_from(clock::now().mono.0.as_nanos()).unwrap_or(u64::MAX),
        report: report.clone(),
        name,
        labels,
        usage,
        limits,
    }
}
