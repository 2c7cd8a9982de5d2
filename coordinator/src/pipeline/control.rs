//! The controller of pipelines: load, decide, one compare-and-set, and again until nothing is left to decide; then begin what is due.
//!
//! It takes no input but a reason to look again. What it holds in memory beside the records (how often an effect failed, since when
//! nothing has moved) only delays; a process that starts without it begins those delays anew.

use super::apply::{self, Said};
use super::effects::{self, Assemble, AssembleFailure, Failure, Tell, Told};
use super::facts::{rollout_facts, run_facts};
use super::files::{Keep, RunFiles};
use super::model::{Known, Model};
use super::records::{RunRecord, run_key};
use super::views::{self, Findings};
use super::{Orders, Pipelines, Uploads};
use crate::clock;
use crate::control::{Board, ControlError};
use crate::documents::problems::Problems;
use crate::documents::publish::Publisher;
use crate::hosts::{BuilderView, Hosts};
use crate::records::{encode, load};
use coord_registry::chain;
use coord_shared::decide::pipeline::{self as decide, BuilderFacts, Fleet, PipelineFacts, Plan};
use coord_shared::decide::{Mono, Now, backoff};
use coord_shared::names::{HostName, RunId};
use coord_shared::wire::{Deployed, ImageMade, RunState};
use coord_store::{Committed, SharedStore, Txn};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long to wait before asking a failing store again.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Rounds of one pass before the others are let through; each makes what the one before it decided the ground of the next.
const ROUNDS_MAX: u32 = 20;
/// Archives that become images at a time: each keeps a processor and a disk busy.
const ASSEMBLIES_MAX: usize = 2;
/// How often an image is tried to be made while its problem may pass.
const ASSEMBLE_ATTEMPTS_MAX: u32 = 12;
/// How long one try may take: a base of many gigabytes over a slow line.
const ASSEMBLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Actions of one transaction: records of runs are up to a megabyte.
const ACTIONS_MAX: usize = 50;

/// What the controller works with.
pub struct Parts {
    /// Makes images.
    pub assembler: Arc<dyn Assemble>,
    /// Publishes documents.
    pub publisher: Arc<Publisher>,
    /// Tells people.
    pub teller: Arc<dyn Tell>,
    /// What hosts run.
    pub board: watch::Receiver<Arc<Board>>,
    /// What people must mend.
    pub problems: Arc<Problems>,
}

/// Decides about pipelines and their runs.
pub struct PipelineController {
    store: SharedStore,
    hosts: Arc<Hosts>,
    files: RunFiles,
    model: Model,
    orders: watch::Sender<Arc<Orders>>,
    findings: watch::Sender<Arc<Findings>>,
    effects: Effects,
    /// Which hosts a deployment waits for, and since when for just those.
    waiting: BTreeMap<RunId, (BTreeSet<HostName>, Mono)>,
    /// Pipelines with a problem of ours.
    ailing: BTreeSet<String>,
}

type Running = FuturesUnordered<BoxFuture<'static, Done>>;

/// What is being done, and what has failed.
#[derive(Default)]
struct Effects {
    running: Running,
    busy: BTreeMap<RunId, RunState>,
    failed: BTreeMap<RunId, Failed>,
}

struct Failed {
    state: RunState,
    attempts: u32,
    retry: Mono,
    message: String,
}

/// What came of an effect.
enum Done {
    Assembled(RunId, Result<ImageMade, Failure>),
    Published(RunId, Result<Deployed, Failure>),
    Told(RunId, Result<(), Failure>),
}

impl PipelineController {
    /// Over what the store holds; when it answers, every host's orders are there.
    pub async fn load(
        store: SharedStore,
        hosts: Arc<Hosts>,
        files: RunFiles,
        archive_max_bytes: u64,
    ) -> Result<(Self, Arc<Pipelines>), ControlError> {
        let mut model = Model::default();
        model.refresh(&*store).await?;
        let known = model.runs.iter().map(|(id, run)| (id.clone(), kept(run))).collect();
        let swept = files.clone();
        match tokio::task::spawn_blocking(move || swept.sweep(&known)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, "cannot clear up the folders of runs"),
            Err(error) => tracing::warn!(error = %error, "cannot clear up the folders of runs"),
        }
        let orders = watch::Sender::new(Arc::new(Orders::new(&model)));
        let findings = watch::Sender::new(Arc::default());
        let pipelines = Pipelines {
            store: Arc::clone(&store),
            uploads: Uploads::new(Arc::clone(&store), files.clone(), archive_max_bytes),
            files: files.clone(),
            findings: findings.subscribe(),
        };
        let (effects, waiting, ailing) = (Effects::default(), BTreeMap::new(), BTreeSet::new());
        let controller = Self { store, hosts, files, model, orders, findings, effects, waiting, ailing };
        Ok((controller, Arc::new(pipelines)))
    }

    /// What hosts are to look at and to build.
    pub fn orders(&self) -> watch::Receiver<Arc<Orders>> {
        self.orders.subscribe()
    }

    /// Never returns while the store lives; to be raced against the end of the process.
    pub async fn run(mut self, mut parts: Parts) {
        let mut newest = self.store.watch();
        loop {
            newest.mark_unchanged();
            parts.board.mark_unchanged();
            let wake = match self.pass(&parts).await {
                Ok(wake) => wake,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot decide about pipelines; trying again");
                    Some(clock::now().mono.after(STORE_RETRY))
                }
            };
            let timer = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(clock::instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            // Silence is told by the board, too: the controller of hosts looks whenever one becomes late or lost.
            tokio::select! {
                changed = newest.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(done) = self.effects.running.next() => self.finish(done).await,
                () = self.hosts.building_changed() => {}
                Ok(()) = parts.board.changed() => {}
                () = timer => {}
            }
        }
    }

    /// Decides until nothing is left to decide, and begins what is due. Answers when to look again although nothing has changed.
    pub(super) async fn pass(&mut self, parts: &Parts) -> Result<Option<Mono>, ControlError> {
        for _ in 0..ROUNDS_MAX {
            let now = clock::now();
            // Hosts first: what they say of an archive is then not newer than the record of it.
            let builders = self.hosts.builders(now.mono);
            self.model.refresh(&*self.store).await?;
            self.tell_hosts();
            let fleet = self.fleet(&builders, &parts.board.borrow().clone(), now);
            let mut plan = decide::decide(&fleet, now.wall);
            if plan.actions.is_empty() {
                let retry = self.begin(parts, now);
                self.show(&fleet, &mut plan, parts);
                let wake = plan.wake_in.map(|after| now.mono.after(after.max(Duration::from_millis(10))));
                return Ok([wake, retry].into_iter().flatten().min());
            }
            plan.actions.truncate(ACTIONS_MAX);
            self.carry_out(&plan, &builders, now).await?;
        }
        // Much to do, or others are faster: they have their turn, and then it goes on.
        Ok(Some(clock::now().mono))
    }

    /// One transaction; whoever was faster is seen in the next round.
    async fn carry_out(&mut self, plan: &Plan, builders: &BTreeMap<HostName, BuilderView>, now: Now) -> Result<(), ControlError> {
        let said: Said = builders.iter().filter_map(|(host, view)| Some((host.clone(), view.full.clone()?))).collect();
        let changes = apply::apply(&self.model, &plan.actions, &said, now.wall);
        if let Committed::Conflict = self.store.txn(changes.txn(&self.model)).await? {
            return Ok(());
        }
        let is_over = |record: &RunRecord| record.state.is_over() || record.state == RunState::Queued && record.attempt > 0;
        if changes.forgotten.is_empty() && !changes.runs.values().any(is_over) {
            return Ok(());
        }
        let files = self.files.clone();
        // What is not removed now is at the next start.
        let removed = tokio::task::spawn_blocking(move || {
            for run in &changes.forgotten {
                files
                    .remove(run)
                    .unwrap_or_else(|error| tracing::warn!(run = %run, error = %error, "cannot remove a run's folder"));
            }
            for (run, record) in &changes.runs {
                if is_over(record) {
                    files
                        .drop_archives(run)
                        .unwrap_or_else(|error| tracing::warn!(run = %run, error = %error, "cannot remove a run's archive"));
                }
            }
        });
        if let Err(error) = removed.await {
            tracing::error!(error = %error, "the removal of a run's files has panicked");
        }
        Ok(())
    }

    fn tell_hosts(&self) {
        let orders = Orders::new(&self.model);
        self.orders.send_if_modified(|told| {
            let is_new = **told != orders;
            if is_new {
                *told = Arc::new(orders);
            }
            is_new
        });
    }

    /// What decisions are made from.
    fn fleet(&mut self, builders: &BTreeMap<HostName, BuilderView>, board: &Board, now: Now) -> Fleet {
        let hosts = self.model.hosts.iter().filter_map(|(host, record)| {
            let view = builders.get(host)?;
            let (liveness, lost_for, full) = (view.liveness, view.lost_for, view.full.clone());
            Some((host.clone(), BuilderFacts { labels: record.labels.clone(), liveness, lost_for, full }))
        });
        let mut fleet = Fleet { hosts: hosts.collect(), pipelines: BTreeMap::new() };
        let mut waiting = BTreeMap::new();
        for (name, known) in &self.model.pipelines {
            let record = &known.record;
            let runs = self.model.runs_of(name).map(|(id, run)| {
                let rollout = run.record.deployed.as_ref().filter(|_| run.record.state == RunState::Deploying);
                let rollout = rollout.map(|deployed| {
                    let mut rollout = rollout_facts(deployed, board, builders);
                    let hosts: BTreeSet<_> = rollout.waiting.keys().cloned().collect();
                    let before = self.waiting.get(id).filter(|(before, _)| *before == hosts);
                    let since = before.map_or(now.mono, |(_, since)| *since);
                    rollout.stuck_for = now.mono.since(since);
                    waiting.insert(id.clone(), (hosts, since));
                    rollout
                });
                (id.number, run_facts(run, rollout))
            });
            let facts = PipelineFacts {
                settings: known.settings.clone(),
                is_deleted: record.deleted,
                watcher: record.watcher.clone(),
                asked: record.asked,
                fresh: record.fresh,
                seen: record.seen.clone(),
                wanted: record.wanted.clone(),
                last_builder: record.last_builder.clone(),
                runs: runs.collect(),
            };
            fleet.pipelines.insert(name.clone(), facts);
        }
        self.waiting = waiting;
        fleet
    }

    /// Tells people what was found.
    fn show(&mut self, fleet: &Fleet, plan: &mut Plan, parts: &Parts) {
        let mut findings = Findings::new(&self.model, fleet, plan);
        for (id, failed) in &self.effects.failed {
            findings.waits.insert(id.clone(), failed.message.clone());
        }
        let mut ailing = BTreeSet::new();
        for (name, finding) in findings.pipelines.iter().filter(|(_, finding)| !finding.problems.is_empty()) {
            let source = format!("pipeline:{name}");
            parts.problems.set(&source, finding.problems.join("; "), None);
            ailing.insert(source);
        }
        for source in self.ailing.difference(&ailing) {
            parts.problems.clear(source);
        }
        self.ailing = ailing;
        self.findings.send_replace(Arc::new(findings));
    }

    /// Begins every effect that is due. Answers when the next one is that failed.
    fn begin(&mut self, parts: &Parts, now: Now) -> Option<Mono> {
        let Effects { running, busy, failed } = &mut self.effects;
        failed.retain(|id, failed| self.model.runs.get(id).is_some_and(|run| run.record.state == failed.state));
        let mut assemblies = busy.values().filter(|state| **state == RunState::Assembling).count();
        let findings = self.findings.borrow().clone();
        for (id, run) in self.model.runs.iter().filter(|(_, run)| is_due(run)) {
            let is_delayed = failed.get(id).is_some_and(|failed| failed.retry > now.mono);
            if is_delayed || busy.contains_key(id) {
                continue;
            }
            let is_assembly = run.record.state == RunState::Assembling;
            if is_assembly && assemblies >= ASSEMBLIES_MAX {
                continue;
            }
            assemblies += usize::from(is_assembly);
            busy.insert(id.clone(), run.record.state);
            running.push(effect(parts, &self.files, id.clone(), run, &findings));
        }
        failed.values().map(|failed| failed.retry).filter(|retry| *retry > now.mono).min()
    }

    /// Writes down what came of an effect.
    async fn finish(&mut self, done: Done) {
        let at = clock::wall();
        let (id, noted) = match done {
            Done::Assembled(id, Ok(image)) => {
                let noted = change(&self.store, &id, RunState::Assembling, |run| {
                    let deploys = coord_shared::pipeline::parse(&run.text).is_ok_and(|settings| settings.deploy.is_some());
                    run.image = Some(image.clone());
                    // Without anything to publish, the next state is the end; the next round sees to that.
                    run.enter(RunState::Deploying, at);
                    if !deploys {
                        run.deploying_at = None;
                    }
                });
                let noted = noted.await;
                (id, noted)
            }
            Done::Published(id, Ok(deployed)) => {
                let noted = change(&self.store, &id, RunState::Deploying, |run| run.deployed = Some(deployed.clone())).await;
                (id, noted)
            }
            Done::Told(id, Ok(())) => {
                let noted = change_if(&self.store, &id, |run| run.state.is_over(), |run| run.told = true).await;
                (id, noted)
            }
            Done::Assembled(id, Err(failure)) => return self.failed(id, RunState::Assembling, failure).await,
            Done::Published(id, Err(failure)) => return self.failed(id, RunState::Deploying, failure).await,
            Done::Told(id, Err(failure)) => {
                let state = self.model.runs.get(&id).map_or(RunState::Failed, |run| run.record.state);
                return self.retry(id, state, failure.message);
            }
        };
        if let Err(error) = noted {
            // It is done once more, and gives the same.
            let state = self.model.runs.get(&id).map_or(RunState::Unknown, |run| run.record.state);
            return self.retry(id, state, format!("what was done for it cannot be noted: {}", chain(&error)));
        }
        self.effects.busy.remove(&id);
        self.effects.failed.remove(&id);
    }

    /// An effect came to nothing.
    async fn failed(&mut self, id: RunId, state: RunState, failure: Failure) {
        let attempts = self.effects.failed.get(&id).map_or(1, |failed| failed.attempts + 1);
        let is_last = state == RunState::Assembling && attempts >= ASSEMBLE_ATTEMPTS_MAX;
        if failure.is_passing && !is_last {
            return self.retry(id, state, failure.message);
        }
        let at = clock::wall();
        let settings = self.model.runs.get(&id).and_then(|run| run.settings.clone());
        let nobody = settings.is_none_or(|settings| effects::targets(&settings, RunState::Failed).is_empty());
        tracing::warn!(run = %id, "run failed: {}", failure.message);
        let ended = change(&self.store, &id, state, |run| {
            run.problem = Some(failure.message.clone());
            run.told = nobody;
            run.enter(RunState::Failed, at);
        });
        match ended.await {
            Ok(()) => {
                self.effects.busy.remove(&id);
                self.effects.failed.remove(&id);
                if let Err(error) = self.files.drop_archives(&id) {
                    tracing::warn!(run = %id, error = %error, "cannot remove a run's archive");
                }
            }
            Err(error) => self.retry(id, state, chain(&error)),
        }
    }

    fn retry(&mut self, id: RunId, state: RunState, message: String) {
        self.effects.busy.remove(&id);
        let attempts = self.effects.failed.get(&id).map_or(1, |failed| failed.attempts.saturating_add(1));
        let retry = clock::now().mono.after(backoff::PULL.delay_with_jitter(attempts, fastrand::f64()));
        tracing::warn!(run = %id, %state, attempts, "{message}; trying again");
        self.effects.failed.insert(id, Failed { state, attempts, retry, message });
    }
}

/// One compare-and-set of a run's record, if it still is in `state`.
async fn change(store: &SharedStore, id: &RunId, state: RunState, change: impl Fn(&mut RunRecord)) -> Result<(), ControlError> {
    change_if(store, id, |run| run.state == state, change).await
}

async fn change_if(
    store: &SharedStore,
    id: &RunId,
    is_meant: impl Fn(&RunRecord) -> bool,
    change: impl Fn(&mut RunRecord),
) -> Result<(), ControlError> {
    let key = run_key(id);
    for _ in 0..ROUNDS_MAX {
        let found = load::<RunRecord>(&**store, &key).await?;
        let Some((mut record, revision)) = found.filter(|(record, _)| is_meant(record)) else { return Ok(()) };
        change(&mut record);
        let txn = Txn::default().expect(&*key, Some(revision)).put(&*key, encode(&record));
        if let Committed::Yes(_) = store.txn(txn).await? {
            return Ok(());
        }
    }
    Err(ControlError::Busy)
}

/// Whether something is to be done for it here.
fn is_due(run: &Known<RunRecord>) -> bool {
    let publishes = run.settings.as_ref().is_none_or(|settings| settings.deploy.is_some());
    match run.record.state {
        RunState::Assembling => run.record.cancel.is_none(),
        RunState::Deploying => run.record.deployed.is_none() && publishes,
        RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::Superseded | RunState::Skipped => {
            !run.record.told
        }
        RunState::Queued | RunState::Building | RunState::Unknown => false,
    }
}

/// The effect that is due for a run.
fn effect(parts: &Parts, files: &RunFiles, id: RunId, run: &Known<RunRecord>, findings: &Findings) -> BoxFuture<'static, Done> {
    let unreadable = || Failure {
        message: "this version of the coordinator cannot read the run's pipeline; run it again".to_owned(),
        is_passing: false,
    };
    let (record, settings) = (run.record.clone(), run.settings.clone());
    match (record.state, settings) {
        (RunState::Assembling, Some(settings)) => {
            let assembly = effects::assembly(&id, &record, &settings, files.archive(&id));
            let assembler = Arc::clone(&parts.assembler);
            Box::pin(async move {
                let made = tokio::time::timeout(ASSEMBLE_TIMEOUT, assembler.assemble(assembly)).await;
                let made = made.unwrap_or_else(|_| {
                    let message = format!("the image was not made within {} minutes", ASSEMBLE_TIMEOUT.as_secs() / 60);
                    Err(AssembleFailure { message, is_passing: true })
                });
                let made = made.map_err(|f| Failure { message: f.message, is_passing: f.is_passing });
                Done::Assembled(id, made)
            })
        }
        (RunState::Assembling, None) => Box::pin(async move { Done::Assembled(id, Err(unreadable())) }),
        (RunState::Deploying, Some(settings)) => {
            let publisher = Arc::clone(&parts.publisher);
            Box::pin(async move { Done::Published(id.clone(), effects::publish(publisher, id, record, settings).await) })
        }
        (RunState::Deploying, None) => Box::pin(async move { Done::Published(id, Err(unreadable())) }),
        (state, settings) => {
            let targets = settings.map(|settings| effects::targets(&settings, state).to_vec()).unwrap_or_default();
            let told = Told { run: views::run_view(&id, &record, findings, None), pipeline: record.text, targets };
            let teller = Arc::clone(&parts.teller);
            Box::pin(async move {
                let told = if told.targets.is_empty() { Ok(()) } else { teller.tell(told).await };
                Done::Told(id, told.map_err(|message| Failure { message, is_passing: true }))
            })
        }
    }
}

fn kept(run: &Known<RunRecord>) -> Keep {
    if run.record.state.is_over() { Keep::Log } else { Keep::All }
}
