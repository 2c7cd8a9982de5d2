//! Schedules: the times of crontab(5), in UTC.
//!
//! Five fields (minute, hour, day of month, month, day of week) of `*`, numbers, ranges, steps, lists and names, or one of `@hourly`,
//! `@daily`, `@weekly`, `@monthly`, `@yearly`. As in crontab(5), a day matches if either of two restricted day fields does. UTC has no hour
//! that is missing or comes twice, so every schedule falls when it says. Deliberately absent: seconds, years, `@reboot`, `L`, `W` and `#`.

#[cfg(test)]
mod tests;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use std::fmt;
use std::str::FromStr;

/// How far ahead a next time is looked for, in days: from one 29 February to the next there may be eight years (1896, 1904).
const LOOK_AHEAD_DAYS: u32 = 8 * 366;
/// Longest text, in bytes: five lists with every number in them are shorter.
const TEXT_MAX_BYTES: usize = 1024;

/// Times that come again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// Why a text is no schedule; a sentence with its cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schedule {text:?}: {problem}")]
pub struct ScheduleError {
    text: String,
    problem: String,
}

/// The numbers that match, as bits, and whether the field was written with a `*` in front (crontab(5) asks for that of days).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    is_any: bool,
}

/// What a field may hold.
struct Kind {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTE: Kind = Kind { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Kind = Kind { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Kind = Kind { name: "day of month", min: 1, max: 31, names: &[] };
const MONTH: Kind = Kind {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// 0 and 7 are Sunday.
const WEEKDAY: Kind = Kind { name: "day of week", min: 0, max: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// Words for whole schedules.
const WORDS: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl Schedule {
    /// The first time after `after`; `None` if there is none: 30 February.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        // Times are whole minutes.
        let start = after.checked_add(Span::new().minutes(1)).ok()?.to_zoned(TimeZone::UTC).datetime();
        let mut date = start.date();
        let mut earliest = (u32::try_from(start.hour()).ok()?, u32::try_from(start.minute()).ok()?);
        for _ in 0..=LOOK_AHEAD_DAYS {
            if self.matches_day(date)
                && let Some((hour, minute)) = self.first_from(earliest)
            {
                let time = date.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
                return time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
            }
            date = date.tomorrow().ok()?;
            earliest = (0, 0);
        }
        None
    }

    /// The first time of a day that is not before `earliest` (hour, minute).
    fn first_from(&self, (hour, minute): (u32, u32)) -> Option<(u32, u32)> {
        if self.hours.has(hour)
            && let Some(minute) = self.minutes.first_from(minute)
        {
            return Some((hour, minute));
        }
        Some((self.hours.first_from(hour + 1)?, self.minutes.first_from(0)?))
    }

    fn matches_day(&self, date: Date) -> bool {
        let number = |n: i8| u32::try_from(n).unwrap_or_default();
        let day = self.days.has(number(date.day()));
        let weekday = self.weekdays.has(weekday(date.weekday()));
        // crontab(5): "if both fields are restricted (do not start with *), the command will be run when either field matches".
        let matches = if self.days.is_any || self.weekdays.is_any { day && weekday } else { day || weekday };
        matches && self.months.has(number(date.month()))
    }
}

fn weekday(day: Weekday) -> u32 {
    u32::try_from(day.to_sunday_zero_offset()).unwrap_or_default()
}

impl Field {
    fn has(self, number: u32) -> bool {
        number < u64::BITS && self.bits & (1 << number) != 0
    }

    /// The smallest number that matches and is not smaller.
    fn first_from(self, number: u32) -> Option<u32> {
        let rest = self.bits.checked_shr(number)?;
        (rest != 0).then(|| number + rest.trailing_zeros())
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let fail = |problem: String| ScheduleError { text: text.chars().take(80).collect(), problem };
        if text.len() > TEXT_MAX_BYTES {
            return Err(fail(format!("is longer than {TEXT_MAX_BYTES} bytes")));
        }
        let written = text.trim();
        let fields = match WORDS.iter().find(|(word, _)| written.eq_ignore_ascii_case(word)) {
            Some((_, fields)) => *fields,
            None if written.starts_with('@') => {
                let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
                return Err(fail(format!("is none of {}", words.join(", "))));
            }
            None => written,
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let problem = format!(
                "has {} fields; write five: minute hour day-of-month month day-of-week, such as \"0 3 * * *\"",
                fields.len()
            );
            return Err(fail(problem));
        };
        let parse = |kind: &Kind, text: &str| kind.parse(text).map_err(&fail);
        let mut weekdays = parse(&WEEKDAY, weekday)?;
        if weekdays.has(7) {
            weekdays.bits = (weekdays.bits | 1) & !(1 << 7);
        }
        let schedule = Self {
            text: written.to_owned(),
            minutes: parse(&MINUTE, minute)?,
            hours: parse(&HOUR, hour)?,
            days: parse(&DAY, day)?,
            months: parse(&MONTH, month)?,
            weekdays,
        };
        // From any moment on it is the same; this one is a leap year's.
        match schedule.next(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(fail("names a day that no year has".to_owned())),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Kind {
    /// A list of `*`, `*/STEP`, `A`, `A-B`, `A-B/STEP`. The error continues "schedule ...:".
    fn parse(&self, text: &str) -> Result<Field, String> {
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(self.step(step, part)?)),
                None => (part, None),
            };
            let (first, last) = match (range, range.split_once('-')) {
                ("*", _) => (self.min, self.max.min(if self.max == 7 { 6 } else { self.max })),
                (_, Some((first, last))) => (self.number(first)?, self.number(last)?),
                (_, None) if step.is_some() => {
                    return Err(format!("{} {part:?}: a step needs a range, such as */5 or {range}-{}/5", self.name, self.max));
                }
                (single, None) => (self.number(single)?, self.number(single)?),
            };
            if first > last {
                return Err(format!(
                    "{} {part:?} ends before it begins; write {first}-{},{}-{last}",
                    self.name, self.max, self.min
                ));
            }
            let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
            bits |= (first..=last).step_by(step).fold(0, |bits: u64, number| bits | 1 << number);
        }
        Ok(Field { bits, is_any: text.starts_with('*') })
    }

    fn step(&self, text: &str, part: &str) -> Result<u32, String> {
        let step = digits(text).filter(|step| (1..=self.max).contains(step));
        step.ok_or_else(|| format!("{} {part:?}: the step must be a number from 1 to {}", self.name, self.max))
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        if let Some(index) = self.names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
            return Ok(self.min + u32::try_from(index).unwrap_or_default());
        }
        let number = digits(text).filter(|number| (self.min..=self.max).contains(number));
        number.ok_or_else(|| {
            let names = match self.names {
                [first, .., last] => format!(", or a name from {first} to {last}"),
                _ => String::new(),
            };
            format!("{} {text:?} must be a number from {} to {}{names}", self.name, self.min, self.max)
        })
    }
}

/// A number without a sign.
fn digits(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}
