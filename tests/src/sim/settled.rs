//! Whether the fleet is what the operator asked for: every target runs the newest make, nothing else runs, and the coordinator knows.

use super::machine::Machine;
use super::world::World;
use coord_shared::decide::planner::{End, Spec};
use coord_shared::document::RestartPolicy;
use coord_shared::names::{InstanceId, WorkloadName};
use std::time::Duration;

/// Time without faults within which a fleet settles: some hosts in turn, each with the longest backoff, pull, grace period and
/// monitor time, after a minute in which a dead host is not yet known to be lost.
pub(super) const SETTLES_WITHIN: Duration = Duration::from_secs(15 * 60);

impl World {
    /// `None` once the fleet has settled, else what it still waits for.
    pub(super) fn unsettled(&self) -> Option<String> {
        if !self.coordinator.up {
            return Some("the coordinator is down".to_owned());
        }
        let hosts: Vec<usize> = (0..self.machines.len()).filter(|host| self.dark != Some(*host)).collect();
        for &host in &hosts {
            let machine = &self.machines[host];
            if machine.agent.is_none() || self.coordinator.hosts[host].labels != machine.labels {
                return Some(format!("host-{host} is not known as it is"));
            }
            if machine.agent.as_ref().is_some_and(|agent| !agent.ahead.is_empty()) {
                return Some(format!("host-{host} still fetches ahead"));
            }
            for container in machine.containers.keys() {
                let workload = self.coordinator.workloads.get(&container.instance.workload);
                let newest = workload.and_then(|workload| workload.newest());
                if !newest.is_some_and(|newest| selects(newest, machine)) {
                    return Some(format!("host-{host} still has {container}"));
                }
            }
        }
        let workloads =
            self.coordinator.workloads.iter().filter_map(|(name, workload)| Some((name, workload, workload.newest()?)));
        for (name, workload, newest) in workloads {
            for machine in hosts.iter().map(|&host| &self.machines[host]).filter(|m| selects(newest, m)) {
                if !runs_alone(machine, name, newest, self.now) {
                    return Some(format!(
                        "{name} r{} does not run on {}: {:?}",
                        newest.revision,
                        machine.name,
                        machine.containers.keys()
                    ));
                }
                if let Some(reason) = workload.plan.reasons.get(&machine.name) {
                    return Some(format!("the coordinator says of {name} on {}: {reason}", machine.name));
                }
            }
        }
        None
    }
}

/// What the few selectors of a scenario mean, said once more: the fleet's own answer is what is under test.
fn selects(spec: &Spec, machine: &Machine) -> bool {
    spec.document.hosts.iter().any(|selector| match selector.as_str().split_once('=') {
        Some((key, value)) => machine.labels.get(key).is_some_and(|label| label == value),
        None => ["*", "host-?", machine.name.as_str()].contains(&selector.as_str()),
    })
}

/// Whether the machine has one container of the newest make and no other, or did that job.
fn runs_alone(machine: &Machine, name: &WorkloadName, newest: &Spec, now: Duration) -> bool {
    let id = InstanceId { workload: name.clone(), index: 0 };
    let own: Vec<_> = machine.containers.iter().filter(|(container, _)| container.instance == id).map(|(_, c)| c).collect();
    let history = machine.agent.as_ref().and_then(|agent| agent.observed.histories.get(&id));
    let is_done = newest.document.restart != RestartPolicy::Always
        && history.is_some_and(|history| {
            history.fingerprint == newest.fingerprint
                && matches!(&history.last_end, Some(End::Exited { exit, .. }) if exit.is_success())
        });
    match own.as_slice() {
        [] => is_done,
        [one] => one.spec.fingerprint == newest.fingerprint && one.is_well(now),
        [..] => false,
    }
}
