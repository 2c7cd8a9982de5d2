//! Waiting until all is as desired, and watching.

use crate::bodies::{self, DOCUMENT};
use crate::fake::{Answer, Fake};
use crate::program::{finish, run, start};
use serde_json::Value;

/// Ready from the third look on.
fn soon_ready() -> Fake {
    Fake::start(|request, before| match request.line.as_str() {
        "PUT /v1/documents/web" => Answer::json(&bodies::diff("web", Some(3), Some(4), true)),
        _ if before < 2 => Answer::json(&bodies::status(&[bodies::workload("web", 4, false, &["a"])])),
        _ => Answer::json(&bodies::status(&[bodies::workload("web", 4, true, &["a"])])),
    })
}

#[test]
fn waiting_ends_when_all_is_as_desired() {
    let fake = soon_ready();
    let outcome = run(&fake, &["status", "--wait"]).code(0);
    assert!(outcome.stdout.contains("web         4  shop/web:1    1/1"), "{outcome:?}");
    assert_eq!(fake.requests().len(), 3);
    run(&soon_ready(), &["status", "web", "--wait"]).code(0);
}

#[test]
fn waiting_ends_at_the_timeout_with_the_reasons() {
    let fake = Fake::always(Answer::json(&bodies::status(&[bodies::workload("web", 4, false, &["a"])])));
    let outcome = run(&fake, &["status", "--wait", "--timeout", "500ms"]).code(1);
    let outcome = outcome.says(&["web on a: starting, for 10s", "error: not as desired after 500ms", "hint: --timeout"]);
    assert!(outcome.stdout.contains("0/1"), "the last status is shown: {outcome:?}");
    run(&fake, &["status", "api", "--wait", "--timeout", "500ms"]).code(1).says(&["api is not published"]);
}

#[test]
fn waiting_bears_a_coordinator_that_is_away_for_a_moment() {
    let fake = Fake::start(|_, before| match before {
        0 => Answer::error(503, &bodies::error("internal", "starting", None)),
        1 => Answer::Stream { chunks: vec!["{".to_owned()], end: crate::fake::End::Cut },
        _ => Answer::json(&bodies::status(&[])),
    });
    run(&fake, &["status", "--wait"]).code(0);
    let fake = Fake::always(Answer::Silence);
    run(&fake, &["status", "--wait", "--timeout", "300ms"])
        .code(1)
        .says(&["the status is not known yet", "not as desired after"]);
    // A wrong token does not become a right one.
    let fake = Fake::always(Answer::error(401, &bodies::error("unauthorized", "no such token", None)));
    run(&fake, &["status", "--wait"]).code(1).says(&["no such token"]);
    assert_eq!(fake.requests().len(), 1);
}

#[test]
fn apply_can_wait_for_what_it_published() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.toml");
    std::fs::write(&path, DOCUMENT).expect("write");
    let path = path.to_str().expect("UTF-8");
    run(&soon_ready(), &["apply", path, "--wait"]).code(0);
    // The old revision's readiness is not the new one's.
    let fake = Fake::start(|request, _| match request.line.as_str() {
        "PUT /v1/documents/web" => Answer::json(&bodies::diff("web", Some(3), Some(4), true)),
        _ => Answer::json(&bodies::status(&[bodies::workload("web", 3, true, &["a"])])),
    });
    run(&fake, &["apply", path, "--wait", "--timeout", "400ms"]).code(1).says(&["web: revision 4 is not there yet"]);
}

#[test]
fn delete_can_wait_until_all_is_gone() {
    let fake = Fake::start(|request, before| match request.line.as_str() {
        "DELETE /v1/documents/web" => Answer::json(&bodies::diff("web", Some(3), Some(4), false)),
        _ if before < 3 => Answer::json(&bodies::status(&[bodies::workload("web", 4, false, &["a"])])),
        _ => Answer::json(&bodies::status(&[])),
    });
    run(&fake, &["delete", "web", "--wait"]).code(0);
    assert_eq!(fake.requests().len(), 4);
}

#[test]
fn watching_shows_each_change_once_until_ctrl_c() {
    let fake = Fake::start(|_, before| {
        let mut status = bodies::status(&[bodies::workload("web", 4, before > 1, &["a"])]);
        // The clock moves on, which alone is no change.
        status["now"] = format!("2026-11-22T14:00:{before:02}Z").into();
        Answer::json(&status)
    });
    let mut watching = start(&fake, &["status", "--watch", "-o", "json"]);
    let ready = |line: String| serde_json::from_str::<Value>(&line).expect("JSON")["workloads"][0]["ready"].clone();
    assert_eq!(ready(watching.line()), 0);
    assert_eq!(ready(watching.line()), 1);
    assert_eq!(fake.requests().len(), 3);
    watching.interrupt();
    finish(watching).code(130);
}

#[test]
fn watching_goes_on_when_the_coordinator_is_away() {
    let fake = Fake::start(|_, before| match before {
        1 => Answer::error(503, &bodies::error("internal", "going away", None)),
        _ => Answer::json(&bodies::status(&[bodies::workload("web", 4, true, &["a"])])),
    });
    let mut watching = start(&fake, &["status", "--watch"]);
    // Two pictures: the first, and the one after the interruption.
    let mut pictures = 0;
    while pictures < 2 {
        pictures += usize::from(watching.line().starts_with("WORKLOAD"));
    }
    watching.interrupt();
    finish(watching).code(130).says(&["going away", "trying on"]);
}
