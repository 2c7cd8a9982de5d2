//! What people read of a run.

use super::super::message;
use coord_shared::wire::{CommitView, Exit, RunState, RunView, StepReport};
use jiff::Timestamp;

/// A run whose tests failed.
pub(super) fn failed_run(number: u64) -> RunView {
    let at: Timestamp = "2026-11-22T10:00:00Z".parse().expect("a time");
    let commit: coord_shared::names::Commit = "a1".repeat(20).parse().expect("a commit");
    let step = StepReport {
        stage: "test".to_owned(),
        index: 0,
        command: "cargo test --release".to_owned(),
        started_at: Some(at),
        ended_at: Some(at),
        exit: Some(Exit { code: Some(101), signal: None, oom_killed: false, memory_limit: None, at }),
        problem: None,
        last_lines: vec!["running 1 test".to_owned(), "assertion failed: \u{1b}[31mleft == right".to_owned()],
    };
    RunView {
        run: format!("shop.{number}").parse().expect("a run"),
        state: RunState::Failed,
        commit: commit.clone(),
        about: Some(CommitView {
            commit,
            author: "Alice <alice@example.org>".to_owned(),
            subject: "Fix the door".to_owned(),
            at,
        }),
        cause: "push".to_owned(),
        builder: Some("host-a".parse().expect("a host")),
        made_at: at,
        since: at,
        ended_at: Some(at),
        stages: Vec::new(),
        steps: vec![step],
        problem: Some("step test.0 failed: exit code 101".to_owned()),
        image: None,
        deployed: None,
    }
}

#[test]
fn a_failure_says_what_failed_and_how_to_see_more() {
    let message = message(&failed_run(12), "shop.12.x");
    assert_eq!(message.subject, "[coord] shop.12 failed in test.0: Fix the door");
    let expect = "\
Run shop.12 failed.

Commit:   a1a1a1a1a1a1 Fix the door
Author:   Alice <alice@example.org>
Cause:    push
Builder:  host-a
Step:     test.0  cargo test --release
Ended:    exit code 101

Nothing changed on any host.

The last lines of its log:

    running 1 test
    assertion failed:  [31mleft == right

More: coordctl pipeline logs shop 12
";
    assert_eq!(message.text, expect);
}

#[test]
fn a_success_says_what_runs() {
    let mut run = failed_run(13);
    run.state = RunState::Succeeded;
    (run.problem, run.steps[0].exit) = (None, None);
    run.deployed = Some(coord_shared::wire::Deployed {
        workload: "web".parse().expect("a name"),
        revision: coord_shared::names::Revision(7),
    });
    let message = message(&run, "shop.13.x");
    assert_eq!(message.subject, "[coord] shop.13 succeeded: Fix the door");
    assert!(message.text.contains("Deployed: web revision 7\n") && !message.text.contains("Nothing changed"), "{}", message.text);
    assert!(message.json.contains("\"run_succeeded\""));
}

#[test]
fn what_others_wrote_is_bounded() {
    let mut run = failed_run(12);
    run.about.as_mut().expect("a commit").subject = "x".repeat(10_000);
    run.steps[0].last_lines = vec!["é".repeat(1000); 400];
    run.problem = Some("p\nq".repeat(10_000));
    let message = message(&run, "shop.12.x");
    assert!(message.subject.chars().count() <= 151, "{}", message.subject);
    assert!(message.text.len() <= 64 * 1024 + 10 && message.text.ends_with("\n...\n"));
    assert!(message.json.len() <= 512 * 1024, "{}", message.json.len());
    assert!(!message.subject.contains('\n'));
}
