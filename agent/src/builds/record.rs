//! What is noted of a run, so that an agent that is killed at any point is followed by one that goes on: `state.json`.
//!
//! Written before a step begins and after it has ended. The steps say how far the run is: the first that has not ended is to be done, or
//! to be gone on with.

use super::error::BuildError;
use super::places::Places;
use crate::durable;
use coord_shared::names::Digest;
use coord_shared::pipeline::Pipeline;
use coord_shared::wire::{ArchiveReport, BuildOrder, BuildPhase, BuildReport, Exit, StepReport};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A run begins once more when the host goes down under it; who does that twice is likely to do it again.
const ATTEMPTS_MAX: u32 = 2;

/// See the module's description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// What was asked for.
    pub(super) order: BuildOrder,
    /// The boot in which it was begun.
    pub(super) boot: String,
    /// Counts begins, from 1.
    pub(super) attempt: u32,
    /// What the coordinator is told.
    pub(super) report: BuildReport,
    /// What the images of stages stood for when the run first used them.
    #[serde(default)]
    pub(super) images: BTreeMap<String, Digest>,
    /// Caches that lie in the workspace now, to be taken back: their paths there.
    #[serde(default)]
    pub(super) caches_out: Vec<String>,
    /// The archive, once it is packed.
    #[serde(default)]
    pub(super) packed: Option<ArchiveReport>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct StepEnd {
    pub(super) exit: Option<Exit>,
    pub(super) problem: Option<String>,
    pub(super) last_lines: Vec<String>,
}

impl Record {
    /// A run that has not begun.
    pub(super) fn new(order: BuildOrder, pipeline: &Pipeline, boot: &str, now: Timestamp) -> Self {
        let report = waiting(&order, now, None);
        Self {
            report: BuildReport { steps: steps(pipeline), ..report },
            order,
            boot: boot.to_owned(),
            attempt: 1,
            images: BTreeMap::new(),
            caches_out: Vec::new(),
            packed: None,
        }
    }

    /// What an earlier agent has noted; `None` where there is nothing, or nothing that can be read.
    pub(super) fn load(places: &Places, order: &BuildOrder) -> Option<Self> {
        let path = places.of_run(&order.run).join("state.json");
        let text =
            durable::read(&path).inspect_err(|error| tracing::warn!(%error, "cannot read what was noted of a run")).ok()??;
        let parsed = serde_json::from_slice::<Self>(&text);
        let parsed =
            parsed.inspect_err(|error| tracing::warn!(path = %path.display(), %error, "what was noted of a run is damaged"));
        parsed.ok().filter(|record| record.order.run == order.run)
    }

    pub(super) fn save(&self, places: &Places) -> Result<(), BuildError> {
        let run = &self.order.run;
        let text = serde_json::to_vec(self).unwrap_or_default();
        let path = places.of_run(run).join("state.json");
        durable::write(&path, &text).map_err(|source| BuildError::Note { run: run.to_string(), source })
    }

    /// Begins anew where the host went down meanwhile. Errors, in words, where that has happened too often.
    pub(super) fn survive_boot(&mut self, pipeline: &Pipeline, boot: &str, now: Timestamp) -> Result<(), String> {
        if self.boot == boot || self.report.phase.is_over() {
            return Ok(());
        }
        // What is packed lies on the disk: nothing of it is lost.
        if self.packed.is_some() {
            boot.clone_into(&mut self.boot);
            return Ok(());
        }
        let attempt = self.attempt + 1;
        let caches_out = std::mem::take(&mut self.caches_out);
        *self = Self { attempt, caches_out, ..Self::new(self.order.clone(), pipeline, boot, now) };
        if attempt > ATTEMPTS_MAX {
            return Err("the host went down twice while it built this; see why, and run the pipeline again".to_owned());
        }
        Ok(())
    }

    /// The first step that has not ended.
    pub(super) fn next_step(&self) -> Option<usize> {
        self.report.steps.iter().position(|step| step.ended_at.is_none())
    }

    /// When the run began its work.
    pub(super) fn began_at(&self) -> Option<Timestamp> {
        self.report.steps.iter().find_map(|step| step.started_at)
    }

    /// Enters the phase to which a step belongs, and notes that it begins, unless it had begun already.
    pub(super) fn step_begins(&mut self, index: usize, now: Timestamp) {
        let Some(step) = self.report.steps.get_mut(index) else { return };
        step.started_at.get_or_insert(now);
        let phase = phase_of(&step.stage);
        self.enter(phase, now);
    }

    pub(super) fn step_ends(&mut self, index: usize, end: StepEnd, now: Timestamp) {
        let Some(step) = self.report.steps.get_mut(index) else { return };
        step.ended_at = Some(now);
        step.exit = end.exit;
        step.problem = end.problem;
        step.last_lines = end.last_lines;
    }

    pub(super) fn enter(&mut self, phase: BuildPhase, now: Timestamp) {
        if self.report.phase != phase {
            self.report.phase = phase;
            self.report.since = now;
        }
        self.report.problem = None;
    }
}

/// What is told of a run that has not begun.
pub(super) fn waiting(order: &BuildOrder, since: Timestamp, problem: Option<String>) -> BuildReport {
    BuildReport {
        run: order.run.clone(),
        phase: BuildPhase::Waiting,
        since,
        commit: None,
        steps: Vec::new(),
        problem,
        archive: None,
        deploy: None,
    }
}

fn steps(pipeline: &Pipeline) -> Vec<StepReport> {
    let step = |stage: &str, index: usize, command: &str| StepReport {
        stage: stage.to_owned(),
        index: u32::try_from(index).unwrap_or(u32::MAX),
        command: command.to_owned(),
        started_at: None,
        ended_at: None,
        exit: None,
        problem: None,
        last_lines: Vec::new(),
    };
    let mut steps = vec![step("fetch", 0, "fetch the source")];
    for (stage, asked) in [("build", &pipeline.build), ("test", &pipeline.test)] {
        let commands = asked.iter().flat_map(|stage| &stage.steps).enumerate();
        steps.extend(commands.map(|(index, command)| step(stage, index, command)));
    }
    steps.push(step("package", 0, "pack the archive"));
    steps.push(step("upload", 0, "send the archive to the coordinator"));
    steps
}

fn phase_of(stage: &str) -> BuildPhase {
    match stage {
        "fetch" => BuildPhase::Fetching,
        "build" => BuildPhase::Building,
        "test" => BuildPhase::Testing,
        "package" => BuildPhase::Packaging,
        _ => BuildPhase::Uploading,
    }
}
