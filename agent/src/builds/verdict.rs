//! What the end of a step means, in words. Pure.

use super::disk::TooMuch;
use super::record::StepEnd;
use coord_runtime as runtime;
use coord_shared::quantity::{ByteSize, Span};
use coord_shared::wire::Exit;

/// Why a step was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its time was over.
    StepTime(Span),
    /// The time of the whole run was over.
    RunTime(Span),
    /// It took more of the disk than it may.
    Disk(TooMuch),
    /// Somebody wanted that.
    Stopped,
}

/// What a step was allowed, and how often it asked for more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) memory_bytes: u64,
    pub(super) pids: u32,
    /// How often it was refused one more process.
    pub(super) pids_refused: u64,
    pub(super) disk_bytes: u64,
}

/// The step's end, as it is told.
pub(super) fn verdict(exit: &runtime::Exit, why: Option<Why>, bounds: &Bounds) -> StepEnd {
    let told = Exit {
        code: exit.code,
        signal: exit.signal,
        oom_killed: exit.oom_killed,
        memory_limit: exit.oom_killed.then_some(ByteSize(bounds.memory_bytes)),
        at: exit.at,
    };
    let is_success = exit.code == Some(0) && !exit.unknown;
    let problem = match why {
        Some(Why::StepTime(limit)) => Some(format!("took longer than {limit}; make it faster, or raise timeout of its stage")),
        Some(Why::RunTime(limit)) => {
            Some(format!("the run took longer than {limit}; make it faster, or raise timeout of the pipeline"))
        }
        Some(Why::Disk(TooMuch::Bytes)) => Some(format!(
            "filled its {} of disk; write less, or raise disk of [builder] on the host",
            ByteSize(bounds.disk_bytes).human()
        )),
        Some(Why::Disk(TooMuch::Folders)) => Some("made more folders, or deeper ones, than a build can need".to_owned()),
        Some(Why::Stopped) => Some("was cancelled".to_owned()),
        None if is_success => None,
        None if exit.unknown => Some("ended, and nobody saw how: its monitor was killed; run the pipeline again".to_owned()),
        None if exit.oom_killed => Some(format!(
            "ran out of its {} of memory; raise memory of its stage, or of [builder] on the host",
            ByteSize(bounds.memory_bytes).human()
        )),
        None if bounds.pids_refused > 0 => Some(format!(
            "reached its limit of {} processes; start fewer, or raise pids of its stage, or of [builder] on the host",
            bounds.pids
        )),
        None => None,
    };
    let exit = (!exit.unknown).then_some(told);
    // A step without any exit must not look as if it had ended well.
    StepEnd { exit, problem, last_lines: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: Option<i32>, oom_killed: bool, why: Option<Why>, pids_refused: u64, expect: Option<&str>) {
        let exit = runtime::Exit { code, signal: None, oom_killed, at: jiff::Timestamp::UNIX_EPOCH, unknown: code.is_none() };
        let bounds = Bounds { memory_bytes: 1 << 30, pids: 64, pids_refused, disk_bytes: 10 << 30 };
        let end = verdict(&exit, why, &bounds);
        match (end.problem.as_deref(), expect) {
            (None, None) => {}
            (Some(problem), Some(part)) => assert!(problem.contains(part), "{problem}"),
            (problem, expect) => panic!("{problem:?} instead of {expect:?}"),
        }
        assert_eq!(end.exit.is_some(), code.is_some());
    }

    #[test]
    fn every_end_has_its_words() {
        check(Some(0), false, None, 0, None);
        // It went well in spite of it.
        check(Some(0), false, None, 3, None);
        check(Some(1), false, None, 0, None);
        check(Some(2), false, None, 3, Some("limit of 64 processes"));
        check(Some(137), true, None, 0, Some("ran out of its 1"));
        check(None, false, None, 0, Some("nobody saw how"));
        check(Some(143), false, Some(Why::StepTime(Span::seconds(600))), 0, Some("took longer than 10m"));
        check(Some(137), false, Some(Why::Disk(TooMuch::Bytes)), 0, Some("filled its 10"));
        check(Some(0), false, Some(Why::Stopped), 0, Some("cancelled"));
    }
}
