//! Views: runs and pipelines as people are shown them, from records, what the controller found, and what builders say right now.

use super::model::Model;
use super::records::{PipelineRecord, RunRecord};
use coord_shared::decide::pipeline::{Fleet, Plan, look};
use coord_shared::names::{PipelineName, RunId};
use coord_shared::pipeline::{Reference, Source, SourceKind};
use coord_shared::wire::{BuildReport, FullReport, Head, PipelineView, RunState, RunView, StageTime, StepReport};
use coord_store::StoreRevision;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an answer about a change waits for the controller to have seen it; it needs milliseconds, unless the store fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The builder's stages, in their order.
const STAGES: [&str; 5] = ["fetch", "build", "test", "package", "upload"];

/// What the controller found in its last pass.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The store's revision that it is made from.
    pub at: StoreRevision,
    /// Every pipeline that is not deleted.
    pub pipelines: BTreeMap<PipelineName, Finding>,
    /// Why runs do not go on.
    pub waits: BTreeMap<RunId, String>,
    /// How many runs are in which state, those included that are over and kept.
    pub runs: BTreeMap<String, u64>,
    /// Runs that ended in this process, by how.
    pub ended: BTreeMap<String, Ended>,
}

/// Counts of runs that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ended {
    /// How many.
    pub count: u64,
    /// From the making of each to its end, together.
    pub seconds: f64,
}

/// What is found of one pipeline.
#[derive(Debug, Clone, Default)]
pub struct Finding {
    /// The last look at its source.
    pub head: Option<Head>,
    /// Why its source is not looked at, or cannot be seen.
    pub problems: Vec<String>,
    /// What is on its way: no problem yet.
    pub wait: Option<String>,
}

impl Findings {
    pub(super) fn new(model: &Model, fleet: &Fleet, plan: &Plan) -> Self {
        let mut findings = Self { at: model.at, ended: model.ended.clone(), ..Self::default() };
        for (name, known) in model.pipelines.iter().filter(|(_, known)| !known.record.deleted) {
            let facts = fleet.pipelines.get(name);
            let look = facts.and_then(|facts| look(name, facts, fleet));
            let mut problems = plan.problems.get(name).cloned().unwrap_or_default();
            if known.settings.is_none() {
                problems.push("this version of the coordinator cannot read its text; give it again".to_owned());
            }
            let wanted = known.record.wanted.as_ref();
            let wait = wanted.map(|wanted| format!("a run ({}) waits for a look at the source", wanted.cause));
            let head = look.and_then(|look| look.head.clone());
            findings.pipelines.insert(name.clone(), Finding { head, problems, wait });
        }
        findings.waits = plan.waits.iter().map(|(run, wait)| (run.clone(), wait.to_string())).collect();
        for run in model.runs.values() {
            *findings.runs.entry(run.record.state.to_string()).or_default() += 1;
        }
        findings
    }
}

/// A run as people are shown it. `said`: what its builder reported last, if it is heard of.
pub fn run_view(id: &RunId, record: &RunRecord, findings: &Findings, said: Option<&FullReport>) -> RunView {
    let report = said.filter(|_| record.state == RunState::Building);
    let report: Option<&BuildReport> = report.and_then(|full| full.builds.iter().find(|build| build.run == *id));
    let steps = report.map_or_else(|| record.steps.clone(), |report| report.steps.clone());
    let waits = findings.waits.get(id).filter(|_| !record.state.is_over());
    RunView {
        run: id.clone(),
        state: record.state,
        commit: record.head.commit.clone(),
        about: report.and_then(|report| report.commit.clone()).or_else(|| record.about.clone()),
        cause: record.cause.to_string(),
        builder: record.builder.clone(),
        made_at: record.made_at,
        since: record.at,
        ended_at: record.ended_at,
        stages: stages(record, &steps),
        steps,
        problem: waits.cloned().or_else(|| record.problem.clone()),
        image: record.image.clone(),
        deployed: record.deployed.clone(),
    }
}

/// How long each part took. The builder's parts are by its own clock, the others by the coordinator's.
pub(super) fn stages(record: &RunRecord, steps: &[StepReport]) -> Vec<StageTime> {
    let queued_until = record.building_at.or(record.ended_at);
    let mut stages = vec![stage("queue", record.made_at, queued_until)];
    for name in STAGES {
        let mut of = steps.iter().filter(|step| step.stage == name);
        let Some(began_at) = of.clone().filter_map(|step| step.started_at).min() else { continue };
        let ended = of.clone().filter_map(|step| step.ended_at).max();
        // Steps that never came do not keep a stage open once the run has gone on.
        let is_open = record.state == RunState::Building && of.any(|step| step.ended_at.is_none());
        stages.push(stage(name, began_at, if is_open { None } else { ended.or(record.assembling_at).or(record.ended_at) }));
    }
    let over = record.ended_at;
    stages.extend(record.assembling_at.map(|at| stage("image", at, record.deploying_at.or(over))));
    stages.extend(record.deploying_at.map(|at| stage("deploy", at, over)));
    stages
}

fn stage(name: &str, began_at: Timestamp, ended_at: Option<Timestamp>) -> StageTime {
    let took = ended_at.map(|ended| ended.duration_since(began_at).as_millis());
    StageTime { stage: name.to_owned(), began_at, took_ms: took.map(|ms| u64::try_from(ms).unwrap_or(0)) }
}

/// A pipeline as people are shown it.
pub fn pipeline_view(
    name: &PipelineName,
    record: &PipelineRecord,
    findings: &Findings,
    last_run: Option<RunView>,
) -> PipelineView {
    let finding = findings.pipelines.get(name).cloned().unwrap_or_default();
    let settings = coord_shared::pipeline::parse(&record.text).ok();
    PipelineView {
        name: name.clone(),
        source: record.source.to_string(),
        repository: settings.map(|settings| repository(&settings.source)).unwrap_or_default(),
        watcher: record.watcher.clone(),
        head: finding.head,
        problems: finding.problems.into_iter().chain(finding.wait).collect(),
        last_run,
        last_success: record.last_success,
    }
}

/// The URL with what of it is built.
fn repository(source: &Source) -> String {
    let url = source_url(source);
    match &source.kind {
        SourceKind::Git(git) => match &git.reference {
            Reference::Branch(Some(branch)) => format!("{url} ({branch})"),
            Reference::Branch(None) => url,
            Reference::Tags(pattern) => format!("{url} (tags {pattern})"),
        },
        SourceKind::Svn { .. } => url,
    }
}

/// The URL, without what opens it.
pub(super) fn source_url(source: &Source) -> String {
    let url = match &source.kind {
        SourceKind::Git(git) => &git.url,
        SourceKind::Svn { url } => url,
    };
    let Some((scheme, rest)) = url.split_once("://") else { return url.clone() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}
