//! Restart: what follows when a container has ended by itself.

use super::backoff;
use crate::document::RestartPolicy;
use crate::wire::Exit;
use std::time::Duration;

/// A container that ran this long was stable: what went wrong before no longer counts.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);

/// What to do with an instance whose container has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterExit {
    /// Start again once this long has passed since it ended.
    StartAfter(Duration),
    /// Leave it ended; it did its work.
    Completed,
    /// Leave it ended; it failed, and its policy asks for no more.
    GivenUp,
}

/// Judges an exit. `failures` counts the ends in a row of containers that were not stable, this one included.
pub fn after_exit(policy: RestartPolicy, exit: &Exit, failures: u32) -> AfterExit {
    match policy {
        RestartPolicy::Always => AfterExit::StartAfter(backoff::RESTART.delay(failures.max(1))),
        RestartPolicy::No | RestartPolicy::OnFailure(_) if exit.is_success() => AfterExit::Completed,
        RestartPolicy::No => AfterExit::GivenUp,
        RestartPolicy::OnFailure(Some(max)) if failures > max => AfterExit::GivenUp,
        RestartPolicy::OnFailure(_) => AfterExit::StartAfter(backoff::RESTART.delay(failures.max(1))),
    }
}

/// The count of unstable ends in a row after one more end.
pub fn count_failure(failures: u32, ran_for: Duration) -> u32 {
    if ran_for >= STABLE_AFTER { 1 } else { failures.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: RestartPolicy, code: Option<i32>, failures: u32, expect: AfterExit) {
        let exit = Exit { code, signal: None, oom_killed: false, at: jiff::Timestamp::UNIX_EPOCH };
        assert_eq!(after_exit(policy, &exit, failures), expect, "{policy:?} {code:?} {failures}");
    }

    #[test]
    fn policies() {
        let wait = |ms| AfterExit::StartAfter(Duration::from_millis(ms));
        check(RestartPolicy::Always, Some(0), 1, wait(100));
        check(RestartPolicy::Always, Some(1), 3, wait(400));
        check(RestartPolicy::No, Some(0), 1, AfterExit::Completed);
        check(RestartPolicy::No, Some(1), 1, AfterExit::GivenUp);
        check(RestartPolicy::No, None, 1, AfterExit::GivenUp);
        check(RestartPolicy::OnFailure(None), Some(0), 1, AfterExit::Completed);
        check(RestartPolicy::OnFailure(None), Some(1), 9, wait(25_600));
        check(RestartPolicy::OnFailure(Some(2)), Some(1), 2, wait(200));
        check(RestartPolicy::OnFailure(Some(2)), Some(1), 3, AfterExit::GivenUp);
        // An end that nobody saw is no success.
        check(RestartPolicy::OnFailure(None), None, 1, wait(100));
    }

    #[test]
    fn a_stable_run_starts_the_count_anew() {
        assert_eq!(count_failure(7, Duration::from_secs(10)), 1);
        assert_eq!(count_failure(7, Duration::from_secs(9)), 8);
    }
}
