//! Going on after a cut without showing a line twice.
//!
//! After a cut the stream begins again with each instance's newest lines, most of which were shown. A line has no number, only the
//! time at which it was written; so of every instance the newest time is kept, and how many lines bore it. What comes again up to
//! there is skipped. Only after a cut: while one stream lasts, every line is new, also when a host's clock is set back.

use jiff::Timestamp;
use std::collections::BTreeMap;

/// What to do with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Verdict {
    /// Show it.
    New,
    /// Show it; between the last line shown and this one, others may have been written and are not at hand.
    NewAfterGap,
    /// It was shown before the cut.
    Seen,
}

/// What was shown of one instance.
#[derive(Debug, Clone, Copy)]
struct Shown {
    newest: Timestamp,
    /// Lines shown that bear that very time.
    at_newest: u32,
    catching_up: Option<CatchingUp>,
}

/// After a cut, until the first new line.
#[derive(Debug, Clone, Copy)]
struct CatchingUp {
    /// Whether the last line that was shown has come again: then nothing lies between it and the first new one.
    met: bool,
    /// Lines that bear the newest time and came again.
    at_newest: u32,
}

/// What was shown of every origin of lines: an instance, or a step of a run.
#[derive(Debug)]
pub(in crate::commands) struct Resume<O> {
    shown: BTreeMap<O, Shown>,
}

impl<O: Ord + Clone> Resume<O> {
    /// Nothing was shown yet.
    pub(in crate::commands) fn new() -> Self {
        Self { shown: BTreeMap::new() }
    }

    /// The stream begins again.
    pub(in crate::commands) fn reconnected(&mut self) {
        for shown in self.shown.values_mut() {
            shown.catching_up = Some(CatchingUp { met: false, at_newest: 0 });
        }
    }

    /// Judges a line, and takes it as shown.
    pub(in crate::commands) fn judge(&mut self, origin: &O, time: Option<Timestamp>) -> Verdict {
        let Some(time) = time else { return Verdict::New };
        let Some(shown) = self.shown.get_mut(origin) else {
            self.shown.insert(origin.clone(), Shown { newest: time, at_newest: 1, catching_up: None });
            return Verdict::New;
        };
        let mut verdict = Verdict::New;
        if let Some(catching_up) = &mut shown.catching_up {
            if time < shown.newest {
                return Verdict::Seen;
            }
            if time == shown.newest {
                catching_up.met = true;
                catching_up.at_newest += 1;
                if catching_up.at_newest <= shown.at_newest {
                    return Verdict::Seen;
                }
            } else if !catching_up.met {
                verdict = Verdict::NewAfterGap;
            }
        }
        if time == shown.newest {
            shown.at_newest += 1;
        } else {
            *shown = Shown { newest: time, at_newest: 1, catching_up: None };
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Option<Timestamp> {
        Some(Timestamp::from_second(second).expect("in range"))
    }

    /// Judges seconds of one instance; `None` is a cut. `n` new, `g` new after a gap, `-` seen.
    fn check(seconds: &[Option<i64>], expect: &str) {
        let mut resume = Resume::new();
        let mut verdicts = String::new();
        for second in seconds {
            match second {
                None => resume.reconnected(),
                Some(second) => verdicts.push(match resume.judge(&"web.0", time(*second)) {
                    Verdict::New => 'n',
                    Verdict::NewAfterGap => 'g',
                    Verdict::Seen => '-',
                }),
            }
        }
        assert_eq!(verdicts, expect, "{seconds:?}");
    }

    #[test]
    fn lines_are_shown_once() {
        check(&[Some(1), Some(2), None, Some(1), Some(2), Some(3)], "nn--n");
        check(&[Some(1), None, None, Some(1), Some(2)], "n-n");
    }

    #[test]
    fn lines_of_one_time_are_counted() {
        check(&[Some(1), Some(1), None, Some(1), Some(1), Some(1), Some(2)], "nn--nn");
        check(&[Some(1), None, Some(1), Some(1), None, Some(1), Some(1), Some(1)], "n-n--n");
    }

    #[test]
    fn gaps_are_said_once() {
        check(&[Some(1), None, Some(5), Some(6)], "ngn");
        check(&[Some(3), None, Some(2), Some(5)], "n-g");
    }

    #[test]
    fn a_clock_that_is_set_back_hides_nothing_while_the_stream_lasts() {
        check(&[Some(9), Some(1), Some(2)], "nnn");
    }

    #[test]
    fn instances_do_not_mix() {
        let mut resume = Resume::new();
        assert_eq!(resume.judge(&"web.0", time(5)), Verdict::New);
        resume.reconnected();
        assert_eq!(resume.judge(&"web.1", time(1)), Verdict::New);
        assert_eq!(resume.judge(&"web.0", time(5)), Verdict::Seen);
    }
}
