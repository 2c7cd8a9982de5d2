//! The operator: publishes, edits and deletes documents and relabels hosts at random times; and mends the documents in the end.

use super::scenario;
use super::world::{Event, World, labels};
use coord_shared::document::Document;
use coord_shared::names::{Revision, WorkloadName};
use std::sync::Arc;
use std::time::Duration;

const WORKLOADS: [&str; 3] = ["web", "api", "db"];

impl World {
    pub(super) fn operate(&mut self) {
        if !self.faults_on {
            return;
        }
        let delay = self.dice.millis(500, 120_000);
        self.schedule(delay, Event::Operator);
        if self.dice.percent(15) {
            let host = self.dice.below(self.machines.len());
            let labels = labels(&mut self.dice);
            self.note(|| format!("  host-{host} gets labels {labels:?}"));
            self.machines[host].labels = labels;
            return self.labels_changed(host);
        }
        if !self.coordinator.up {
            return;
        }
        let name: WorkloadName = self.dice.pick(&WORKLOADS).parse().expect("a fixed text that is a workload name");
        let current = self.coordinator.workloads.get(&name).and_then(|workload| workload.newest()).cloned();
        match current {
            Some(_) if self.dice.percent(10) => self.delete(&name),
            Some(spec) => {
                let mut document = spec.document.clone();
                for _ in 0..=self.dice.below(3) {
                    scenario::edit(&mut document, &name, &mut self.dice);
                }
                self.publish(&name, document);
            }
            None => {
                let document = scenario::document(&name, &mut self.dice);
                self.publish(&name, document);
            }
        }
    }

    fn publish(&mut self, name: &WorkloadName, document: Document) {
        let workload = self.coordinator.workloads.entry(name.clone()).or_default();
        if workload.newest().is_some_and(|newest| newest.document == document) {
            return;
        }
        let revision = Revision(workload.revisions.last_key_value().map_or(1, |(revision, _)| revision.0 + 1));
        let spec = scenario::spec(revision, document);
        workload.is_deleted = false;
        workload.revisions.insert(revision, Arc::new(spec.clone()));
        self.note(|| {
            let document = &spec.document;
            let (command, rollout) = (&document.container.command, &document.rollout);
            format!("  operator publishes {name} r{revision}: {} {command:?} {:?} {rollout:?}", document.image, document.restart)
        });
        self.decide();
    }

    fn delete(&mut self, name: &WorkloadName) {
        if let Some(workload) = self.coordinator.workloads.get_mut(name) {
            workload.is_deleted = true;
        }
        self.note(|| format!("  operator deletes {name}"));
        self.decide();
    }

    /// Replaces every document that could never come to rest.
    pub(super) fn mend(&mut self) {
        if !self.coordinator.up {
            return self.schedule(Duration::from_secs(1), Event::Mend);
        }
        let newest =
            self.coordinator.workloads.iter().filter_map(|(name, workload)| Some((name.clone(), workload.newest()?.clone())));
        let restless: Vec<_> = newest.filter(|(_, spec)| !scenario::comes_to_rest(&spec.document)).collect();
        for (name, spec) in restless {
            let mut document = spec.document.clone();
            scenario::mend(&mut document, &name);
            self.publish(&name, document);
        }
        self.schedule(Duration::from_secs(1), Event::Look);
    }
}
