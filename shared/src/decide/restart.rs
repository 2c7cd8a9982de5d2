//! Restart: what follows when a container has ended by itself, could not be started, or is ill.

use super::backoff::{self, Backoff};
use crate::document::{RestartPolicy, RestartSettings};
use crate::quantity::Span;
use crate::wire::Exit;
use std::time::Duration;

/// A container that did well for this long was stable: what went wrong before no longer counts. Where the document says nothing else.
pub const WINDOW_DEFAULT: Span = Span::seconds(10);

/// What to do with an instance whose container has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterEnd {
    /// Start again once this long has passed since then.
    StartAfter(Duration),
    /// Leave it ended; it did its work.
    Completed,
    /// Leave it as it is; it failed, and this asks for no more.
    GivenUp(Bound),
}

/// What bounds restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The document's `restart`.
    Policy(RestartPolicy),
    /// Its `restart_policy.max_attempts`.
    MaxAttempts(u32),
}

impl std::fmt::Display for Bound {
    /// As the document says it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy(RestartPolicy::No) => f.write_str("restart = \"no\""),
            Self::Policy(RestartPolicy::Always) => f.write_str("restart = \"always\""),
            Self::Policy(RestartPolicy::OnFailure(None)) => f.write_str("restart = \"on-failure\""),
            Self::Policy(RestartPolicy::OnFailure(Some(max))) => write!(f, "restart = \"on-failure:{max}\""),
            Self::MaxAttempts(max) => write!(f, "restart_policy.max_attempts = {max}"),
        }
    }
}

/// Judges an exit. `failures` counts the ends in a row of containers that were not stable, this one included.
pub fn after_exit(policy: RestartPolicy, settings: &RestartSettings, exit: &Exit, failures: u32) -> AfterEnd {
    match policy {
        RestartPolicy::No | RestartPolicy::OnFailure(_) if exit.is_success() => AfterEnd::Completed,
        RestartPolicy::Always | RestartPolicy::No | RestartPolicy::OnFailure(_) => {
            after_failure(policy, settings, failures).map_or_else(AfterEnd::GivenUp, AfterEnd::StartAfter)
        }
    }
}

/// How long after its end a container that failed is started again, or what asks for no more. One that is ill is ended only to be
/// started again: where nothing would follow, it is left as it is.
pub fn after_failure(policy: RestartPolicy, settings: &RestartSettings, failures: u32) -> Result<Duration, Bound> {
    match policy {
        RestartPolicy::No => Err(Bound::Policy(policy)),
        RestartPolicy::OnFailure(Some(max)) if failures > max => Err(Bound::Policy(policy)),
        RestartPolicy::Always | RestartPolicy::OnFailure(_) => after_failed_start(settings, failures),
    }
}

/// The same of one that could not be started: whatever its policy, it has not done anything yet.
pub fn after_failed_start(settings: &RestartSettings, failures: u32) -> Result<Duration, Bound> {
    match settings.max_attempts {
        Some(max) if failures > max => Err(Bound::MaxAttempts(max)),
        Some(_) | None => Ok(pace(settings).delay(failures.max(1))),
    }
}

/// How long a container must do well to count as stable.
pub fn window(settings: &RestartSettings) -> Span {
    settings.window.unwrap_or(WINDOW_DEFAULT)
}

/// The count of unstable ends in a row after one more end.
pub fn count_failure(failures: u32, was_stable: bool) -> u32 {
    if was_stable { 1 } else { failures.saturating_add(1) }
}

fn pace(settings: &RestartSettings) -> Backoff {
    // Less than the usual pause would only keep the host busy.
    let base = settings.delay.map_or(backoff::RESTART.base, |delay| delay.0).max(backoff::RESTART.base);
    Backoff { base, max: backoff::RESTART.max.max(base) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING_SAID: RestartSettings = RestartSettings { delay: None, max_attempts: None, window: None };

    fn check(policy: RestartPolicy, code: Option<i32>, failures: u32, expect: AfterEnd) {
        check_with(policy, NOTHING_SAID, code, failures, expect);
    }

    fn check_with(policy: RestartPolicy, settings: RestartSettings, code: Option<i32>, failures: u32, expect: AfterEnd) {
        let exit = Exit { code, signal: None, oom_killed: false, memory_limit: None, at: jiff::Timestamp::UNIX_EPOCH };
        assert_eq!(after_exit(policy, &settings, &exit, failures), expect, "{policy:?} {settings:?} {code:?} {failures}");
    }

    fn wait(ms: u64) -> AfterEnd {
        AfterEnd::StartAfter(Duration::from_millis(ms))
    }

    fn given_up(policy: RestartPolicy) -> AfterEnd {
        AfterEnd::GivenUp(Bound::Policy(policy))
    }

    #[test]
    fn policies() {
        check(RestartPolicy::Always, Some(0), 1, wait(100));
        check(RestartPolicy::Always, Some(1), 3, wait(400));
        check(RestartPolicy::No, Some(0), 1, AfterEnd::Completed);
        check(RestartPolicy::No, Some(1), 1, given_up(RestartPolicy::No));
        check(RestartPolicy::No, None, 1, given_up(RestartPolicy::No));
        check(RestartPolicy::OnFailure(None), Some(0), 1, AfterEnd::Completed);
        check(RestartPolicy::OnFailure(None), Some(1), 9, wait(25_600));
        check(RestartPolicy::OnFailure(Some(2)), Some(1), 2, wait(200));
        check(RestartPolicy::OnFailure(Some(2)), Some(1), 3, given_up(RestartPolicy::OnFailure(Some(2))));
        // An end that nobody saw is no success.
        check(RestartPolicy::OnFailure(None), None, 1, wait(100));
    }

    #[test]
    fn settings_bound_and_pace_every_policy() {
        let settings = RestartSettings { delay: Some(Span::seconds(2)), max_attempts: Some(3), window: None };
        check_with(RestartPolicy::Always, settings, Some(0), 1, wait(2_000));
        check_with(RestartPolicy::Always, settings, Some(1), 3, wait(8_000));
        check_with(RestartPolicy::Always, settings, Some(1), 4, AfterEnd::GivenUp(Bound::MaxAttempts(3)));
        check_with(RestartPolicy::OnFailure(None), settings, Some(1), 4, AfterEnd::GivenUp(Bound::MaxAttempts(3)));
        check_with(RestartPolicy::No, settings, Some(1), 1, given_up(RestartPolicy::No));
        assert_eq!(after_failed_start(&settings, 4), Err(Bound::MaxAttempts(3)));
        assert_eq!(after_failed_start(&NOTHING_SAID, 400), Ok(Duration::from_secs(60)));
        // A pause that is longer than the longest usual one is taken at its word.
        let slow = RestartSettings { delay: Some(Span::seconds(300)), ..NOTHING_SAID };
        check_with(RestartPolicy::Always, slow, Some(1), 5, wait(300_000));
        // None at all would keep the host busy with nothing else.
        let at_once = RestartSettings { delay: Some(Span::seconds(0)), ..NOTHING_SAID };
        check_with(RestartPolicy::Always, at_once, Some(1), 5, wait(1_600));
    }

    #[test]
    fn a_stable_run_starts_the_count_anew() {
        assert_eq!(count_failure(7, true), 1);
        assert_eq!(count_failure(7, false), 8);
        assert_eq!(window(&NOTHING_SAID), Span::seconds(10));
    }
}
