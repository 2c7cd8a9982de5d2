//! Who builds what, and when: one task for each watched source and for each run that is worked on. It takes what the coordinator wishes and
//! sets tasks going; it does nothing itself.
//!
//! A pipeline has one workspace, so one of its runs is worked on at a time. Runs that an earlier agent had begun come first: their
//! containers may still be at work.

use super::places::{self, container_prefix};
use super::record::{self, Record};
use super::run::Run;
use super::tools::Tools;
use super::{Stop, Wish, step, watch as sources};
use crate::clock;
use crate::volumes;
use coord_shared::names::{PipelineName, RunId};
use coord_shared::pipeline;
use coord_shared::wire::{BuildOrder, BuildPhase, BuildReport, SourceWatch};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// Looks at sources at a time.
const LOOKS_MAX: usize = 2;
/// What is kept for a pipeline that nobody asks this host about any more.
const UNUSED_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// Ends that wait to be noticed.
const ENDS_MAX: usize = 64;

/// A run that is on this host's list.
struct Listed {
    order: BuildOrder,
    /// Present while a task works on it.
    stop: Option<watch::Sender<Stop>>,
    /// Nobody needs to work on it any more.
    is_done: bool,
}

/// See the module's description.
pub(super) struct Crew {
    tools: Rc<Tools>,
    watches: BTreeMap<PipelineName, watch::Sender<SourceWatch>>,
    runs: BTreeMap<RunId, Listed>,
    /// In the coordinator's order.
    line: Vec<RunId>,
    looks: Rc<Semaphore>,
    ended: (mpsc::Sender<RunId>, mpsc::Receiver<RunId>),
    /// Runs that are being cleaned away; those of their pipelines wait.
    leaving: BTreeSet<RunId>,
    left: (mpsc::Sender<RunId>, mpsc::Receiver<RunId>),
}

impl Crew {
    pub(super) fn new(tools: Tools) -> Self {
        Self {
            tools: Rc::new(tools),
            watches: BTreeMap::new(),
            runs: BTreeMap::new(),
            line: Vec::new(),
            looks: Rc::new(Semaphore::new(LOOKS_MAX)),
            ended: mpsc::channel(ENDS_MAX),
            leaving: BTreeSet::new(),
            left: mpsc::channel(ENDS_MAX),
        }
    }

    /// Works until nobody wishes anything any more; then the agent is ending, and containers go on.
    pub(super) async fn work(mut self, mut wishes: watch::Receiver<Option<Wish>>) {
        // Nothing is known to be unwanted before the first wish.
        if wishes.wait_for(Option::is_some).await.is_err() {
            return;
        }
        self.clear_unused(wishes.borrow().clone().unwrap_or_default()).await;
        loop {
            let wish = wishes.borrow_and_update().clone().unwrap_or_default();
            self.watch(wish.watches);
            self.list(wish.orders);
            self.start_next();
            tokio::select! {
                changed = wishes.changed() => if changed.is_err() { return },
                Some(run) = self.ended.1.recv() => self.has_ended(&run),
                Some(run) = self.left.1.recv() => { self.leaving.remove(&run); }
            }
        }
    }

    fn watch(&mut self, wanted: Vec<SourceWatch>) {
        let names: BTreeSet<PipelineName> = wanted.iter().map(|watch| watch.pipeline.clone()).collect();
        let gone: Vec<PipelineName> = self.watches.keys().filter(|name| !names.contains(*name)).cloned().collect();
        for name in gone {
            // Its task ends with the sender.
            self.watches.remove(&name);
            self.tools.board.forget_head(&name);
        }
        for wanted in wanted {
            match self.watches.get(&wanted.pipeline) {
                Some(watch) => {
                    watch.send_if_modified(|watched| {
                        let is_news = *watched != wanted;
                        *watched = wanted;
                        is_news
                    });
                }
                None => {
                    let (sender, receiver) = watch::channel(wanted.clone());
                    self.watches.insert(wanted.pipeline, sender);
                    tokio::task::spawn_local(sources::run(self.tools.clone(), receiver, self.looks.clone()));
                }
            }
        }
    }

    /// Takes over the list of runs: stops those that are cancelled, and cleans up after those that are gone.
    fn list(&mut self, orders: Vec<BuildOrder>) {
        self.line = orders.iter().map(|order| order.run.clone()).collect();
        let gone: Vec<RunId> = self.runs.keys().filter(|run| !self.line.contains(run)).cloned().collect();
        for run in gone {
            match self.runs.get_mut(&run) {
                // Its task ends first.
                Some(Listed { stop: Some(stop), .. }) => drop(stop.send_replace(Stop::Gone)),
                Some(_) | None => self.leave(&run),
            }
        }
        for order in orders {
            let listed = self.runs.entry(order.run.clone()).or_insert_with(|| {
                self.tools.board.tell_build(&told(&self.tools, &order));
                Listed { order: order.clone(), stop: None, is_done: false }
            });
            if order.cancelled
                && let Some(stop) = &listed.stop
            {
                stop.send_if_modified(|stop| std::mem::replace(stop, Stop::Cancel) == Stop::Go);
            }
            listed.order = order;
        }
    }

    /// Sets those going whose turn it is.
    fn start_next(&mut self) {
        let begun = |run: &RunId| self.tools.places.of_run(run).exists();
        let mut line: Vec<RunId> = self.line.iter().filter(|run| !self.leaving.contains(*run)).cloned().collect();
        line.sort_by_key(|run| !begun(run));
        for run in line {
            let working: Vec<&RunId> = self.runs.iter().filter(|(_, listed)| listed.stop.is_some()).map(|(run, _)| run).collect();
            let same =
                working.iter().copied().chain(&self.leaving).find(|other| other.pipeline == run.pipeline && **other != run);
            let problem = match same {
                Some(other) => Some(format!("{other} comes first")),
                None if working.len() >= usize::try_from(self.tools.builder.runs).unwrap_or(usize::MAX) => {
                    Some(format!("the host builds {} at a time", self.tools.builder.runs))
                }
                None => None,
            };
            let Some(listed) = self.runs.get_mut(&run).filter(|listed| listed.stop.is_none() && !listed.is_done) else {
                continue;
            };
            match problem {
                Some(problem) if !listed.order.cancelled => {
                    if let Some(report) = self.tools.board.build(&run) {
                        self.tools.board.tell_build(&BuildReport { problem: Some(problem), ..report });
                    }
                }
                Some(_) | None => start(&self.tools, listed, &self.ended.0),
            }
        }
    }

    fn has_ended(&mut self, run: &RunId) {
        let is_wanted = self.line.contains(run);
        if let Some(listed) = self.runs.get_mut(run) {
            listed.stop = None;
            listed.is_done = true;
        }
        if !is_wanted {
            self.leave(run);
        }
    }

    /// Takes away everything of a run.
    fn leave(&mut self, run: &RunId) {
        self.runs.remove(run);
        self.leaving.insert(run.clone());
        self.tools.board.forget_build(run);
        let (tools, run, left) = (self.tools.clone(), run.clone(), self.left.0.clone());
        tokio::task::spawn_local(async move {
            clean_up(&tools, &run).await;
            let _ = left.send(run).await;
        });
    }

    /// What earlier agents left of runs and pipelines that nobody asks for any more.
    async fn clear_unused(&mut self, wish: Wish) {
        self.tools.recover_doors().await;
        for run in self.tools.places.known_runs() {
            if wish.orders.iter().all(|order| order.run != run) {
                clean_up(&self.tools, &run).await;
            }
        }
        let named = |name: &str| {
            wish.orders.iter().any(|order| order.run.pipeline.as_ref() == name)
                || wish.watches.iter().any(|watch| watch.pipeline.as_ref() == name)
        };
        for name in places::names(&self.tools.places.works()).into_iter().filter(|name| !named(name)) {
            let folder = self.tools.places.works().join(name);
            let found = std::fs::metadata(&folder).and_then(|found| found.modified());
            let age = found.ok().and_then(|at| jiff::Timestamp::try_from(at).ok()).map(|at| clock::now().wall.duration_since(at));
            if age.is_none_or(|age| Duration::try_from(age).is_ok_and(|age| age > UNUSED_MAX)) {
                let deleted = tokio::task::spawn_blocking(move || volumes::delete(&folder)).await;
                if let Ok(Err(error)) = deleted {
                    tracing::warn!(error = %crate::chain(&error), "what was kept for a pipeline stays");
                }
            }
        }
    }
}

/// What is told of a run before anybody works on it: as it was noted, or that it waits.
fn told(tools: &Tools, order: &BuildOrder) -> BuildReport {
    let noted = Record::load(&tools.places, order).map(|record| record.report);
    // One that is over is told so when its log has arrived.
    noted.filter(|report| !report.phase.is_over()).unwrap_or_else(|| record::waiting(order, clock::now().wall, None))
}

fn start(tools: &Rc<Tools>, listed: &mut Listed, ended: &mpsc::Sender<RunId>) {
    let order = listed.order.clone();
    let run = order.run.clone();
    let opened = pipeline::parse(&order.document).map_err(|mistakes| mistakes.summary(&order.document)).and_then(|pipeline| {
        let now = clock::now().wall;
        let noted = Record::load(&tools.places, &order);
        let record = noted.unwrap_or_else(|| Record::new(order.clone(), &pipeline, &tools.boot, now));
        let (stop, stopped) = watch::channel(if order.cancelled { Stop::Cancel } else { Stop::Go });
        Ok((stop, Run::open(tools.clone(), pipeline, record, stopped)?))
    });
    match opened {
        Ok((stop, work)) => {
            listed.stop = Some(stop);
            let ended = ended.clone();
            tokio::task::spawn_local(async move {
                work.work().await;
                let _ = ended.send(run).await;
            });
        }
        Err(problem) => {
            listed.is_done = true;
            let waiting = record::waiting(&order, clock::now().wall, Some(problem));
            tools.board.tell_build(&BuildReport { phase: BuildPhase::Failed, ..waiting });
        }
    }
}

/// Containers, addresses, logs, notes. The workspace stays for the next run to remove, where this one could not.
async fn clean_up(tools: &Tools, run: &RunId) {
    if let Some(engine) = tools.engine.get() {
        for container in engine.found(&container_prefix(run)) {
            tools.close_door(&container).await;
            step::remove(engine, &tools.places, &container).await;
            tools.release(&container).await;
        }
    }
    tools.places.forget_images(run);
    let folder = tools.places.of_run(run);
    let deleted = tokio::task::spawn_blocking(move || volumes::delete(&folder)).await;
    if let Ok(Err(error)) = deleted {
        tracing::warn!(%run, error = %crate::chain(&error), "something is left of a run");
    }
}
