//! The agent's whole state, and what each event does to it.
//!
//! One owner, one loop: [`Agent::apply`] takes one event and changes the state, without waiting for anything; [`Agent::plan`] asks
//! the planner what follows. Nothing else writes here, so after each event the state is consistent and the report is derived from
//! it, never kept beside it.

use crate::clock;
use crate::event::Event;
use crate::sync::desired::{ahead, desired, predecessors};
use crate::sync::ledger::Ledger;
use coord_image::Image;
use coord_runtime::{Recovered, RecoveredState, RuntimeEvent};
use coord_shared::decide::planner::{self, Desired, History, Observed, Phase, Plan};
use coord_shared::decide::{Mono, Now};
use coord_shared::names::{ContainerId, Digest, HostName, InstanceId, Labels, PinnedImage};
use coord_shared::wire::{Exit, FullReport, HostFacts, HostState, RegistryLogin, Session};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

mod containers;
mod drain;
mod health;
mod meta;
mod ports;
mod pulls;
#[cfg(test)]
mod tests;

pub use containers::Task;
pub use drain::Watched;
pub use health::Asked;
pub use meta::ContainerMeta;
use pulls::Pull;

/// How long after a failed write of the ledger the next one follows: a full disk is rarely emptied sooner.
const LEDGER_RETRY: Duration = Duration::from_secs(5);
/// Instances that are gone whose starts are still counted, so that one that comes back uses no container's name twice.
const GONE_HISTORIES_MAX: usize = 1000;

/// Everything the agent knows.
pub struct Agent {
    host: HostName,
    ledger: Ledger,
    desired: Desired,
    /// What is fetched ahead, the most urgent first.
    ahead: Vec<PinnedImage>,
    observed: Observed,
    /// What is needed to run an image, for those that are `Present`.
    images: BTreeMap<Digest, Arc<Image>>,
    pulls: BTreeMap<Digest, Pull>,
    /// Failures in a row, for images that are not `Present`.
    pull_failures: BTreeMap<Digest, u32>,
    metas: BTreeMap<ContainerId, ContainerMeta>,
    /// What this host cannot give of the default isolation, for containers of which something is lacking.
    weakened: BTreeMap<ContainerId, Vec<String>>,
    /// What events have set going since the last plan.
    pending: Vec<Task>,
    /// How often the removals under way have been tried, this time included.
    remove_attempts: BTreeMap<ContainerId, u32>,
    /// When an instance was first heard of.
    arrived: BTreeMap<InstanceId, Mono>,
    labels: Labels,
    facts: HostFacts,
    sync_problem: Option<String>,
    refusal: Option<String>,
    ledger_problem: Option<String>,
    network_problem: Option<String>,
    /// News that could not be written to the ledger, and when to try again: the coordinator, having sent it, will not send it twice.
    unwritten: Option<(HostState, Mono)>,
    /// The first wish for the network since which none has led a door to a container; absent for those to whom one does.
    closed_by: BTreeMap<ContainerId, u64>,
    /// When it was looked who listens on this host.
    listeners_at: Option<Mono>,
    /// Sessions that the last host state asked for and nobody has taken yet.
    sessions: Vec<Session>,
}

impl Agent {
    /// An agent that knows what its ledger says and nothing else yet.
    pub fn new(host: HostName, labels: Labels, ledger: Ledger, histories: BTreeMap<InstanceId, History>) -> Self {
        let mut agent = Self {
            host,
            ledger,
            desired: Desired::new(),
            ahead: Vec::new(),
            observed: Observed { histories, ..Observed::default() },
            images: BTreeMap::new(),
            pulls: BTreeMap::new(),
            pull_failures: BTreeMap::new(),
            metas: BTreeMap::new(),
            weakened: BTreeMap::new(),
            pending: Vec::new(),
            remove_attempts: BTreeMap::new(),
            arrived: BTreeMap::new(),
            labels,
            facts: HostFacts::default(),
            sync_problem: None,
            refusal: None,
            ledger_problem: None,
            network_problem: None,
            unwritten: None,
            closed_by: BTreeMap::new(),
            listeners_at: None,
            sessions: Vec::new(),
        };
        agent.read_desired();
        agent
    }

    /// Takes in what the runtime found at the agent's start.
    pub fn recover(&mut self, found: Vec<Recovered>, now: Now) {
        for one in found {
            let (Ok(id), Ok(meta)) = (one.id.parse::<ContainerId>(), serde_json::from_value::<ContainerMeta>(one.meta.clone()))
            else {
                tracing::warn!(container = %one.id, "a container that is not ours lies in our folder; left alone");
                continue;
            };
            let history = self
                .observed
                .histories
                .entry(id.instance.clone())
                .or_insert_with(|| History::begin(&id, meta.fingerprint.clone()));
            let is_newest = history.fingerprint == meta.fingerprint && history.last_start <= id.start;
            if is_newest {
                history.last_start = id.start;
            }
            match &one.state {
                RecoveredState::Running(running) => {
                    let since = clock::mono_at(running.started_at, now);
                    self.insert_container(id.clone(), meta, Phase::Running { since }, u32::try_from(running.pid).ok());
                    self.note_weakened(&id, running.weakened.clone());
                    self.found_running(&id, since, now);
                }
                RecoveredState::Exited(_) | RecoveredState::Unknown => {
                    let unknown = Exit { code: None, signal: None, oom_killed: false, memory_limit: None, at: now.wall };
                    let exit = if let RecoveredState::Exited(exit) = &one.state { wire_exit(exit) } else { unknown };
                    if is_newest {
                        let memory_limit = meta.memory_limit.filter(|_| exit.oom_killed);
                        history.note_found_exit(&id, Exit { memory_limit, ..exit }, now.mono);
                    }
                    history.forget_life(&id);
                    self.insert_container(id, meta, Phase::Exited { at: now.mono }, None);
                }
            }
        }
        self.adopt(now);
    }

    /// Takes in one event. Everything that follows from it is in the next [`Agent::plan`].
    pub fn apply(&mut self, event: Event, now: Now) {
        match event {
            Event::State(state) => self.offered(*state, now),
            Event::CoordinatorAnswers => self.sync_problem = None,
            Event::CoordinatorProblem(problem) => {
                if self.sync_problem.as_ref() != Some(&problem) {
                    tracing::warn!(%problem, "going on with the accepted host state");
                }
                self.sync_problem = Some(problem);
            }
            Event::Pulled { digest, result } => {
                self.pulled(digest, result, now);
                self.adopt(now);
            }
            Event::Started { container, result } => match result {
                Ok(running) => {
                    self.note_weakened(&container, running.weakened);
                    self.started(&container, running.pid.unsigned_abs(), now);
                }
                Err(error) => self.start_failed(&container, error, now),
            },
            Event::Hooked { container, result } => self.hooked(&container, result, now),
            Event::Health { container, health } => self.asked(&container, health),
            Event::Removed { container, result } => self.removed(container, result, now),
            Event::Runtime(RuntimeEvent::Exited { id, exit }) => {
                if let Ok(container) = id.parse() {
                    self.exited(&container, wire_exit(&exit), now);
                }
            }
            Event::NetworkProblem(problem) => self.network_problem = problem,
            Event::NetworkIsAsWished(number) => self.network_is_as_wished(number, now.mono),
            Event::Connections { container, open } => self.counted(&container, open, now.mono),
            Event::Labels(labels) => self.labels = labels,
            Event::Facts(facts) => self.facts = *facts,
            // Whoever asked may have given up.
            Event::AskedForUses(answer) => drop(answer.send(self.images_in_use())),
            Event::ImagesRemoved(images) => images.iter().for_each(|digest| self.dropped_image(digest)),
            Event::Timer => {
                if let Some((state, _)) = self.unwritten.take_if(|(_, retry_at)| now.mono >= *retry_at) {
                    self.accept(state, now);
                }
            }
            // Told with the next report.
            Event::Builds | Event::Nested | Event::Shutdown => {}
        }
    }

    /// Judges a host state, writes it to the ledger, and only then believes it.
    fn offered(&mut self, state: HostState, now: Now) {
        self.sync_problem = None;
        self.sessions.extend(state.sessions.iter().cloned());
        let is_news = match self.ledger.judge(&state, &self.host) {
            Ok(is_news) => is_news,
            Err(refusal) => {
                tracing::error!(generation = %state.generation, error = %refusal, "host state refused");
                self.refusal = Some(refusal.to_string());
                return;
            }
        };
        self.refusal = None;
        self.unwritten = None;
        if is_news {
            self.accept(state, now);
        }
    }

    fn accept(&mut self, state: HostState, now: Now) {
        let previous = predecessors(&state, self.ledger.state(), self.ledger.previous(), &self.observed);
        let generation = state.generation;
        let new_logins = state.registries != self.ledger.registries();
        match self.ledger.accept(&state, previous) {
            Ok(()) => {
                self.ledger_problem = None;
                tracing::info!(%generation, "host state accepted");
                // Other ports may be wanted now, and whoever listens there may have come since.
                self.listeners_at = None;
                self.read_desired();
                self.adopt(now);
                self.forget_failed_pulls(new_logins);
                self.arrived.retain(|id, _| self.desired.contains_key(id));
                for id in self.desired.keys() {
                    self.arrived.entry(id.clone()).or_insert(now.mono);
                }
            }
            Err(error) => {
                let problem = crate::chain(&error);
                tracing::error!(%generation, error = %problem, "host state not accepted yet; trying again");
                self.ledger_problem = Some(problem);
                self.unwritten = Some((state, now.mono.after(LEDGER_RETRY)));
            }
        }
    }

    fn read_desired(&mut self) {
        self.desired = self.ledger.state().map(|state| desired(state, self.ledger.previous())).unwrap_or_default();
        self.ahead = self.ledger.state().map(ahead).unwrap_or_default();
        self.trim_histories();
    }

    /// Forgets instances that are gone, once there are many of them: the first by name, as good as any.
    fn trim_histories(&mut self) {
        let gone: Vec<InstanceId> = self.observed.histories.keys().filter(|id| !self.knows(id)).cloned().collect();
        let too_many = gone.len().saturating_sub(GONE_HISTORIES_MAX);
        for (place, id) in gone.iter().enumerate() {
            if place < too_many {
                self.observed.histories.remove(id);
            } else if let Some(history) = self.observed.histories.get_mut(id) {
                history.note_gone();
            }
        }
    }

    /// Plans, and takes note of everything that the plan sets going; so the next plan asks for nothing twice. The caller carries the
    /// actions out, all of them.
    pub fn plan(&mut self, now: Now) -> (Plan, Vec<Task>) {
        self.look_at_pulls(now.mono);
        // As long as nobody has ever said what should run here, nothing is known to be too much: what runs is left alone.
        let mut plan = match self.ledger.state() {
            Some(_) => planner::plan(&self.desired, &self.ahead, &self.observed, now),
            None => Plan::default(),
        };
        let actions = std::mem::take(&mut plan.actions);
        let begun: Vec<Task> = actions.into_iter().filter_map(|action| self.begin(action, now)).collect();
        let mut tasks = std::mem::take(&mut self.pending);
        tasks.extend(begun);
        let look = self.next_look(now.mono);
        let retry_at = self.unwritten.as_ref().map(|(_, retry_at)| *retry_at);
        plan.wake_at = [plan.wake_at, look, retry_at].into_iter().flatten().min();
        (plan, tasks)
    }

    /// The sessions that wait to be served.
    pub fn take_sessions(&mut self) -> Vec<Session> {
        std::mem::take(&mut self.sessions)
    }

    /// The generation of the accepted host state.
    pub fn generation(&self) -> Option<coord_shared::names::Generation> {
        self.ledger.generation()
    }

    /// The accepted host state.
    pub fn accepted(&self) -> Option<&HostState> {
        self.ledger.state()
    }

    /// How to get at registries, as the coordinator last said.
    pub fn registries(&self) -> &[RegistryLogin] {
        self.ledger.registries()
    }

    /// What the instances went through, to be written down.
    pub fn histories(&self) -> &BTreeMap<InstanceId, History> {
        &self.observed.histories
    }

    /// Whether an instance is desired here or still has a container.
    pub fn knows(&self, instance: &InstanceId) -> bool {
        self.desired.contains_key(instance) || self.observed.containers.keys().any(|container| container.instance == *instance)
    }

    /// What the machine was like when it was last looked at.
    pub fn facts(&self) -> &HostFacts {
        &self.facts
    }

    /// What a container has not of the default isolation: by its document, then by its host.
    fn loosened(&self, id: &ContainerId) -> Vec<String> {
        let asked = self.metas.get(id).map(|meta| meta.loosened.as_slice()).unwrap_or_default();
        let lacking = self.weakened.get(id).map(Vec::as_slice).unwrap_or_default();
        [asked, lacking].concat()
    }

    /// The whole of this host, as the coordinator should know it.
    pub fn report(&self, plan: &Plan, now: Now) -> FullReport {
        let arrived = |id: &InstanceId| self.arrived.get(id).copied().unwrap_or(now.mono);
        let problems = [&self.refusal, &self.ledger_problem, &self.network_problem];
        let mut instances = planner::status::instance_reports(&self.desired, &self.observed, plan, arrived, now);
        for instance in &mut instances {
            instance.loosened = instance.container.as_ref().map(|id| self.loosened(id)).unwrap_or_default();
        }
        FullReport {
            labels: self.labels.clone(),
            facts: self.facts.clone(),
            instances,
            prefetch: planner::ahead::reports(&self.ahead, &self.observed, now),
            builder: None,
            heads: Vec::new(),
            builds: Vec::new(),
            problems: problems.into_iter().flatten().cloned().collect(),
        }
    }
}

/// The runtime's word on an end, as it travels.
fn wire_exit(exit: &coord_runtime::Exit) -> Exit {
    Exit { code: exit.code, signal: exit.signal, oom_killed: exit.oom_killed, memory_limit: None, at: exit.at }
}
