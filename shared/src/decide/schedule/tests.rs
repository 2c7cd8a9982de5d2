//! Schedules: what they mean, and what is refused.

use super::Schedule;
use jiff::Timestamp;

fn next(schedule: &str, after: &str) -> String {
    let schedule: Schedule = schedule.parse().unwrap_or_else(|e| panic!("{e}"));
    schedule.next(after.parse::<Timestamp>().unwrap()).map_or("never".to_owned(), |time| time.to_string())
}

/// 2026-11-22 is a Sunday.
fn check(schedule: &str, after: &str, expect: &str) {
    assert_eq!(next(schedule, after), expect, "{schedule} after {after}");
}

#[test]
fn the_next_time_is_as_crontab_has_it() {
    check("* * * * *", "2026-11-22T10:00:00Z", "2026-11-22T10:01:00Z");
    check("* * * * *", "2026-11-22T10:00:59.9Z", "2026-11-22T10:01:00Z");
    check("0 3 * * *", "2026-11-22T02:59:59Z", "2026-11-22T03:00:00Z");
    check("0 3 * * *", "2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z");
    check("59 23 31 12 *", "2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z");
    check("*/15 9-17 * * mon-fri", "2026-11-22T12:00:00Z", "2026-11-23T09:00:00Z");
    check("*/15 9-17 * * mon-fri", "2026-11-23T17:45:00Z", "2026-11-24T09:00:00Z");
    check("5-59/20 * * * *", "2026-11-22T10:05:00Z", "2026-11-22T10:25:00Z");
    check("0 0 1,15 * *", "2026-11-22T00:00:00Z", "2026-12-01T00:00:00Z");
    check("0 0 * JAN,jul *", "2026-11-22T00:00:00Z", "2027-01-01T00:00:00Z");
    check("0 0 29 2 *", "2026-11-22T00:00:00Z", "2028-02-29T00:00:00Z");
    check("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z");
    check("0 0 31 * *", "2026-11-22T00:00:00Z", "2026-12-31T00:00:00Z");
    check("  0\t0 * * *  ", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z");
}

#[test]
fn days_of_week_and_month_are_either_or() {
    check("0 0 * * 0", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z");
    check("0 0 * * 7", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z");
    check("0 0 * * sun", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z");
    check("0 0 * * 5-7", "2026-11-22T00:00:00Z", "2026-11-27T00:00:00Z");
    check("0 0 13 * 5", "2026-11-22T00:00:00Z", "2026-11-27T00:00:00Z");
    check("0 0 13 * 5", "2026-12-12T00:00:00Z", "2026-12-13T00:00:00Z");
    // A field that begins with `*` restricts, and does not offer.
    check("0 0 */2 * mon", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z");
    check("0 0 */2 * tue", "2026-11-22T00:00:00Z", "2026-12-01T00:00:00Z");
    check("0 0 1 * */2", "2026-11-22T00:00:00Z", "2026-12-01T00:00:00Z");
    check("0 0 1 * */5", "2026-11-22T00:00:00Z", "2027-01-01T00:00:00Z");
}

#[test]
fn words_stand_for_schedules() {
    check("@hourly", "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z");
    check("@daily", "2026-11-22T10:00:00Z", "2026-11-23T00:00:00Z");
    check("@Midnight", "2026-11-22T10:00:00Z", "2026-11-23T00:00:00Z");
    check("@weekly", "2026-11-22T10:00:00Z", "2026-11-29T00:00:00Z");
    check("@monthly", "2026-11-22T10:00:00Z", "2026-12-01T00:00:00Z");
    check("@yearly", "2026-11-22T10:00:00Z", "2027-01-01T00:00:00Z");
}

#[test]
fn what_is_no_schedule_says_why() {
    let check = |text: &str, words: &str| {
        let error = text.parse::<Schedule>().expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    };
    check("", "has 0 fields; write five");
    check("0 3 * *", "has 4 fields");
    check("0 0 3 * * *", "has 6 fields");
    check("@reboot", "is none of @hourly, @daily");
    check("60 * * * *", "minute \"60\" must be a number from 0 to 59");
    check("* 24 * * *", "hour \"24\" must be a number from 0 to 23");
    check("* * 0 * *", "day of month \"0\" must be a number from 1 to 31");
    check("* * * 13 *", "month \"13\" must be a number from 1 to 12, or a name from jan to dec");
    check("* * * * 8", "day of week \"8\" must be a number from 0 to 7, or a name from sun to sat");
    check("* * * * funday", "day of week \"funday\"");
    check("*/0 * * * *", "the step must be a number from 1 to 59");
    check("*/60 * * * *", "the step must be a number from 1 to 59");
    check("5/15 * * * *", "a step needs a range, such as */5 or 5-59/5");
    check("50-10 * * * *", "ends before it begins; write 50-59,0-10");
    check("1,,2 * * * *", "minute \"\" must be");
    check("+1 * * * *", "minute \"+1\"");
    check("-1 * * * *", "minute \"\"");
    check("* * 30 2 *", "names a day that no year has");
    check("* * 31 4,6,9,11 *", "names a day that no year has");
    check(&"1,".repeat(2000), "longer than");
}

#[test]
fn every_next_time_is_later_and_matches() {
    // Through two years with a leap day, each time follows the one before.
    for text in ["*/7 */5 */3 * *", "30 4 1,15 * 5", "0 0 29 2 *", "59 23 * * 6"] {
        let schedule: Schedule = text.parse().unwrap();
        let mut at: Timestamp = "2027-12-31T23:59:59Z".parse().unwrap();
        for _ in 0..500 {
            let Some(next) = schedule.next(at) else { break };
            assert!(next > at && next.as_second() % 60 == 0, "{text}: {at} {next}");
            assert_eq!(schedule.next(next - jiff::Span::new().seconds(1)), Some(next), "{text}");
            at = next;
        }
    }
    assert_eq!("@daily".parse::<Schedule>().unwrap().next(Timestamp::MAX), None);
}
