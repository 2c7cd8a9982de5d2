//! A coordinator: keeps what it has stored, forgets what it was told, and asks the fleet's judgement after every change.

use super::network::{Full, HostState, ToCoordinator, ToHost};
use super::promises::{Between, Promise};
use super::world::{Event, World};
use coord_shared::decide::liveness::{Liveness, LivenessLimits, liveness_since};
use coord_shared::decide::planner::Spec;
use coord_shared::decide::prefetch;
use coord_shared::decide::rollout::{RolloutPlan, TargetState, rollout};
use coord_shared::decide::targets::targets;
use coord_shared::decide::{Mono, Now};
use coord_shared::names::{ContainerId, Digest, Generation, HostName, InstanceId, Labels, PinnedImage, Revision, WorkloadName};
use coord_shared::wire::InstanceReport;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a poll is held.
const POLL_WAIT: Duration = Duration::from_secs(50);

/// The coordinator, its store included.
#[derive(Debug)]
pub(super) struct Coordinator {
    /// Stored: every workload there ever was, because revisions are never reused.
    pub(super) workloads: BTreeMap<WorkloadName, Workload>,
    /// Stored.
    pub(super) hosts: Vec<HostRecord>,
    pub(super) up: bool,
    /// Counts its processes.
    pub(super) run: u64,
    /// Whether it is of a release that knows of fetching ahead.
    prefetches: bool,
    started_at: Duration,
    live: Vec<LiveHost>,
    timer: u64,
}

/// A workload and all its revisions.
#[derive(Debug, Default)]
pub(super) struct Workload {
    pub(super) revisions: BTreeMap<Revision, Arc<Spec>>,
    pub(super) is_deleted: bool,
    /// Why a host is not yet as it should be; as of the last decision.
    pub(super) plan: RolloutPlan,
}

impl Workload {
    pub(super) fn newest(&self) -> Option<&Arc<Spec>> {
        self.revisions.values().next_back().filter(|_| !self.is_deleted)
    }
}

/// What is stored of a host.
#[derive(Debug, Clone, Default)]
pub(super) struct HostRecord {
    pub(super) labels: Labels,
    pub(super) assigned: BTreeMap<WorkloadName, Revision>,
    /// What it is asked to fetch ahead.
    pub(super) prefetch: Vec<PinnedImage>,
    generation: Generation,
}

/// What is known of a host until the coordinator ends.
#[derive(Debug, Clone, Default)]
struct LiveHost {
    heard_at: Option<Mono>,
    run: u64,
    previous_run: Option<u64>,
    call: u64,
    /// Whether a full report of the agent that runs now is held.
    is_reported: bool,
    ready: BTreeMap<WorkloadName, Ready>,
    poll: Option<(u64, u64)>,
}

#[derive(Debug, Clone)]
struct Ready {
    revision: Revision,
    since: Mono,
    container: Option<ContainerId>,
    restarts: u32,
}

impl Coordinator {
    pub(super) fn new(hosts: usize) -> Self {
        Self {
            workloads: BTreeMap::new(),
            hosts: vec![HostRecord::default(); hosts],
            up: false,
            run: 0,
            prefetches: true,
            started_at: Duration::ZERO,
            live: vec![LiveHost::default(); hosts],
            timer: 0,
        }
    }
}

impl World {
    pub(super) fn coordinator_up(&mut self) {
        let hosts = self.machines.len();
        self.coordinator.up = true;
        self.coordinator.run += 1;
        self.coordinator.started_at = self.now;
        self.coordinator.live = vec![LiveHost::default(); hosts];
        self.coordinator.prefetches = self.dice.percent(85);
        self.stats.coordinator_restarts += u64::from(self.coordinator.run > 1);
        let before: Vec<_> = self.coordinator.hosts.iter().map(|host| host.assigned.clone()).collect();
        self.decide();
        let same = self.coordinator.hosts.iter().zip(&before).all(|(host, before)| host.assigned == *before);
        self.promise(same, Promise::NoNeedlessStop, || "a coordinator that starts tells hosts something else".to_owned());
    }

    /// Connections break; some agents notice at once.
    pub(super) fn coordinator_down(&mut self) {
        self.coordinator.up = false;
        for host in 0..self.machines.len() {
            let poll = self.coordinator.live[host].poll.take();
            if let Some((run, call)) = poll.filter(|_| self.dice.percent(70)) {
                self.send_to_host(host, ToHost::Refused { run, call });
            }
        }
    }

    pub(super) fn coordinator_hears(&mut self, host: usize, message: ToCoordinator) {
        let (ToCoordinator::Poll { run, call, .. } | ToCoordinator::Report { run, call, .. }) = message;
        if !self.coordinator.up {
            if self.dice.percent(70) {
                self.send_to_host(host, ToHost::Refused { run, call });
            }
            return;
        }
        match message {
            ToCoordinator::Poll { known, .. } => {
                self.coordinator.live[host].poll = Some((run, call));
                let generation = self.coordinator.hosts[host].generation;
                if generation > known.unwrap_or_default() {
                    self.answer_poll(host);
                } else {
                    let run = self.coordinator.run;
                    self.schedule(POLL_WAIT, Event::PollOver { run, host, call });
                }
            }
            ToCoordinator::Report { full, .. } => self.reported(host, run, call, full),
        }
    }

    pub(super) fn poll_over(&mut self, coordinator_run: u64, host: usize, call: u64) {
        let is_held = |(_, held): &(u64, u64)| *held == call;
        if self.coordinator.up
            && self.coordinator.run == coordinator_run
            && let Some((run, call)) = self.coordinator.live[host].poll.take_if(|poll| is_held(poll))
        {
            self.send_to_host(host, ToHost::NothingNew { run, call });
        }
    }

    fn answer_poll(&mut self, host: usize) {
        let Some((run, call)) = self.coordinator.live[host].poll.take() else { return };
        let state = self.host_state(host);
        self.send_to_host(host, ToHost::State { run, call, state });
    }

    fn host_state(&self, host: usize) -> HostState {
        let record = &self.coordinator.hosts[host];
        let instance = |(name, revision): (&WorkloadName, &Revision)| {
            let spec = self.coordinator.workloads.get(name)?.revisions.get(revision)?;
            Some((InstanceId { workload: name.clone(), index: 0 }, spec.clone()))
        };
        // An older release leaves out what it does not know, under the generation that it finds.
        let prefetch = if self.coordinator.prefetches { record.prefetch.clone() } else { Vec::new() };
        HostState { generation: record.generation, instances: record.assigned.iter().filter_map(instance).collect(), prefetch }
    }

    fn reported(&mut self, host: usize, run: u64, call: u64, full: Option<Full>) {
        let now = self.coordinator_clock().mono;
        let live = &mut self.coordinator.live[host];
        if live.run == run && call < live.call {
            return;
        }
        // A report that lay in the network while its agent was replaced; unless the one that is believed has fallen silent.
        let is_fresh = live.heard_at.is_some_and(|at| now.since(at) < LivenessLimits::default().late_after);
        if live.run != run && live.previous_run == Some(run) && is_fresh {
            return;
        }
        if live.run != run {
            live.is_reported = false;
            live.previous_run = Some(std::mem::replace(&mut live.run, run));
        }
        live.call = call;
        live.heard_at = Some(now);
        self.memory.heard[host] = Some(self.now);
        if let Some(full) = full {
            live.is_reported = true;
            live.note_ready(&full.instances, now);
            self.coordinator.hosts[host].labels = full.labels;
        }
        let send_full = !self.coordinator.live[host].is_reported;
        self.send_to_host(host, ToHost::Reported { run, call, send_full });
        self.decide();
    }

    pub(super) fn coordinator_timer(&mut self, run: u64, token: u64) {
        if self.coordinator.up && self.coordinator.run == run && self.coordinator.timer == token {
            self.decide();
        }
    }

    fn coordinator_clock(&self) -> Now {
        self.clock(self.coordinator.started_at)
    }

    /// Load, decide, store, tell.
    pub(super) fn decide(&mut self) {
        let now = self.coordinator_clock();
        let names: BTreeMap<HostName, usize> = self.machines.iter().enumerate().map(|(i, m)| (m.name.clone(), i)).collect();
        let labels: BTreeMap<HostName, Labels> =
            names.iter().map(|(name, &host)| (name.clone(), self.coordinator.hosts[host].labels.clone())).collect();
        let mut assigned: Vec<BTreeMap<WorkloadName, Revision>> = vec![BTreeMap::new(); self.machines.len()];
        let mut later: Vec<Vec<(PinnedImage, Digest)>> = vec![Vec::new(); self.machines.len()];
        let mut wake_at = self.next_silence(now.mono);
        let workloads: Vec<WorkloadName> = self.coordinator.workloads.keys().cloned().collect();
        for name in workloads {
            let Some(newest) = self.coordinator.workloads.get(&name).and_then(Workload::newest).cloned() else { continue };
            let (selected, _) = targets(&newest.document, &labels);
            let states: BTreeMap<HostName, TargetState> =
                selected.iter().map(|host| (host.clone(), self.target_state(names[host], &name, &newest, now.mono))).collect();
            let plan = rollout(newest.revision, &newest.document.rollout, &states, now);
            self.check_rollout(&name, &newest, &names, &states, &plan, now);
            for (host, revision) in &plan.assign {
                assigned[names[host]].insert(name.clone(), *revision);
            }
            for host in &plan.prefetch {
                later[names[host]].push((newest.image.clone(), newest.image.digest.clone()));
            }
            wake_at = wake_at.into_iter().chain(plan.wake_at).min();
            if let Some(workload) = self.coordinator.workloads.get_mut(&name) {
                workload.plan = plan;
            }
        }
        for (host, (assigned, later)) in assigned.into_iter().zip(later).enumerate() {
            self.assign(host, assigned, later);
        }
        self.coordinator.timer += 1;
        let (run, token) = (self.coordinator.run, self.coordinator.timer);
        if let Some(at) = wake_at {
            self.schedule(at.since(now.mono), Event::CoordinatorTimer { run, token });
        }
    }

    fn assign(&mut self, host: usize, assigned: BTreeMap<WorkloadName, Revision>, later: Vec<(PinnedImage, Digest)>) {
        let revisions = |name| self.coordinator.workloads.get(name).map(|workload| &workload.revisions);
        let needed = assigned.iter().filter_map(|(name, revision)| Some(revisions(name)?.get(revision)?.image.digest.clone()));
        let needed = needed.collect();
        let is_new_release = self.coordinator.prefetches;
        let record = &mut self.coordinator.hosts[host];
        let prefetch = if is_new_release { prefetch::choose(later, &needed) } else { Vec::new() };
        if record.assigned != assigned || (is_new_release && record.prefetch != prefetch) {
            record.prefetch = prefetch;
            self.memory.between.retain(|(name, other), _| *other != host || assigned.contains_key(name));
            record.assigned = assigned;
            record.generation = Generation(record.generation.0 + 1);
            let state = self.host_state(host);
            self.note(|| format!("  coordinator tells host-{host} {:?}", self_describing(&state)));
            self.check_published(host, &state);
            self.answer_poll(host);
        }
    }

    fn liveness(&self, host: usize, now: Mono) -> Liveness {
        let limits = LivenessLimits::default();
        let live = &self.coordinator.live[host];
        match liveness_since(live.heard_at, Mono::default(), now, limits) {
            // A heartbeat alone says that the host lives, and nothing of what it runs.
            Liveness::Ready | Liveness::Late if !live.is_reported => Liveness::Unknown,
            known @ (Liveness::Ready | Liveness::Late | Liveness::Lost | Liveness::Unknown) => known,
        }
    }

    /// When silence will next change what is known of a host.
    fn next_silence(&self, now: Mono) -> Option<Mono> {
        let limits = LivenessLimits::default();
        let of_host = |live: &LiveHost| {
            let since = live.heard_at.unwrap_or_default();
            [since.after(limits.late_after), since.after(limits.lost_after)].into_iter().find(|at| *at > now)
        };
        self.coordinator.live.iter().filter_map(of_host).min()
    }

    fn target_state(&self, host: usize, name: &WorkloadName, newest: &Spec, now: Mono) -> TargetState {
        let assigned = self.coordinator.hosts[host].assigned.get(name).copied();
        let revisions = self.coordinator.workloads.get(name).map(|workload| &workload.revisions);
        let spec = assigned.and_then(|revision| revisions?.get(&revision));
        TargetState {
            liveness: self.liveness(host, now),
            assigned,
            same_container: spec.is_some_and(|spec| spec.fingerprint == newest.fingerprint),
            ready: self.coordinator.live[host].ready.get(name).map(|ready| (ready.revision, ready.since)),
        }
    }

    fn check_rollout(
        &mut self,
        name: &WorkloadName,
        newest: &Spec,
        names: &BTreeMap<HostName, usize>,
        states: &BTreeMap<HostName, TargetState>,
        plan: &RolloutPlan,
        now: Now,
    ) {
        // Who has come through, or is not a target any more, is not between revisions any more.
        let selected: BTreeSet<usize> = states.keys().map(|host| names[host]).collect();
        self.memory.between.retain(|(other, host), _| other != name || selected.contains(host));
        for (host, state) in states {
            let key = (name.clone(), names[host]);
            let is_through = |told: Revision| {
                let policy = &newest.document.rollout;
                state.ready.is_some_and(|(revision, since)| revision >= told && now.mono >= since.after(policy.monitor.0))
            };
            if self.memory.between.get(&key).is_some_and(|between| is_through(between.told)) {
                self.memory.between.remove(&key);
            }
        }
        let due = plan.reasons.values().filter_map(|reason| reason.due()).min();
        let wakes = due.is_none_or(|due| plan.wake_at.is_some_and(|wake| now.wall_at(wake) <= due));
        self.promise(wakes, Promise::ReasonsAct, || format!("the coordinator oversleeps {due:?} of {name}"));
        let most = newest.document.rollout.parallelism.of(states.len());
        for (host, state) in states {
            let told = plan.assign.get(host).copied();
            self.promise(told.is_some(), Promise::Reasons, || format!("{host} is told nothing of {name}"));
            let known_ready = state.ready.is_some_and(|(revision, _)| revision >= newest.revision);
            let as_desired = told == Some(newest.revision) && known_ready;
            self.promise(as_desired || plan.reasons.contains_key(host), Promise::Reasons, || {
                format!("nothing is said of {name} on {host}: {state:?}")
            });
            // A host that is known not to serve, or to have begun a moment ago, is disturbed by nothing.
            let monitor = newest.document.rollout.monitor.0;
            let serves_steadily = state.ready.is_some_and(|(_, since)| now.mono >= since.after(monitor));
            let serves = serves_steadily || !self.coordinator.live[names[host]].is_reported;
            let is_told = told != state.assigned;
            let replaces = state.assigned.is_some() && !state.same_container;
            if is_told && serves && replaces {
                self.check_turn(name, names[host], newest.revision, most);
            } else if is_told {
                let between = self.memory.between.entry((name.clone(), names[host]));
                let between = between.or_insert(Between { told: newest.revision, replaces: false });
                *between = Between { told: newest.revision, replaces: between.replaces || replaces };
            }
        }
    }
}

impl LiveHost {
    /// Since when each workload has been ready without a break.
    fn note_ready(&mut self, instances: &[InstanceReport], now: Mono) {
        let mut before = std::mem::take(&mut self.ready);
        for report in instances.iter().filter(|report| report.ready) {
            let Some(revision) = report.revision else { continue };
            let name = &report.instance.workload;
            let goes_on =
                |old: &Ready| old.restarts == report.restarts && (old.container == report.container || old.revision == revision);
            let since = before.remove(name).filter(goes_on).map_or(now, |old| old.since);
            let ready = Ready { revision, since, container: report.container.clone(), restarts: report.restarts };
            self.ready.insert(name.clone(), ready);
        }
    }
}

fn self_describing(state: &HostState) -> (u64, Vec<String>) {
    (state.generation.0, state.instances.iter().map(|(id, spec)| format!("{id} r{}", spec.revision)).collect())
}
