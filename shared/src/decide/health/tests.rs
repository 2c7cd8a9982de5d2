//! The rules of health, one situation each.
use super::*;

fn check() -> Check {
    Check::merge(Some(&Healthcheck { probe: Some(Probe::Tcp { port: 80 }), ..Healthcheck::default() }), None)
        .expect("a probe makes a check")
}

fn second(at: u64) -> Mono {
    Mono(Duration::from_secs(at))
}

fn with_start_period(seconds: u64) -> Check {
    Check { start_period: Span::seconds(seconds), ..check() }
}

/// Runs `answers` (`+` well, `-` ill, `?` unknown, each with the second of its check) past a container that started at second 0.
fn status_after(check: &Check, answers: &[(u64, char)]) -> (Status, u32) {
    let health = answers.iter().fold(Health::starting(second(0)), |health, (at, answer)| {
        let outcome = match answer {
            '+' => Outcome::Well,
            '-' => Outcome::Ill("no".to_owned()),
            _ => Outcome::Unknown,
        };
        health.judge(check, second(0), second(*at), outcome)
    });
    (health.status, health.failures)
}

#[test]
fn defaults_are_composes() {
    let Check { interval, timeout, start_period, start_interval, retries, .. } = check();
    assert_eq!((interval, timeout, retries), (Span::seconds(30), Span::seconds(30), 3));
    assert_eq!((start_period, start_interval), (Span::seconds(0), Span::seconds(5)));
}

#[test]
fn document_and_image_are_merged_key_by_key() {
    let image = Healthcheck {
        probe: Some(Probe::Exec(vec!["/check".to_owned()])),
        interval: Some(Span::seconds(7)),
        retries: Some(9),
        ..Healthcheck::default()
    };
    let document = Healthcheck { retries: Some(2), start_period: Some(Span::seconds(20)), ..Healthcheck::default() };
    let merged = Check::merge(Some(&document), Some(&image)).expect("the image's probe");
    assert_eq!(merged.probe, Probe::Exec(vec!["/check".to_owned()]));
    assert_eq!((merged.interval, merged.retries, merged.start_period), (Span::seconds(7), 2, Span::seconds(20)));
    assert_eq!(Check::merge(None, Some(&image)).map(|check| check.retries), Some(9));
    assert_eq!(Check::merge(Some(&document), None), None, "times without a question ask nothing");
    let off = Healthcheck { disable: true, ..Healthcheck::default() };
    assert_eq!(Check::merge(Some(&off), Some(&image)), None);
    assert_eq!(Check::merge(None, None), None);
}

#[test]
fn what_an_image_asks_for_is_bounded() {
    let hasty = Healthcheck {
        probe: check().probe.into(),
        interval: Some(Span(Duration::ZERO)),
        retries: Some(0),
        ..Healthcheck::default()
    };
    let merged = Check::merge(None, Some(&hasty)).expect("a probe");
    assert_eq!((merged.interval, merged.start_interval, merged.retries), (INTERVAL_MIN, INTERVAL_MIN, 1));
}

#[test]
fn so_many_failures_in_a_row_make_it_ill() {
    assert_eq!(status_after(&check(), &[]), (Status::Starting, 0));
    assert_eq!(status_after(&check(), &[(1, '+')]), (Status::Healthy, 0));
    assert_eq!(status_after(&check(), &[(1, '+'), (31, '-'), (61, '-')]), (Status::Healthy, 2));
    assert_eq!(status_after(&check(), &[(1, '+'), (31, '-'), (61, '-'), (91, '+'), (121, '-')]), (Status::Healthy, 1));
    assert_eq!(status_after(&check(), &[(1, '+'), (31, '-'), (61, '-'), (91, '-')]), (Status::Unhealthy, 3));
    assert_eq!(status_after(&check(), &[(1, '+'), (31, '-'), (61, '-'), (91, '-'), (121, '+')]), (Status::Healthy, 0));
}

#[test]
fn failures_do_not_count_until_docker_would_have_asked() {
    assert_eq!(status_after(&check(), &[(1, '-'), (6, '-'), (11, '-'), (29, '-')]), (Status::Starting, 0));
    assert_eq!(status_after(&check(), &[(30, '-'), (60, '-'), (90, '-')]), (Status::Unhealthy, 3));
}

#[test]
fn failures_in_the_start_period_do_not_count() {
    let patient = with_start_period(60);
    assert_eq!(status_after(&patient, &[(5, '-'), (30, '-'), (59, '-')]), (Status::Starting, 0));
    assert_eq!(status_after(&patient, &[(59, '-'), (60, '-'), (90, '-')]), (Status::Starting, 2));
    assert_eq!(status_after(&patient, &[(60, '-'), (90, '-'), (120, '-')]), (Status::Unhealthy, 3));
    // The first success ends it: from then on every failure counts.
    assert_eq!(status_after(&patient, &[(5, '+'), (6, '-'), (7, '-'), (8, '-')]), (Status::Unhealthy, 3));
}

#[test]
fn what_could_not_be_asked_says_nothing() {
    assert_eq!(status_after(&check(), &[(40, '?'), (70, '?'), (100, '?'), (130, '?')]), (Status::Starting, 0));
    assert_eq!(status_after(&check(), &[(1, '+'), (31, '-'), (61, '?'), (91, '-')]), (Status::Healthy, 2));
}

#[test]
fn a_young_container_is_asked_more_often() {
    let starting = Health::starting(second(0));
    let pause = |check: &Check, health: &Health, at| check.pause(health, second(0), second(at)).as_secs();
    assert_eq!(pause(&check(), &starting, 1), 5);
    assert_eq!(pause(&check(), &starting, 30), 30);
    assert_eq!(pause(&with_start_period(60), &starting, 59), 5);
    assert_eq!(pause(&with_start_period(60), &Health::healthy(second(2)), 3), 30, "the first success ends the start period");
}

#[test]
fn first_checks_are_spread() {
    let starting = Health::starting(second(0));
    assert_eq!(check().first_pause(&starting, 0.0), Duration::ZERO);
    assert_eq!(check().first_pause(&starting, 7.0), FIRST_CHECK_WITHIN);
    assert_eq!(check().first_pause(&Health::healthy(second(0)), 0.5), Duration::from_secs(15));
}

#[test]
fn only_another_word_or_the_first_hint_is_news() {
    let starting = Health::starting(second(0));
    let ill = |health: &Health, at| health.judge(&check(), second(0), second(at), Outcome::Ill("refused".to_owned()));
    let hinted = ill(&starting, 1);
    assert!(hinted.is_news(&starting));
    assert!(!ill(&hinted, 6).is_news(&hinted));
    let healthy = hinted.judge(&check(), second(0), second(9), Outcome::Well);
    assert!(healthy.is_news(&hinted));
    assert!(!ill(&healthy, 40).is_news(&healthy));
}

#[test]
fn it_remembers_how_long_it_was_well() {
    let well = Health::healthy(second(10));
    let ill = [50, 80, 110]
        .iter()
        .fold(well, |health, at| health.judge(&check(), second(0), second(*at), Outcome::Ill("refused".to_owned())));
    assert_eq!((ill.status, ill.since, ill.well_for), (Status::Unhealthy, second(110), Duration::from_secs(100)));
    assert_eq!(ill.shown_well_for(second(500)), Duration::from_secs(100));
    assert_eq!(Health::healthy(second(10)).shown_well_for(second(500)), Duration::from_secs(490));
    assert_eq!(Health::starting(second(10)).shown_well_for(second(500)), Duration::ZERO);
}

#[test]
fn what_a_check_said_is_shortened() {
    assert_eq!(brief("  curl: (7)\n  refused \n"), "curl: (7) refused");
    assert_eq!(brief(&"é".repeat(500)).chars().count(), BRIEF_MAX_CHARS + 1);
    let ill = Health { output: "x\ny\n".to_owned(), ..Health::starting(second(0)) };
    assert_eq!(ill.report().output, "x\ny");
    assert_eq!(Health { status: Status::Healthy, ..ill }.report().output, "", "what was is no news of what is");
}
