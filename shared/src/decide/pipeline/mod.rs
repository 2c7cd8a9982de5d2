//! Pipelines: which host looks at which source, when there is a run, who builds it, and when it is over.
//!
//! ```text
//!               look: new commit, somebody's wish            archive is here        image is there     hosts are ready
//!   (nothing) ───────────────────────────▶ Queued ─▶ Building ─────────▶ Assembling ─────────▶ Deploying ─────────▶ Succeeded
//!                                           │  ▲         │ │ failed, too long                                │ stuck
//!            newer commit: Superseded ◀─────┘  └─────────┘ └───▶ Failed, Skipped, Cancelled                  └────▶ Failed
//!                                          builder lost: once
//! ```
//!
//! Called on every change and on a timer, with nothing remembered between calls. The promises:
//!
//! - A commit that was seen makes one run; it is not built again because it failed, but whenever a person wants it.
//! - At most one run of a pipeline waits; a newer one takes its place. At most one is built or becomes an image, so that what is
//!   published is never older than what is there.
//! - A builder that is not heard of goes on building for a while; "not heard of" is taken for "lost" late, and once per run.
//! - What a host said before it was asked does not count: a look has to be newer than the question.
//!
//! Deliberately absent: how an image is made and published. Those are effects that can be tried again; what came of them is a fact here.

mod builders;
mod runs;
#[cfg(test)]
mod tests;
mod wait;

pub use runs::{ATTEMPTS_MAX, CANCEL_PATIENCE, DEPLOY_STUCK_AFTER, LOST_GRACE, TIMEOUT_SLACK};
pub use wait::Wait;

use super::liveness::Liveness;
use crate::names::{Commit, Digest, HostName, Labels, PipelineName, Revision, RunId};
use crate::pipeline::Pipeline;
use crate::wire::{FullReport, Head, HeadReport, RunState};
use builders::Builders;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Everything that is known.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// The pipelines, the deleted ones that still have runs included.
    pub pipelines: BTreeMap<PipelineName, PipelineFacts>,
    /// Every known host.
    pub hosts: BTreeMap<HostName, BuilderFacts>,
}

/// One pipeline.
#[derive(Debug, Clone, Default)]
pub struct PipelineFacts {
    /// Its text, parsed; absent where it is deleted, or this version cannot read it.
    pub settings: Option<Arc<Pipeline>>,
    /// Whether it is deleted: nothing new begins.
    pub is_deleted: bool,
    /// The host that looks at its source.
    pub watcher: Option<HostName>,
    /// Looks that were asked for so far.
    pub asked: u64,
    /// A look counts if it was made after this many were asked for: the watcher and the text are those of now from there on.
    pub fresh: u64,
    /// The commit that was seen and acted on last.
    pub seen: Option<Commit>,
    /// A run that somebody wants.
    pub wanted: Option<Wanted>,
    /// The host that built it last: its caches are warm.
    pub last_builder: Option<HostName>,
    /// Its runs by number, those included that are over and still kept.
    pub runs: BTreeMap<u64, RunFacts>,
}

/// A run that somebody wants, of what the source holds when it is looked at next.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Wanted {
    /// The look has to be as new as this.
    pub asked: u64,
    /// Why.
    pub cause: Cause,
    /// What is built; what the source holds where absent.
    #[serde(default)]
    pub commit: Option<Commit>,
    /// Whether its workload may be taken from another source of documents.
    #[serde(default)]
    pub take_over: bool,
}

/// Why there is a run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The source holds a commit that was not there before.
    Push,
    /// A person wants it, by the name of the token.
    Manual(String),
    /// It is time.
    Schedule,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Push => f.write_str("push"),
            Self::Manual(who) => write!(f, "manual by {who}"),
            Self::Schedule => f.write_str("schedule"),
        }
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// How far it is.
    pub state: RunState,
    /// The pipeline as it was when the run was made; absent where this version cannot read it, or nothing of it matters any more.
    pub settings: Option<Arc<Pipeline>>,
    /// Who builds it, or built it.
    pub builder: Option<HostName>,
    /// How often it was given to a builder.
    pub attempt: u32,
    /// When it came into its state.
    pub at: Timestamp,
    /// Since when somebody wants it to end.
    pub cancelled_at: Option<Timestamp>,
    /// The archive that is here, if it is.
    pub archive: Option<Digest>,
    /// What it published, and how far the hosts are.
    pub rollout: Option<RolloutFacts>,
    /// Whether those who want to know of its end were told, or nobody wants to.
    pub is_told: bool,
}

/// How far the hosts are with what a run published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutFacts {
    /// What it published.
    pub revision: Revision,
    /// The workload's newest revision; absent while the controller has not seen what was published.
    pub newest: Option<Revision>,
    /// Whether the workload is deleted.
    pub is_deleted: bool,
    /// Hosts that the document selects.
    pub targets: u32,
    /// Those that are not ready and not away, and why.
    pub waiting: BTreeMap<HostName, String>,
    /// How long nothing has moved.
    pub stuck_for: Duration,
}

/// A host, as one that may build.
#[derive(Debug, Clone)]
pub struct BuilderFacts {
    /// As it last reported them.
    pub labels: Labels,
    /// Whether it is heard of.
    pub liveness: Liveness,
    /// How long it counts as lost already.
    pub lost_for: Duration,
    /// What it said last; absent if it said nothing since the coordinator started.
    pub full: Option<Arc<FullReport>>,
}

/// What to do. Each is one change of one record, or of one and the runs that it replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// From now on this host looks at the source, or none.
    Watch {
        /// Whose.
        pipeline: PipelineName,
        /// Who.
        host: Option<HostName>,
    },
    /// There is a new run; the one that waits is replaced by it.
    Make {
        /// Of which pipeline.
        pipeline: PipelineName,
        /// Of what.
        head: Head,
        /// Why.
        cause: Cause,
        /// Whether its workload may be taken from another source of documents.
        take_over: bool,
    },
    /// It is given to a builder.
    Assign {
        /// Which run.
        run: RunId,
        /// To whom.
        host: HostName,
    },
    /// It waits for a builder again.
    Requeue {
        /// Which run.
        run: RunId,
        /// Why.
        problem: String,
    },
    /// Its archive is here and becomes an image.
    Assemble {
        /// Which run.
        run: RunId,
    },
    /// It is over.
    End {
        /// Which run.
        run: RunId,
        /// How.
        state: RunState,
        /// Why, with the cure where there is one.
        problem: Option<String>,
    },
    /// It is over for so long that nobody asks.
    Forget {
        /// Which run.
        run: RunId,
    },
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do.
    pub actions: Vec<Action>,
    /// Why a run does not go on.
    pub waits: BTreeMap<RunId, Wait>,
    /// Why a source is not looked at, or cannot be seen.
    pub problems: BTreeMap<PipelineName, Vec<String>>,
    /// When to decide again although nothing has changed.
    pub wake_in: Option<Duration>,
}

impl Plan {
    fn wake(&mut self, after: Duration) {
        self.wake_in = Some(self.wake_in.map_or(after, |earlier| earlier.min(after)));
    }

    fn end(&mut self, run: RunId, state: RunState, problem: Option<String>) {
        self.actions.push(Action::End { run, state, problem });
    }
}

/// Decides for all pipelines.
pub fn decide(fleet: &Fleet, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut builders = Builders::new(fleet);
    for (name, facts) in &fleet.pipelines {
        watch(name, facts, &mut builders, &mut plan);
        let is_replaced = make(name, facts, fleet, &mut plan);
        runs::decide(&runs::View { name, facts, fleet, now, is_replaced }, &mut builders, &mut plan);
    }
    plan
}

/// Who looks at the source: the one who did, as long as it can.
fn watch(name: &PipelineName, facts: &PipelineFacts, builders: &mut Builders<'_>, plan: &mut Plan) {
    let settings = facts.settings.as_ref().filter(|_| !facts.is_deleted);
    let Some(settings) = settings else {
        if facts.watcher.is_some() {
            plan.actions.push(Action::Watch { pipeline: name.clone(), host: None });
        }
        return;
    };
    if let Some(watcher) = &facts.watcher {
        match builders.keeps_watch(watcher, &settings.hosts) {
            builders::Keeps::Yes => {
                let look = look(name, facts, builders.fleet);
                plan.problems.entry(name.clone()).or_default().extend(look.and_then(|look| look.problem.clone()));
                return;
            }
            builders::Keeps::For(left) => return plan.wake(left),
            builders::Keeps::No => {}
        }
    }
    match builders.watcher(&settings.hosts, facts.last_builder.as_ref()) {
        Ok(host) => plan.actions.push(Action::Watch { pipeline: name.clone(), host: Some(host) }),
        Err(wait) => {
            plan.problems.entry(name.clone()).or_default().push(wait.to_string());
            if facts.watcher.is_some() {
                plan.actions.push(Action::Watch { pipeline: name.clone(), host: None });
            }
        }
    }
}

/// The last look of the host that has to look, if it is newer than the question.
pub fn look<'a>(name: &PipelineName, facts: &PipelineFacts, fleet: &'a Fleet) -> Option<&'a HeadReport> {
    let full = fleet.hosts.get(facts.watcher.as_ref()?)?.full.as_ref()?;
    full.heads.iter().find(|head| head.pipeline == *name && head.asked >= facts.fresh)
}

/// A new run, if there is reason for one. Answers whether there is.
fn make(name: &PipelineName, facts: &PipelineFacts, fleet: &Fleet, plan: &mut Plan) -> bool {
    if facts.is_deleted || facts.settings.is_none() {
        return false;
    }
    let Some((head, cause, take_over)) = reason(name, facts, fleet) else { return false };
    plan.actions.push(Action::Make { pipeline: name.clone(), head, cause, take_over });
    for (number, run) in &facts.runs {
        if run.state == RunState::Queued {
            let problem = "a newer run took its place".to_owned();
            plan.end(RunId { pipeline: name.clone(), number: *number }, RunState::Superseded, Some(problem));
        }
    }
    true
}

/// What is to be built now, and why.
fn reason(name: &PipelineName, facts: &PipelineFacts, fleet: &Fleet) -> Option<(Head, Cause, bool)> {
    if let Some(Wanted { commit: Some(commit), cause, take_over, .. }) = &facts.wanted {
        let head = Head { commit: commit.clone(), reference: commit.short().to_owned() };
        return Some((head, cause.clone(), *take_over));
    }
    // A look that failed may still tell what an earlier one saw.
    let look = look(name, facts, fleet).filter(|look| look.problem.is_none())?;
    let head = look.head.clone()?;
    match &facts.wanted {
        Some(wanted) if look.asked >= wanted.asked => Some((head, wanted.cause.clone(), wanted.take_over)),
        None if facts.seen.as_ref() != Some(&head.commit) => Some((head, Cause::Push, false)),
        Some(_) | None => None,
    }
}
