//! Times of day as text: `2026-11-22T13:00:00.123456Z`, UTC, microseconds. The one place of this crate that asks the clock.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sys;

/// Length of the text.
pub(crate) const TIME_BYTES: usize = 27;

/// The time now.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> [u8; TIME_BYTES] {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format(since_epoch.as_secs(), since_epoch.subsec_micros())
}

/// A clock that nobody sets.
pub(crate) fn since_boot() -> Duration {
    sys::monotonic_clock()
}

/// The text of a moment after 1970; years beyond 9999 are cut.
fn format(seconds: u64, micros: u32) -> [u8; TIME_BYTES] {
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = [0; TIME_BYTES];
    // It fits: all numbers have the width that is asked for.
    let _ = write!(text.as_mut_slice(), "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z");
    text
}

/// Year, month and day of a day that is counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn moments_become_text() {
        let check = |seconds: u64, micros: u32, expect: &str| {
            assert_eq!(std::str::from_utf8(&format(seconds, micros)), Ok(expect));
        };
        check(0, 0, "1970-01-01T00:00:00.000000Z");
        check(951_782_400, 1, "2000-02-29T00:00:00.000001Z");
        check(1_795_352_400, 123_456, "2026-11-22T13:00:00.123456Z");
        check(4_107_542_399, 999_999, "2100-02-28T23:59:59.999999Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00.000000Z");
    }
}
