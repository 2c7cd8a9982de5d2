//! Whether an instance that has no live container of its make is started now: what the restart rule makes of its history.

use super::{End, History, Spec};
use crate::decide::reason::{AfterUnhealthy, Reason};
use crate::decide::restart::{self, AfterEnd};
use crate::decide::{Mono, Now};
use std::time::Duration;

/// What the restart rule says.
pub(super) enum StartDecision {
    Now,
    At(Mono, Reason),
    Never(Reason),
}

/// Decides whether an instance without a live container of its make is started now.
pub(super) fn start_decision(spec: &Spec, history: Option<&History>, now: Now) -> StartDecision {
    let Some(history) = history.filter(|history| history.fingerprint == spec.fingerprint) else {
        return StartDecision::Now;
    };
    let (policy, settings) = (spec.document.restart, &spec.document.restart_policy);
    let restarts = history.restarts;
    match &history.last_end {
        None => StartDecision::Now,
        Some(End::StartFailed { error, at }) => {
            let (error, attempts) = (error.clone(), history.failures);
            match restart::after_failed_start(settings, attempts) {
                Ok(delay) => after(*at, delay, now, |retry_at| Reason::StartFailed { error, attempts, retry_at }),
                Err(bound) => StartDecision::Never(Reason::NotStarted { error, attempts, policy: bound.to_string() }),
            }
        }
        Some(End::Exited { exit, at }) => match restart::after_exit(policy, settings, exit, history.failures) {
            AfterEnd::StartAfter(delay) => {
                after(*at, delay, now, |retry_at| Reason::RestartBackoff { exit: *exit, restarts, retry_at })
            }
            AfterEnd::Completed => StartDecision::Never(Reason::Completed),
            AfterEnd::GivenUp(bound) => StartDecision::Never(Reason::NotRestarted { exit: *exit, policy: bound.to_string() }),
        },
        Some(End::Unhealthy { failures, output, at, .. }) => {
            let reason = |then| Reason::Unhealthy { failures: *failures, output: output.clone(), then };
            match restart::after_failure(policy, settings, history.failures) {
                Ok(delay) => after(*at, delay, now, |retry_at| reason(AfterUnhealthy::Restarted { restarts, retry_at })),
                Err(bound) => StartDecision::Never(reason(AfterUnhealthy::NotRestarted { policy: bound.to_string() })),
            }
        }
    }
}

/// `delay` after `at`, if that is not past.
fn after(at: Mono, delay: Duration, now: Now, reason: impl FnOnce(jiff::Timestamp) -> Reason) -> StartDecision {
    let due = at.in_this_boot(now.mono).after(delay);
    if now.mono >= due { StartDecision::Now } else { StartDecision::At(due, reason(now.wall_at(due))) }
}
