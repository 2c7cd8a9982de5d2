//! What follows an end and a failed start.
use super::*;

const ON_FAILURE: RestartPolicy = RestartPolicy::OnFailure(None);

fn ended(policy: RestartPolicy, code: i32, failures: u32) -> World {
    world().want(restarting(policy, spec(1, "a"))).present("a").ended("web.0-r1-1", "a", code, failures, 100)
}

#[test]
fn it_is_started_again_after_a_growing_wait() {
    check(ended(RestartPolicy::Always, 0, 1), "nothing | exit code 0; restarted 0 times so far @100.1 | wake 100.1");
    check(ended(RestartPolicy::Always, 1, 4), "nothing | exit code 1; restarted 0 times so far @100.8 | wake 100.8");
    check(ended(ON_FAILURE, 1, 20), "nothing | exit code 1; restarted 0 times so far @160 | wake 160");
    let due = world().want(spec(1, "a")).present("a").ended("web.0-r1-1", "a", 1, 4, 99);
    check(due, "start web.0-r1-2 | starting");
}

#[test]
fn its_policy_may_leave_it_ended() {
    check(ended(RestartPolicy::No, 0, 1), "nothing | completed");
    check(ended(ON_FAILURE, 0, 1), "nothing | completed");
    check(ended(RestartPolicy::No, 3, 1), "nothing | exit code 3; not restarted (restart = \"no\")");
    check(ended(RestartPolicy::OnFailure(Some(2)), 3, 3), "nothing | exit code 3; not restarted (restart = \"on-failure:2\")");
    check(ended(RestartPolicy::OnFailure(Some(2)), 3, 2), "nothing | exit code 3; restarted 0 times so far @100.2 | wake 100.2");
}

#[test]
fn a_completed_job_gives_way_to_nothing_old() {
    let left = ended(RestartPolicy::No, 0, 1).container("web.0-r0-1", "b", running());
    check(left, "stop web.0-r0-1 by 110 | completed | wake 110");
}

#[test]
fn a_job_runs_again_when_its_make_changes() {
    let world = world().want(restarting(RestartPolicy::No, spec(2, "b"))).present("b").ended("web.0-r1-1", "a", 0, 1, 99);
    check(world, "start web.0-r2-1 | starting");
}

#[test]
fn a_failed_start_is_tried_again_after_a_growing_wait() {
    let failed = |at| {
        world().want(spec(1, "a")).present("a").history("web.0-r1-1", "a", |history| {
            history.failures = 2;
            history.note_start_failure("no such command".to_owned(), second(at));
        })
    };
    check(failed(100), "nothing | start failed (3 times): no such command @100.4 | wake 100.4");
    check(failed(99), "start web.0-r1-2 | starting");
}

#[test]
fn an_end_in_an_earlier_boot_delays_nothing() {
    // Its clock had counted further than this one.
    let exited = world().want(spec(1, "a")).present("a").ended("web.0-r1-1", "a", 1, 20, 900_000);
    check(exited, "start web.0-r1-2 | starting");
    let failed = world().want(spec(1, "a")).present("a").history("web.0-r1-1", "a", |history| {
        history.note_start_failure("no such command".to_owned(), second(900_000));
    });
    check(failed, "start web.0-r1-2 | starting");
}

#[test]
fn a_waiting_restart_leaves_other_containers_alone() {
    let waiting = || world().want(spec(2, "b")).present("b").ended("web.0-r2-1", "b", 1, 5, 99);
    let why = "exit code 1; restarted 0 times so far @100.6 | wake 100.6";
    check(waiting().container("web.0-r1-1", "a", running()), &format!("nothing | {why}"));
    check(waiting().container("web.0-r1-1", "a", stopping(100)), &format!("kill web.0-r1-1 | {why}"));
}

#[test]
fn the_history_counts_what_happened_in_one_make() {
    let id = |text: &str| -> ContainerId { text.parse().expect("a container name") };
    let make = |name: &str| spec(1, name).fingerprint;
    let mut history = History::begin(&id("web.0-r1-1"), make("a"));
    history.note_exit(exit(1, 1), second(1), false);
    history.note_start(&id("web.0-r1-2"), &make("a"));
    assert_eq!((history.restarts, history.failures, history.last_start), (1, 1, 2));
    history.note_start_failure("no".to_owned(), second(2));
    history.note_start(&id("web.0-r1-3"), &make("a"));
    assert_eq!((history.restarts, history.failures, history.last_start), (1, 2, 3), "a failed start is no restart");
    // A stable run starts the count anew.
    history.note_exit(exit(1, 60), second(60), true);
    assert_eq!(history.failures, 1);
    history.note_start(&id("web.0-r2-1"), &make("a"));
    assert_eq!((history.restarts, history.revision, history.last_start), (2, Revision(2), 1), "the same make goes on");
    history.note_start(&id("web.0-r3-1"), &make("b"));
    assert_eq!(history, History::begin(&id("web.0-r3-1"), make("b")), "another make begins anew");
}
