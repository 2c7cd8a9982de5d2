//! Whether a workload is as desired, and if not, what is missing where.
//!
//! Strict on purpose: what was not said is not taken for well. An instance is as desired when the host is told to run the newest
//! revision, has said that it does, is heard of, and the instance is ready (or a job that did its work).

use crate::output::{age, until};
use coord_shared::decide::reason::{AfterUnhealthy, Reason};
use coord_shared::names::{HostName, Revision};
use coord_shared::wire::{InstanceReport, InstanceView, PrefetchState, WorkloadView};
use jiff::Timestamp;

/// How bad a shortfall is. Ordered: the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// Somebody should look.
    Failing,
    /// It is being worked on.
    Working,
    /// It waits for something else.
    Waiting,
}

/// One thing that is not as desired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shortfall {
    /// Where; absent where it concerns the workload as a whole.
    pub(super) host: Option<HostName>,
    pub(super) grade: Grade,
    /// The reason in one line.
    pub(super) text: String,
    /// When it will change, or since when it lasts: `, again in 12s`. Empty where neither is known.
    pub(super) when: String,
}

impl Shortfall {
    fn new(host: Option<&HostName>, grade: Grade, text: impl Into<String>) -> Self {
        Self { host: host.cloned(), grade, text: text.into(), when: String::new() }
    }

    fn of_reason(host: Option<&HostName>, reason: &Reason, since: Option<Timestamp>, now: Timestamp) -> Self {
        Self { when: when(reason, since, now), ..Self::new(host, grade(reason), reason.to_string()) }
    }
}

impl Shortfall {
    /// A host that waits for its turn, with how far the image is there. One that cannot be fetched will hold up its turn: that is worth
    /// a look already.
    fn with_image(self, image: &PrefetchState) -> Self {
        let grade = if matches!(image, PrefetchState::Failed { .. }) { Grade::Working } else { self.grade };
        Self { text: format!("{}; {image}", self.text), grade, ..self }
    }
}

/// Everything that keeps the workload from being as desired, the worst first, then by host. Empty: it is as desired.
pub(super) fn shortfalls(workload: &WorkloadView, now: Timestamp) -> Vec<Shortfall> {
    let mut found: Vec<Shortfall> = Vec::new();
    let as_a_whole = workload.reasons.iter().filter(|reason| !reason.is_content());
    found.extend(as_a_whole.map(|reason| Shortfall::of_reason(None, reason, None, now)));
    found.extend(workload.instances.iter().filter_map(|instance| of_instance(instance, workload.revision, now)));
    if found.is_empty() {
        found.extend(unexplained(workload));
    }
    found.sort_by(|a, b| (a.host.is_some(), a.grade, &a.host).cmp(&(b.host.is_some(), b.grade, &b.host)));
    found
}

/// Why a workload is not as desired although nothing says so.
fn unexplained(workload: &WorkloadView) -> Option<Shortfall> {
    let settled = workload.instances.iter().filter(|instance| instance.assigned.is_some()).count();
    if workload.deleting {
        return Some(Shortfall::new(None, Grade::Working, "being deleted"));
    }
    if workload.revision.is_none() {
        return Some(Shortfall::new(None, Grade::Waiting, "not published yet"));
    }
    let missing = (workload.targets as usize).saturating_sub(settled);
    (missing > 0).then(|| Shortfall::new(None, Grade::Waiting, format!("{missing} of its targets are not told yet")))
}

fn of_instance(instance: &InstanceView, newest: Option<Revision>, now: Timestamp) -> Option<Shortfall> {
    let host = Some(&instance.host);
    let report = instance.report.as_ref();
    let since = report.map(|report| report.since);
    let reachable = instance.liveness.is_reachable();
    let told = instance.reason.as_ref();
    let said = report.and_then(|report| report.reason.as_ref());
    let completed = said.is_some_and(Reason::is_content);
    // What a job did, it has done: nothing is waited for on its host, whatever the coordinator thinks.
    let told_nothing = told.is_none_or(|told| told.is_content() || (completed && matches!(told, Reason::WaitingForHost { .. })));
    let done = reachable
        && instance.assigned.is_some()
        && instance.assigned == newest
        && report.is_some_and(|report| report.revision == newest && (report.ready || completed))
        && told_nothing;
    if done {
        return None;
    }
    // The agent's word is the fresher and closer one, unless it cannot be heard or the coordinator's is worse news.
    let said = said.filter(|_| reachable);
    let reason = [said, told].into_iter().flatten().filter(|reason| !reason.is_content()).min_by_key(|reason| grade(reason));
    if let Some(reason) = reason {
        let since = since.filter(|_| reachable && Some(reason) == said);
        let shortfall = Shortfall::of_reason(host, reason, since, now);
        return Some(match &instance.prefetch {
            Some(image) if reachable && matches!(reason, Reason::WaitingForTurn { .. }) => shortfall.with_image(image),
            Some(_) | None => shortfall,
        });
    }
    let text = match (instance.assigned, report) {
        _ if !reachable => format!("host is {}; what it runs is not known", instance.liveness),
        (None, None) => "not told yet".to_owned(),
        (None, Some(report)) => format!("no longer wanted here, {}", report.state),
        (Some(assigned), None) => format!("told to run revision {assigned}, and has not answered"),
        (Some(assigned), Some(_)) if Some(assigned) != newest => format!("still told to run revision {assigned}"),
        (Some(assigned), Some(report)) if report.revision != Some(assigned) => match report.revision {
            Some(revision) => format!("{}, revision {revision}; told to run revision {assigned}", report.state),
            None => format!("{}; told to run revision {assigned}", report.state),
        },
        (Some(_), Some(report)) => format!("{}, not ready", report.state),
    };
    Some(Shortfall::new(host, if reachable { Grade::Working } else { Grade::Failing }, text))
}

/// What an instance that is as desired still does: the container before it has its last connections.
pub(super) fn aftermath(report: &InstanceReport, now: Timestamp) -> Option<Shortfall> {
    let reason = report.reason.as_ref().filter(|reason| matches!(reason, Reason::Draining { .. }))?;
    Some(Shortfall::of_reason(None, reason, None, now))
}

fn grade(reason: &Reason) -> Grade {
    match reason {
        Reason::PullFailed { .. }
        | Reason::StartFailed { .. }
        | Reason::NotStarted { .. }
        | Reason::PortTaken { .. }
        | Reason::RestartBackoff { .. }
        | Reason::Unhealthy { .. }
        | Reason::NotRestarted { .. }
        | Reason::DocumentRejected { .. }
        | Reason::HostLost { .. }
        | Reason::NoHostMatches
        | Reason::HostNotKnown { .. }
        | Reason::RemoveFailed { .. }
        | Reason::ImageUnresolved { .. } => Grade::Failing,
        Reason::Pulling { .. }
        | Reason::Starting
        | Reason::WaitingForHealth { .. }
        | Reason::Draining { .. }
        | Reason::StoppingPrevious { .. }
        | Reason::Stopping { .. }
        | Reason::Removing => Grade::Working,
        Reason::Completed
        | Reason::WaitingForTurn { .. }
        | Reason::WaitingForHost { .. }
        | Reason::Monitoring { .. }
        | Reason::HostUnknown
        | Reason::Unknown => Grade::Waiting,
    }
}

/// The end of a reason's line: when it passes or is tried again, else since when it lasts.
fn when(reason: &Reason, since: Option<Timestamp>, now: Timestamp) -> String {
    if let Some(due) = reason.due() {
        let left = until(now, due).map_or_else(|| "now".to_owned(), |left| format!("in {left}"));
        let stops = matches!(
            reason,
            Reason::Stopping { .. }
                | Reason::StoppingPrevious { .. }
                | Reason::Unhealthy { then: AfterUnhealthy::Stopping { .. }, .. }
        );
        let watched = matches!(reason, Reason::Monitoring { .. } | Reason::Draining { .. });
        let what = if stops {
            "killed"
        } else if watched {
            "over"
        } else {
            "again"
        };
        return format!(", {what} {left}");
    }
    let since = if let Reason::HostLost { last_seen } = reason {
        Some(*last_seen)
    } else if let Reason::NotRestarted { exit, .. } = reason {
        Some(exit.at)
    } else {
        since
    };
    since.map_or_else(String::new, |since| format!(", for {}", age(now, since)))
}
