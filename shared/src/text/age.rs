//! Ages and countdowns: `5s`, `3m`, `2h`, `4d`. One unit, rounded down: enough to judge by, and it fits a column.
//!
//! `now` is the coordinator's clock, because the times are its own and the reader's clock may differ.

use jiff::Timestamp;

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_S: i64 = 24 * HOUR_S;

/// How long ago `then` was; a time that has not come yet is `0s`.
pub fn age(now: Timestamp, then: Timestamp) -> String {
    span(now.as_second().saturating_sub(then.as_second()).max(0))
}

/// How long until `then`; `None` once it has come.
pub fn until(now: Timestamp, then: Timestamp) -> Option<String> {
    let milliseconds = then.as_millisecond().saturating_sub(now.as_millisecond());
    // Rounded up, so that nothing is due "in 0s".
    (milliseconds > 0).then(|| span(milliseconds.saturating_add(999) / 1000))
}

/// `3m ago`.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    format!("{} ago", age(now, then))
}

fn span(seconds: i64) -> String {
    if seconds < MINUTE_S {
        format!("{seconds}s")
    } else if seconds < HOUR_S {
        format!("{}m", seconds / MINUTE_S)
    } else if seconds < DAY_S {
        format!("{}h", seconds / HOUR_S)
    } else {
        format!("{}d", seconds / DAY_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let check = |seconds: i64, expect: &str| {
            let (now, then) = (Timestamp::from_second(1_000_000_000), Timestamp::from_second(1_000_000_000 - seconds));
            assert_eq!(age(now.expect("in range"), then.expect("in range")), expect);
        };
        check(0, "0s");
        check(59, "59s");
        check(60, "1m");
        check(3599, "59m");
        check(3600, "1h");
        check(86_399, "23h");
        check(86_400, "1d");
        check(400 * 86_400, "400d");
        check(-5, "0s");
    }

    #[test]
    fn countdowns_round_up_and_end() {
        let check = |milliseconds: i64, expect: Option<&str>| {
            let now = Timestamp::from_millisecond(0).expect("in range");
            let then = Timestamp::from_millisecond(milliseconds).expect("in range");
            assert_eq!(until(now, then).as_deref(), expect);
        };
        check(1, Some("1s"));
        check(12_000, Some("12s"));
        check(0, None);
        check(-1, None);
    }
}
