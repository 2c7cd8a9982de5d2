//! Apply: what was decided, as one transaction. Pure: from the model and actions to records.

use super::model::Model;
use super::records::{PipelineRecord, RunRecord, pipeline_key, run_key};
use crate::records::encode;
use coord_shared::decide::pipeline::{Action, Cause};
use coord_shared::names::{HostName, PipelineName, RunId};
use coord_shared::wire::{BuildReport, FullReport, RunState};
use coord_store::Txn;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What hosts said, by host.
pub(super) type Said = BTreeMap<HostName, Arc<FullReport>>;

/// The records as they will be.
#[derive(Default)]
pub(super) struct Changes {
    pipelines: BTreeMap<PipelineName, PipelineRecord>,
    pub(super) runs: BTreeMap<RunId, RunRecord>,
    pub(super) forgotten: BTreeSet<RunId>,
}

/// Carries out `actions` on copies of the records.
pub(super) fn apply(model: &Model, actions: &[Action], said: &Said, now: Timestamp) -> Changes {
    let mut changes = Changes::default();
    for action in actions {
        changes.apply(model, action, said, now);
    }
    changes
}

impl Changes {
    fn apply(&mut self, model: &Model, action: &Action, said: &Said, now: Timestamp) {
        match action {
            Action::Watch { pipeline, host } => {
                let Some(record) = self.pipeline(model, pipeline) else { return };
                // What another host saw does not count for this one.
                record.asked += 1;
                record.fresh = record.asked;
                record.watcher.clone_from(host);
                if let Some(wanted) = &mut record.wanted {
                    wanted.asked = record.asked;
                }
            }
            Action::Make { pipeline, head, cause, take_over } => {
                let Some(record) = self.pipeline(model, pipeline) else { return };
                record.newest += 1;
                // Somebody's own choice says nothing of what the source holds.
                if record.wanted.take().is_none_or(|wanted| wanted.commit.is_none()) {
                    record.seen = Some(head.commit.clone());
                }
                let mut run = RunRecord::new(record.text.clone(), head.clone(), cause.clone(), now);
                run.take_over = *take_over;
                // Whoever wants a run wants it, whatever has changed.
                run.since = record.built.clone().filter(|_| *cause == Cause::Push);
                let id = RunId { pipeline: pipeline.clone(), number: record.newest };
                tracing::info!(run = %id, commit = %head.commit.short(), %cause, "run made");
                self.runs.insert(id, run);
            }
            Action::Assign { run: id, host } => {
                let Some(run) = self.run(model, id) else { return };
                run.builder = Some(host.clone());
                run.attempt += 1;
                run.archive = None;
                run.problem = None;
                run.enter(RunState::Building, now);
                if let Some(record) = self.pipeline(model, &id.pipeline) {
                    record.last_builder = Some(host.clone());
                }
                tracing::info!(run = %id, host = %host, "run given to a builder");
            }
            Action::Requeue { run: id, problem } => {
                let Some(run) = self.run(model, id) else { return };
                run.builder = None;
                run.archive = None;
                run.problem = Some(problem.clone());
                run.enter(RunState::Queued, now);
                tracing::warn!(run = %id, problem, "run waits for another builder");
            }
            Action::Assemble { run: id } => {
                let Some(run) = self.run(model, id) else { return };
                take_report(run, id, said);
                run.enter(RunState::Assembling, now);
            }
            Action::End { run: id, state, problem } => self.end(model, id, *state, problem.as_ref(), said, now),
            Action::Forget { run } => {
                self.runs.remove(run);
                self.forgotten.insert(run.clone());
            }
        }
    }

    fn end(&mut self, model: &Model, id: &RunId, state: RunState, problem: Option<&String>, said: &Said, now: Timestamp) {
        let settings = model.runs.get(id).and_then(|known| known.settings.clone());
        let Some(run) = self.run(model, id) else { return };
        if run.state == RunState::Building {
            take_report(run, id, said);
        }
        run.problem = problem.cloned();
        run.enter(state, now);
        run.told = settings.is_none_or(|settings| super::effects::targets(&settings, state).is_empty());
        let commit = run.head.commit.clone();
        tracing::info!(run = %id, %state, problem = problem.map(String::as_str), "run over");
        if state == RunState::Succeeded
            && let Some(record) = self.pipeline(model, &id.pipeline)
        {
            record.built = Some(commit);
            record.last_success = record.last_success.max(Some(id.number));
        }
    }

    fn pipeline(&mut self, model: &Model, name: &PipelineName) -> Option<&mut PipelineRecord> {
        let known = model.pipelines.get(name)?;
        Some(self.pipelines.entry(name.clone()).or_insert_with(|| known.record.clone()))
    }

    fn run(&mut self, model: &Model, id: &RunId) -> Option<&mut RunRecord> {
        let known = model.runs.get(id)?;
        Some(self.runs.entry(id.clone()).or_insert_with(|| known.record.clone()))
    }

    /// All of it, or nothing.
    pub(super) fn txn(&self, model: &Model) -> Txn {
        let mut txn = Txn::default();
        for (name, record) in &self.pipelines {
            let key = pipeline_key(name);
            let before = model.pipelines.get(name).map(|known| known.revision);
            txn = txn.expect(&*key, before).put(key, encode(record));
        }
        for (id, record) in &self.runs {
            let key = run_key(id);
            txn = txn.expect(&*key, model.runs.get(id).map(|known| known.revision)).put(key, encode(record));
        }
        for id in &self.forgotten {
            let key = run_key(id);
            txn = txn.expect(&*key, model.runs.get(id).map(|known| known.revision)).delete(key);
        }
        txn
    }
}

fn take_report(run: &mut RunRecord, id: &RunId, said: &Said) {
    let report: Option<&BuildReport> = run.builder.as_ref().and_then(|host| {
        let full = said.get(host)?;
        full.builds.iter().find(|build| build.run == *id)
    });
    if let Some(report) = report {
        run.take(report);
    }
}
