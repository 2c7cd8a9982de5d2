//! Runs: what becomes of each run of one pipeline.

use super::builders::{self, Builders};
use super::{Fleet, PipelineFacts, Plan, RolloutFacts, RunFacts, Wait};
use crate::names::{HostName, PipelineName, RunId};
use crate::wire::{BuildPhase, BuildReport, RunState};
use jiff::Timestamp;
use std::time::Duration;

/// How often a run is given to a builder: once, and once more if that one is lost.
pub const ATTEMPTS_MAX: u32 = 2;
/// How long a builder that counts as lost may still come back with its work done; a short cut of the network must not cost an hour's build.
pub const LOST_GRACE: Duration = Duration::from_secs(300);
/// What a builder may take longer than the pipeline's `timeout` before the run ends without it: it ends its own runs, and says so.
pub const TIMEOUT_SLACK: Duration = Duration::from_secs(300);
/// How long a builder has for ending a run that is cancelled: a step's grace period and a report, twice.
pub const CANCEL_PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing may move among the hosts before a deployment counts as failed: a large image over a slow link takes less.
pub const DEPLOY_STUCK_AFTER: Duration = Duration::from_secs(1800);
/// The limit of a run whose own text cannot be read: the longest that anybody builds.
const TIMEOUT_UNKNOWN: Duration = Duration::from_secs(24 * 3600);

/// One pipeline in the light of everything.
pub(super) struct View<'a> {
    pub(super) name: &'a PipelineName,
    pub(super) facts: &'a PipelineFacts,
    pub(super) fleet: &'a Fleet,
    pub(super) now: Timestamp,
    /// Whether what waits is replaced by a new run.
    pub(super) is_replaced: bool,
}

/// Decides for every run, and which of those that are over may be forgotten.
pub(super) fn decide(view: &View<'_>, builders: &mut Builders<'_>, plan: &mut Plan) {
    for (number, run) in &view.facts.runs {
        let id = RunId { pipeline: view.name.clone(), number: *number };
        match run.state {
            RunState::Queued => queued(view, id, run, builders, plan),
            RunState::Building => building(view, id, run, plan),
            RunState::Assembling => assembling(view, id, run, plan),
            RunState::Deploying => deploying(id, run, plan),
            RunState::Succeeded
            | RunState::Failed
            | RunState::Cancelled
            | RunState::Superseded
            | RunState::Skipped
            | RunState::Unknown => {}
        }
    }
    forget(view, plan);
}

fn queued(view: &View<'_>, id: RunId, run: &RunFacts, builders: &mut Builders<'_>, plan: &mut Plan) {
    if view.is_replaced {
        return;
    }
    if view.facts.is_deleted {
        return plan.end(id, RunState::Cancelled, Some("the pipeline was deleted".to_owned()));
    }
    if run.cancelled_at.is_some() {
        return plan.end(id, RunState::Cancelled, None);
    }
    let Some(settings) = &run.settings else {
        let problem = "this version of the coordinator cannot read the run's pipeline; run it again".to_owned();
        return plan.end(id, RunState::Failed, Some(problem));
    };
    let before = view.facts.runs.iter().find(|(number, other)| **number != id.number && holds_line(other));
    if let Some((number, _)) = before {
        let run = RunId { pipeline: view.name.clone(), number: *number };
        plan.waits.insert(id, Wait::Before { run });
        return;
    }
    let last = view.facts.last_builder.as_ref();
    match builders.take(&id, &settings.hosts, last) {
        Ok(host) => plan.actions.push(super::Action::Assign { run: id, host }),
        Err(wait) => {
            plan.waits.insert(id, wait);
        }
    }
}

/// Whether the next run of the pipeline has to wait for it: what is built later must not be published earlier.
fn holds_line(run: &RunFacts) -> bool {
    match run.state {
        RunState::Building | RunState::Assembling => true,
        RunState::Deploying => run.rollout.is_none(),
        RunState::Queued
        | RunState::Succeeded
        | RunState::Failed
        | RunState::Cancelled
        | RunState::Superseded
        | RunState::Skipped
        | RunState::Unknown => false,
    }
}

fn building(view: &View<'_>, id: RunId, run: &RunFacts, plan: &mut Plan) {
    let Some(host) = &run.builder else {
        // Written so by nobody; to wait for nobody would be for ever.
        return plan.actions.push(super::Action::Requeue { run: id, problem: "it had no builder".to_owned() });
    };
    let report = report(view.fleet, host, &id);
    let cancelled_at = run.cancelled_at.or(view.facts.is_deleted.then_some(run.at));
    if let Some(report) = report.filter(|report| report.phase.is_over()) {
        return over(id, run, host, report, cancelled_at.is_some(), plan);
    }
    if let Some(since) = cancelled_at {
        return cancelling(view, id, host, since, plan);
    }
    if let Some(problem) = builders::gone(view.fleet, host, LOST_GRACE) {
        let newer_waits = view.facts.runs.iter().any(|(number, other)| *number > id.number && other.state == RunState::Queued);
        if newer_waits || view.is_replaced {
            let problem = format!("{problem}, and a newer run took its place");
            return plan.end(id, RunState::Superseded, Some(problem));
        }
        if run.attempt >= ATTEMPTS_MAX {
            let problem = format!("{problem}, and so was the builder before it; run it again once one is well");
            return plan.end(id, RunState::Failed, Some(problem));
        }
        return plan.actions.push(super::Action::Requeue { run: id, problem });
    }
    let timeout = run.settings.as_ref().map_or(TIMEOUT_UNKNOWN, |settings| settings.timeout.0);
    let limit = timeout.saturating_add(TIMEOUT_SLACK);
    let elapsed = elapsed(run.at, view.now);
    if elapsed >= limit {
        let problem = format!("it took longer than {}, and builder {host} did not end it", crate::quantity::Span(timeout));
        return plan.end(id, RunState::Failed, Some(problem));
    }
    plan.wake(limit.saturating_sub(elapsed));
    let facts = view.fleet.hosts.get(host);
    if let Some(lost) = facts.filter(|facts| facts.liveness.is_away()) {
        plan.wake(LOST_GRACE.saturating_sub(lost.lost_for));
    }
    let wait = match (facts, report) {
        (Some(facts), _) if !facts.liveness.is_reachable() => {
            Wait::BuilderSilent { host: host.clone(), liveness: facts.liveness }
        }
        (_, Some(BuildReport { problem: Some(problem), .. })) => Wait::Builder { host: host.clone(), problem: problem.clone() },
        (_, Some(_)) => return,
        (_, None) => Wait::Told { host: host.clone() },
    };
    plan.waits.insert(id, wait);
}

/// What the builder of a run says of it.
pub(super) fn report<'a>(fleet: &'a Fleet, host: &HostName, run: &RunId) -> Option<&'a BuildReport> {
    fleet.hosts.get(host)?.full.as_ref()?.builds.iter().find(|build| build.run == *run)
}

/// The builder does no more for it.
fn over(id: RunId, run: &RunFacts, host: &HostName, report: &BuildReport, is_cancelled: bool, plan: &mut Plan) {
    if is_cancelled {
        return plan.end(id, RunState::Cancelled, None);
    }
    match report.phase {
        BuildPhase::Skipped => plan.end(id, RunState::Skipped, report.problem.clone()),
        BuildPhase::Cancelled => {
            plan.end(id, RunState::Cancelled, Some(format!("ended on builder {host} by somebody there")));
        }
        BuildPhase::Done => {
            let claimed = report.archive.as_ref().map(|archive| &archive.digest);
            if claimed.is_some() && claimed == run.archive.as_ref() {
                return plan.actions.push(super::Action::Assemble { run: id });
            }
            let problem = format!("builder {host} says that it is done, and its archive is not here; run it again");
            plan.end(id, RunState::Failed, Some(problem));
        }
        BuildPhase::Failed => plan.end(id, RunState::Failed, Some(why(report))),
        BuildPhase::Waiting
        | BuildPhase::Fetching
        | BuildPhase::Building
        | BuildPhase::Testing
        | BuildPhase::Packaging
        | BuildPhase::Uploading
        | BuildPhase::Unknown => {}
    }
}

/// Why a run failed, in one sentence that names the step.
fn why(report: &BuildReport) -> String {
    let failed = report.steps.iter().find(|step| step.has_failed());
    match (&report.problem, failed) {
        (Some(problem), _) => problem.clone(),
        (None, Some(step)) => {
            let how = step.problem.clone().or_else(|| step.exit.as_ref().map(ToString::to_string)).unwrap_or_default();
            format!("step {} failed: {how}", step.name())
        }
        (None, None) => "it failed on its builder, which does not say why; see its log".to_owned(),
    }
}

fn cancelling(view: &View<'_>, id: RunId, host: &HostName, since: Timestamp, plan: &mut Plan) {
    let waited = elapsed(since, view.now);
    if waited >= CANCEL_PATIENCE {
        return plan.end(id, RunState::Cancelled, Some(format!("builder {host} has not said that it ended it")));
    }
    plan.wake(CANCEL_PATIENCE.saturating_sub(waited));
    plan.waits.insert(id, Wait::Cancelling { host: host.clone() });
}

fn assembling(view: &View<'_>, id: RunId, run: &RunFacts, plan: &mut Plan) {
    if view.facts.is_deleted {
        return plan.end(id, RunState::Cancelled, Some("the pipeline was deleted".to_owned()));
    }
    if run.cancelled_at.is_some() {
        plan.end(id, RunState::Cancelled, None);
    }
}

fn deploying(id: RunId, run: &RunFacts, plan: &mut Plan) {
    if run.settings.as_ref().is_some_and(|settings| settings.deploy.is_none()) {
        return plan.end(id, RunState::Succeeded, None);
    }
    let Some(rollout) = &run.rollout else { return };
    let RolloutFacts { revision, newest, is_deleted, targets, waiting, stuck_for } = rollout;
    if *is_deleted {
        let problem = "its workload was deleted before every host was ready".to_owned();
        return plan.end(id, RunState::Succeeded, Some(problem));
    }
    match newest {
        Some(newest) if newest > revision => {
            let problem = format!("revision {newest} came before every host was ready in revision {revision}");
            return plan.end(id, RunState::Succeeded, Some(problem));
        }
        Some(newest) if newest == revision => {}
        Some(_) | None => return,
    }
    let Some((host, why)) = waiting.first_key_value() else {
        let problem = (*targets == 0).then(|| "the document matches no host".to_owned());
        return plan.end(id, RunState::Succeeded, problem);
    };
    let first = if why.is_empty() { host.to_string() } else { format!("{host}: {why}") };
    if *stuck_for >= DEPLOY_STUCK_AFTER {
        let minutes = DEPLOY_STUCK_AFTER.as_secs() / 60;
        let count = waiting.len();
        let problem =
            format!("revision {revision} is published, and {count} hosts are not ready after {minutes} minutes: {first}");
        return plan.end(id, RunState::Failed, Some(problem));
    }
    plan.wake(DEPLOY_STUCK_AFTER.saturating_sub(*stuck_for));
    plan.waits.insert(id, Wait::Hosts { count: waiting.len(), first });
}

/// All but the newest of those that are over; the newest that succeeded stays, too.
fn forget(view: &View<'_>, plan: &mut Plan) {
    let kept = match (&view.facts.settings, view.facts.is_deleted) {
        (_, true) => 0,
        (Some(settings), false) => usize::try_from(settings.keep_runs).unwrap_or(usize::MAX),
        (None, false) => return,
    };
    let over = || view.facts.runs.iter().rev().filter(|(_, run)| run.state.is_over());
    let newest_success = over().find(|(_, run)| run.state == RunState::Succeeded && !view.facts.is_deleted).map(|(n, _)| *n);
    for (number, _) in over().skip(kept).filter(|(number, run)| Some(**number) != newest_success && run.is_told) {
        plan.actions.push(super::Action::Forget { run: RunId { pipeline: view.name.clone(), number: *number } });
    }
}

/// Time between two readings of the clock that people see: those of a run outlive the process, and a monotonic one does not.
fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
