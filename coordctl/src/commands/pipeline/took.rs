//! How long things took, for people: exact where it is short, rounded where nobody cares.

use crate::output::Tone;
use coord_shared::wire::{RunState, RunView};
use jiff::Timestamp;

/// `850ms`, `12.3s`, `2m05s`, `1h02m`.
pub(super) fn took(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..60 => format!("{seconds}.{}s", milliseconds % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// From one time to another; what runs backwards took nothing.
pub(super) fn between(from: Timestamp, to: Timestamp) -> String {
    let milliseconds = to.as_millisecond().saturating_sub(from.as_millisecond());
    took(u64::try_from(milliseconds).unwrap_or(0))
}

/// How long a run took, or goes on by now.
pub(super) fn of_run(run: &RunView, now: Timestamp) -> String {
    between(run.made_at, run.ended_at.unwrap_or(now))
}

/// What a state means for whoever looks.
pub(super) fn tone(state: RunState) -> Tone {
    match state {
        RunState::Succeeded => Tone::Good,
        RunState::Queued | RunState::Building | RunState::Assembling | RunState::Deploying => Tone::Warn,
        RunState::Failed => Tone::Bad,
        RunState::Cancelled | RunState::Superseded | RunState::Skipped | RunState::Unknown => Tone::Faint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_exact_as_anybody_cares() {
        let check = |milliseconds: u64, expect: &str| assert_eq!(took(milliseconds), expect);
        check(0, "0ms");
        check(999, "999ms");
        check(1000, "1.0s");
        check(12_390, "12.3s");
        check(59_999, "59.9s");
        check(60_000, "1m00s");
        check(3_599_000, "59m59s");
        check(3_720_000, "1h02m");
    }
}
