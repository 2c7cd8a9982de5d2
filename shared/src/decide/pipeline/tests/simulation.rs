//! Many pipelines over builders that come and go, with reports that are late and old: the promises hold in every run.
//!
//! The model applies actions as the coordinator does, and builders do as they are told when they hear of it.

use super::*;
use std::collections::BTreeSet;

/// Steps of one simulated history; each is a few seconds.
const STEPS: u64 = 400;
/// Histories, each with its own seed.
const SEEDS: u64 = 60;
/// Of one step.
const STEP: Duration = Duration::from_secs(5);

/// A small generator (xorshift64*), so that a seed is a history.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % sides
    }
}

/// A builder as it really is.
#[derive(Default)]
struct Host {
    is_up: bool,
    /// Since when it is not heard of.
    silent: Duration,
    /// The orders that it heard of, and how far each is.
    builds: BTreeMap<RunId, BuildPhase>,
    heads: BTreeMap<PipelineName, HeadReport>,
}

struct World {
    fleet: Fleet,
    truth: BTreeMap<HostName, Host>,
    newest: BTreeMap<PipelineName, u64>,
    commits: BTreeMap<RunId, Commit>,
    now: i64,
    dice: Dice,
    /// The newest number that was published, by pipeline.
    published: BTreeMap<PipelineName, u64>,
    /// Runs that a push made, by commit: each at most once.
    pushed: BTreeSet<(PipelineName, Commit)>,
    over: BTreeMap<RunState, u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut fleet = Fleet::default();
        for pipeline in ["shop", "blog", "mail"] {
            let settings = Some(settings("timeout = \"20m\"\nkeep_runs = 3"));
            fleet.pipelines.insert(name(pipeline), PipelineFacts { settings, ..PipelineFacts::default() });
        }
        let mut truth = BTreeMap::new();
        for builder_name in ["b", "c"] {
            fleet.hosts.insert(host(builder_name), builder(1));
            truth.insert(host(builder_name), Host { is_up: true, ..Host::default() });
        }
        let newest = fleet.pipelines.keys().map(|name| (name.clone(), 1)).collect();
        let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (commits, published, pushed, over) = Default::default();
        Self { fleet, truth, newest, commits, now: 0, dice, published, pushed, over }
    }

    /// What happens by itself: pushes, crashes, returns, work.
    fn happen(&mut self) {
        self.now += 5;
        for newest in self.newest.values_mut() {
            if self.dice.roll(30) == 0 {
                *newest += 1;
            }
        }
        for (name, host) in &mut self.truth {
            if self.dice.roll(if host.is_up { 60 } else { 40 }) == 0 {
                host.is_up = !host.is_up;
            }
            host.silent = if host.is_up { Duration::ZERO } else { host.silent + STEP };
            let facts = self.fleet.hosts.get_mut(name).expect("a host");
            facts.lost_for = host.silent.saturating_sub(Duration::from_secs(60));
            facts.liveness = if host.silent >= Duration::from_secs(60) {
                Liveness::Lost
            } else if host.silent > Duration::from_secs(20) {
                Liveness::Late
            } else {
                Liveness::Ready
            };
        }
    }

    /// Builders that are up hear their orders, work, and report; sometimes the report is lost.
    fn work(&mut self) {
        for (name, truth) in self.truth.iter_mut().filter(|(_, host)| host.is_up) {
            let mut orders = BTreeSet::new();
            for (pipeline, facts) in &self.fleet.pipelines {
                if facts.watcher.as_ref() == Some(name) {
                    let head = Head { commit: commit(self.newest[pipeline]), reference: String::new() };
                    let look = HeadReport { pipeline: pipeline.clone(), asked: facts.asked, head: Some(head), problem: None };
                    truth.heads.insert(pipeline.clone(), look);
                } else {
                    truth.heads.remove(pipeline);
                }
                let building =
                    facts.runs.iter().filter(|(_, run)| run.state == RunState::Building && run.builder.as_ref() == Some(name));
                orders
                    .extend(building.map(|(number, run)| {
                        (RunId { pipeline: pipeline.clone(), number: *number }, run.cancelled_at.is_some())
                    }));
            }
            truth.builds.retain(|id, _| orders.iter().any(|(order, _)| order == id));
            for (id, is_cancelled) in orders {
                let phase = truth.builds.entry(id.clone()).or_insert(BuildPhase::Fetching);
                *phase = match (*phase, is_cancelled, self.dice.roll(12)) {
                    (phase, _, _) if phase.is_over() => phase,
                    (_, true, _) => BuildPhase::Cancelled,
                    (_, false, 0) => BuildPhase::Failed,
                    (_, false, 1) => BuildPhase::Skipped,
                    (_, false, 2..5) => BuildPhase::Done,
                    (phase, false, _) => phase,
                };
                if *phase == BuildPhase::Done
                    && let Some(run) = self.fleet.pipelines.get_mut(&id.pipeline).and_then(|facts| facts.runs.get_mut(&id.number))
                {
                    run.archive = Some(Digest::of(id.to_string().as_bytes()));
                }
            }
            if self.dice.roll(5) == 0 {
                continue;
            }
            let facts = self.fleet.hosts.get_mut(name).expect("a host");
            says(facts, |full| {
                full.heads = truth.heads.values().cloned().collect();
                full.builds = truth
                    .builds
                    .iter()
                    .map(|(id, phase)| {
                        let digest = Digest::of(id.to_string().as_bytes());
                        let archive = (*phase == BuildPhase::Done).then_some(ArchiveReport { digest, bytes: 1 });
                        BuildReport { archive, ..build(&id.to_string(), *phase) }
                    })
                    .collect();
            });
        }
    }

    fn decide(&mut self) {
        for round in 0.. {
            assert!(round < 20, "decisions must come to an end");
            let plan = decide(&self.fleet, at(self.now));
            if plan.actions.is_empty() {
                return self.check(&plan);
            }
            for action in plan.actions {
                self.apply(action);
            }
        }
    }

    fn apply(&mut self, action: Action) {
        let now = at(self.now);
        match action {
            Action::Watch { pipeline, host } => {
                let facts = self.fleet.pipelines.get_mut(&pipeline).expect("a pipeline");
                facts.asked += 1;
                (facts.fresh, facts.watcher) = (facts.asked, host);
            }
            Action::Make { pipeline, head, cause, .. } => {
                let facts = self.fleet.pipelines.get_mut(&pipeline).expect("a pipeline");
                let number = self.commits.keys().filter(|id| id.pipeline == pipeline).map(|id| id.number).max().unwrap_or(0) + 1;
                facts.seen = Some(head.commit.clone());
                facts
                    .runs
                    .insert(number, RunFacts { settings: facts.settings.clone(), at: now, ..super::facts(RunState::Queued) });
                assert_eq!(cause, Cause::Push);
                assert!(self.pushed.insert((pipeline.clone(), head.commit.clone())), "a commit is built once");
                self.commits.insert(RunId { pipeline, number }, head.commit);
            }
            Action::Assign { run, host } => self.change(&run, RunState::Building, |facts| {
                assert_eq!(facts.state, RunState::Queued);
                (facts.builder, facts.archive) = (Some(host), None);
                facts.attempt += 1;
            }),
            Action::Requeue { run, .. } => {
                self.change(&run, RunState::Queued, |facts| (facts.builder, facts.archive) = (None, None))
            }
            Action::Assemble { run } => self.change(&run, RunState::Assembling, |_| {}),
            Action::End { run, state, .. } => {
                *self.over.entry(state).or_default() += 1;
                self.change(&run, state, |facts| assert!(!facts.state.is_over(), "nothing ends twice"));
            }
            Action::Forget { run } => {
                let runs = &mut self.fleet.pipelines.get_mut(&run.pipeline).expect("a pipeline").runs;
                assert!(runs.remove(&run.number).expect("a run").state.is_over());
            }
        }
    }

    fn change(&mut self, id: &RunId, state: RunState, change: impl FnOnce(&mut RunFacts)) {
        let facts = self.fleet.pipelines.get_mut(&id.pipeline).expect("a pipeline").runs.get_mut(&id.number).expect("a run");
        change(facts);
        (facts.state, facts.at) = (state, at(self.now));
    }

    /// Effects: images are made and documents published, some time.
    fn carry_out(&mut self) {
        for (name, facts) in &mut self.fleet.pipelines {
            for (number, run) in &mut facts.runs {
                match run.state {
                    RunState::Assembling if self.dice.roll(2) == 0 => run.state = RunState::Deploying,
                    RunState::Deploying if run.rollout.is_none() => {
                        let before = self.published.insert(name.clone(), *number).unwrap_or(0);
                        assert!(before < *number, "{name}: {number} was published after {before}");
                        let revision = Revision(*number);
                        run.rollout = Some(RolloutFacts { revision, newest: Some(revision), ..rollout(&["web"]) });
                    }
                    RunState::Deploying => {
                        let rollout = run.rollout.as_mut().expect("published");
                        rollout.newest = self.published.get(name).copied().map(Revision);
                        if self.dice.roll(4) == 0 {
                            rollout.waiting.clear();
                        }
                    }
                    RunState::Queued
                    | RunState::Building
                    | RunState::Assembling
                    | RunState::Succeeded
                    | RunState::Failed
                    | RunState::Cancelled
                    | RunState::Superseded
                    | RunState::Skipped
                    | RunState::Unknown => {}
                }
            }
        }
    }

    fn check(&self, plan: &Plan) {
        let mut load: BTreeMap<&HostName, u64> = BTreeMap::new();
        for (name, facts) in &self.fleet.pipelines {
            let count = |is: &dyn Fn(&RunFacts) -> bool| facts.runs.values().filter(|run| is(run)).count();
            assert!(count(&|run| run.state == RunState::Queued) <= 1, "{name}: one waits at most");
            let in_line = count(&|run| matches!(run.state, RunState::Building | RunState::Assembling));
            assert!(in_line <= 1, "{name}: one is built at most");
            for (number, run) in &facts.runs {
                assert!(run.attempt <= ATTEMPTS_MAX);
                if run.state == RunState::Building {
                    *load.entry(run.builder.as_ref().expect("a builder")).or_default() += 1;
                }
                if run.state == RunState::Queued {
                    let id = RunId { pipeline: name.clone(), number: *number };
                    assert!(plan.waits.contains_key(&id), "{id}: why does it wait?");
                }
            }
        }
        assert!(load.values().all(|runs| *runs <= 1), "no builder has more than it takes: {load:?}");
    }
}

#[test]
fn the_promises_hold_under_faults() {
    let mut over: BTreeMap<RunState, u64> = BTreeMap::new();
    for seed in 1..=SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.happen();
            world.decide();
            world.work();
            world.decide();
            world.carry_out();
        }
        // Then everyone is well, and nothing is left undone.
        for host in world.truth.values_mut() {
            host.is_up = true;
        }
        for _ in 0..200 {
            world.now += 5;
            for facts in world.fleet.hosts.values_mut() {
                (facts.liveness, facts.lost_for) = (Liveness::Ready, Duration::ZERO);
            }
            world.work();
            world.decide();
            world.carry_out();
        }
        for (name, facts) in &world.fleet.pipelines {
            assert_eq!(facts.seen, Some(commit(world.newest[name])), "seed {seed}: {name} has seen the newest commit");
            let open: Vec<_> = facts.runs.iter().filter(|(_, run)| !run.state.is_over()).collect();
            assert!(open.is_empty(), "seed {seed}: {name}: {open:?}");
        }
        for (state, count) in world.over {
            *over.entry(state).or_default() += count;
        }
    }
    for state in [RunState::Succeeded, RunState::Failed, RunState::Superseded, RunState::Skipped] {
        assert!(over.get(&state).is_some_and(|count| *count > 20), "{state} was seen: {over:?}");
    }
}
