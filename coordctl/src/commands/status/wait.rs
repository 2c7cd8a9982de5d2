//! Waiting until all is as desired.
//!
//! A coordinator that cannot be reached for a moment is waited for too: it may be starting, or being upgraded.

use super::converge::shortfalls;
use super::render::problem_line;
use super::{concerns, is_of_a_document};
use crate::client::{Client, ClientError};
use crate::clock;
use crate::failure::Failure;
use crate::output::Output;
use coord_shared::names::{Revision, WorkloadName};
use coord_shared::quantity::Span;
use coord_shared::wire::StatusView;
use std::time::Duration;

/// Time between two looks: short enough for scripts, and a coordinator answers thousands a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);
/// Most reasons that a timeout names.
const REASONS_MAX: usize = 20;

/// What is waited for.
#[derive(Debug, Clone)]
pub(in crate::commands) enum Goal {
    /// Every workload is as desired and no document is broken.
    All,
    /// These workloads are as desired, each in at least the revision given.
    Converged(Vec<(WorkloadName, Option<Revision>)>),
    /// These workloads and all their containers are gone.
    Gone(Vec<WorkloadName>),
}

/// The goal was not reached in time.
#[derive(Debug)]
pub(in crate::commands) struct WaitTimeout {
    /// What was seen last; absent if the coordinator never answered.
    pub(super) status: Option<StatusView>,
    failure: Failure,
}

impl From<WaitTimeout> for Failure {
    fn from(timeout: WaitTimeout) -> Self {
        timeout.failure
    }
}

/// Looks until the goal is reached, and gives the status that shows it. Errors at the timeout, and at once for an error that time
/// does not mend (a wrong token).
pub(in crate::commands) async fn wait(
    client: &Client,
    output: &Output,
    goal: &Goal,
    timeout: Duration,
) -> Result<StatusView, WaitTimeout> {
    let deadline = clock::instant() + timeout;
    let mut progress = output.progress();
    let mut last: Option<StatusView> = None;
    let mut missing = vec!["the status is not known yet".to_owned()];
    loop {
        match tokio::time::timeout_at(deadline, client.status()).await {
            Ok(Ok(status)) => {
                missing = goal.missing(&status);
                last = Some(status);
            }
            Ok(Err(error)) if error.is_passing() => missing = vec![unanswered(error)],
            Ok(Err(error)) => return Err(WaitTimeout { status: None, failure: error.into() }),
            Err(_) => {}
        }
        if let (Some(status), []) = (&last, missing.as_slice()) {
            return Ok(status.clone());
        }
        if clock::instant() >= deadline {
            return Err(WaitTimeout { status: last, failure: failure(missing, timeout) });
        }
        progress.show(&words(&missing));
        tokio::time::sleep_until((clock::instant() + LOOK_INTERVAL).min(deadline)).await;
    }
}

impl Goal {
    /// What keeps the goal from being reached, a line each; empty when it is reached.
    pub(super) fn missing(&self, status: &StatusView) -> Vec<String> {
        match self {
            Self::All => {
                let mut missing: Vec<String> =
                    status.problems.iter().filter(|problem| is_of_a_document(problem)).map(problem_line).collect();
                let names = status.workloads.iter().map(|workload| (&workload.name, None));
                missing.extend(names.flat_map(|(name, revision)| of_workload(status, name, revision)));
                missing
            }
            Self::Converged(names) => {
                let mut missing = Vec::new();
                for (name, revision) in names {
                    missing.extend(status.problems.iter().filter(|problem| concerns(problem, name)).map(problem_line));
                    missing.extend(of_workload(status, name, *revision));
                }
                missing
            }
            Self::Gone(names) => {
                let left = status.workloads.iter().filter(|workload| names.contains(&workload.name));
                left.map(|workload| {
                    let on: Vec<_> = workload.instances.iter().map(|instance| instance.host.clone()).collect();
                    format!("{} is still on {}", workload.name, super::super::words::hosts(&on, false))
                })
                .collect()
            }
        }
    }
}

fn of_workload(status: &StatusView, name: &WorkloadName, at_least: Option<Revision>) -> Vec<String> {
    let Some(workload) = status.workloads.iter().find(|workload| workload.name == *name) else {
        return vec![format!("{name} is not published")];
    };
    if let Some(revision) = at_least.filter(|revision| workload.revision.is_none_or(|newest| newest < *revision)) {
        return vec![format!("{name}: revision {revision} is not there yet")];
    }
    let found = shortfalls(workload, status.now).into_iter();
    found
        .map(|shortfall| match shortfall.host {
            Some(host) => format!("{name} on {host}: {}{}", shortfall.text, shortfall.when),
            None => format!("{name}: {}{}", shortfall.text, shortfall.when),
        })
        .collect()
}

fn unanswered(error: ClientError) -> String {
    Failure::from(error).message
}

/// For the progress line.
fn words(missing: &[String]) -> String {
    match missing {
        [] => "waiting".to_owned(),
        [one] => format!("waiting: {one}"),
        [first, rest @ ..] => format!("waiting: {first}, and {} more", rest.len()),
    }
}

fn failure(missing: Vec<String>, timeout: Duration) -> Failure {
    let more = missing.len().saturating_sub(REASONS_MAX);
    let mut lines: Vec<String> = missing.into_iter().take(REASONS_MAX).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    let detail = lines.iter().map(|line| format!("  {}", crate::output::printable(line))).collect::<Vec<_>>().join("\n");
    Failure::new(format!("not as desired after {}", Span(timeout)))
        .hint("--timeout waits longer; the coordinator and the agents go on trying meanwhile")
        .detail(Some(detail))
}
