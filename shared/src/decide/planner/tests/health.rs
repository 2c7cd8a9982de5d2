//! What health makes of the plan: who counts as ready, who is restarted, who gives way to whom.
use super::*;
use crate::decide::planner::status::instance_reports;

/// The health of a container since second 90, with what its last check said.
fn health(status: Status) -> Health {
    let failures = if status == Status::Unhealthy { 3 } else { 0 };
    let output = if status == Status::Healthy { "" } else { "connection\nrefused" };
    Health { status, since: second(90), failures, output: output.to_owned(), well_for: Duration::ZERO }
}

impl World {
    fn with_health(mut self, id: &str, health: Health) -> Self {
        let id = id.parse().expect("a container name");
        self.observed.containers.get_mut(&id).expect("a container").health = Some(health);
        self
    }
}

fn one(spec: Spec, status: Status) -> World {
    world().want(spec).present("a").container("web.0-r1-1", "a", running()).with_health("web.0-r1-1", health(status))
}

#[test]
fn it_is_ready_once_its_check_says_so() {
    check(one(spec(1, "a"), Status::Starting), "nothing | waits for its health check, which said: connection refused");
    check(one(spec(1, "a"), Status::Healthy), "nothing");
    let ready = |world: World| {
        let plan = plan(&world.desired, &[], &world.observed, now());
        instance_reports(&world.desired, &world.observed, &plan, |_| second(42), now())[0].ready
    };
    assert!(!ready(one(spec(1, "a"), Status::Starting)));
    assert!(ready(one(spec(1, "a"), Status::Healthy)));
    assert!(!ready(one(spec(1, "a"), Status::Unhealthy)));
}

#[test]
fn the_ill_are_restarted_by_policy() {
    let why = "unhealthy (3 failed checks in a row)";
    let stopped = format!("stop web.0-r1-1, which is ill, by 110 | {why}, stopping it: connection refused @110 | wake 110");
    check(one(spec(1, "a"), Status::Unhealthy), &stopped);
    check(one(restarting(RestartPolicy::OnFailure(None), spec(1, "a")), Status::Unhealthy), &stopped);
    check(one(restarting(RestartPolicy::OnFailure(Some(1)), spec(1, "a")), Status::Unhealthy), &stopped);
    // Where no start would follow, what is left of its service is better than nothing.
    let left = |policy| format!("nothing | {why}, left running ({policy}): connection refused");
    check(one(restarting(RestartPolicy::No, spec(1, "a")), Status::Unhealthy), &left("restart = \"no\""));
    let once = one(restarting(RestartPolicy::OnFailure(Some(1)), spec(1, "a")), Status::Unhealthy);
    check(once.history("web.0-r1-1", "a", |history| history.failures = 1), &left("restart = \"on-failure:1\""));
}

#[test]
fn one_that_was_well_for_long_is_no_crash_loop() {
    let settings = document::RestartSettings { max_attempts: Some(2), ..document::RestartSettings::default() };
    let bounded = || Spec { document: Document { restart_policy: settings, ..spec(1, "a").document }, ..spec(1, "a") };
    let ill = |well_for| {
        let health = Health { well_for: Duration::from_secs(well_for), ..health(Status::Unhealthy) };
        one(bounded(), Status::Starting).with_health("web.0-r1-1", health).history("web.0-r1-1", "a", |h| h.failures = 2)
    };
    let why = "unhealthy (3 failed checks in a row)";
    check(ill(9), &format!("nothing | {why}, left running (restart_policy.max_attempts = 2): connection refused"));
    check(ill(10), &format!("stop web.0-r1-1, which is ill, by 110 | {why}, stopping it: connection refused @110 | wake 110"));
}

#[test]
fn an_end_for_illness_is_a_failure_once() {
    let id: ContainerId = "web.0-r1-1".parse().expect("a container name");
    let noted = |history: &mut History| {
        history.note_unhealthy(&id, 3, "connection refused".to_owned(), second(99), false);
        history.note_unhealthy(&id, 4, "again".to_owned(), second(99), false);
    };
    let after = || world().want(spec(1, "a")).present("a").history("web.0-r1-1", "a", noted);
    let why = "unhealthy (3 failed checks in a row)";
    let stopping = after().container("web.0-r1-1", "a", stopping(103));
    check(stopping, &format!("nothing | {why}, stopping it: connection refused @103 | wake 103"));
    check(after().container("web.0-r1-1", "a", exited()), "remove web.0-r1-1; start web.0-r1-2 | starting");
    let mut history = History::begin(&id, spec(1, "a").fingerprint);
    noted(&mut history);
    assert_eq!(history.failures, 1);
    // The next agent finds it ended: that is no failure of its own.
    history.note_found_exit(&id, exit(143, 101), second(1));
    assert_eq!(history.failures, 1);
    history.note_start(&"web.0-r1-2".parse().expect("a container name"), &spec(1, "a").fingerprint);
    assert_eq!(history.restarts, 1);
}

#[test]
fn an_ill_one_waits_for_its_restart() {
    let id: ContainerId = "web.0-r1-1".parse().expect("a container name");
    let ended = |policy, at| {
        world().want(restarting(policy, spec(1, "a"))).present("a").history("web.0-r1-1", "a", |history| {
            history.failures = 3;
            history.note_unhealthy(&id, 3, "refused".to_owned(), second(at), false);
        })
    };
    let why = "unhealthy (3 failed checks in a row)";
    check(ended(RestartPolicy::Always, 100), &format!("nothing | {why}, restarted 0 times so far: refused @100.8 | wake 100.8"));
    check(ended(RestartPolicy::Always, 99), "start web.0-r1-2 | starting");
    check(ended(RestartPolicy::No, 99), &format!("nothing | {why}, not restarted (restart = \"no\"): refused"));
}

#[test]
fn start_first_keeps_the_old_until_the_new_is_ready() {
    let update = |status| {
        let world = world().want_after(spec(1, "a"), start_first(spec(2, "b"))).present("a").present("b");
        let world = world.container("web.0-r1-1", "a", running()).container("web.0-r2-1", "b", running());
        world.with_health("web.0-r1-1", health(Status::Healthy)).with_health("web.0-r2-1", health(status))
    };
    check(update(Status::Starting), "nothing | waits for its health check, which said: connection refused");
    check(update(Status::Healthy), "stop web.0-r1-1 by 110 | wake 110");
    let why = "unhealthy (3 failed checks in a row)";
    check(
        update(Status::Unhealthy),
        &format!("stop web.0-r2-1, which is ill, by 110 | {why}, stopping it: connection refused @110 | wake 110"),
    );
    // And what serves is what is shown.
    let world = update(Status::Starting);
    let plan = plan(&world.desired, &[], &world.observed, now());
    let report = &instance_reports(&world.desired, &world.observed, &plan, |_| second(42), now())[0];
    assert_eq!((report.revision, report.ready), (Some(Revision(1)), true));
}

#[test]
fn start_first_keeps_the_old_when_the_new_is_given_up() {
    let bounded = |revision, make| restarting(RestartPolicy::OnFailure(Some(0)), start_first(spec(revision, make)));
    let old = || {
        let world = world().want_after(spec(1, "a"), bounded(2, "b")).present("a").present("b");
        world.container("web.0-r1-1", "a", running())
    };
    let given_up = "exit code 3; not restarted (restart = \"on-failure:0\")";
    check(old().ended("web.0-r2-1", "b", 3, 1, 99), &format!("nothing | {given_up}"));
    // One that did its work gives way to nothing, and nothing stays beside it.
    check(old().ended("web.0-r2-1", "b", 0, 1, 99), "stop web.0-r1-1 by 110 | completed | wake 110");
}

#[test]
fn stop_first_does_not_wait_for_health() {
    let world = world().want_after(spec(1, "a"), spec(2, "b")).present("a").present("b");
    let world = world.container("web.0-r1-1", "a", stopping(104)).container("web.0-r2-1", "b", running());
    let world = world.with_health("web.0-r2-1", health(Status::Starting));
    check(world, "nothing | waits for its health check, which said: connection refused | wake 104");
}

#[test]
fn a_predecessor_that_is_ill_is_restarted_while_it_has_to_serve() {
    let world = world().want_after(spec(1, "a"), spec(2, "b")).present("a").pulling("b", 0, 0);
    let world = world.container("web.0-r1-1", "a", running()).with_health("web.0-r1-1", health(Status::Unhealthy));
    check(world, "stop web.0-r1-1, which is ill, by 110 | pulling the image | wake 110");
}

#[test]
fn a_failed_start_is_given_up_after_so_many_attempts() {
    let settings = document::RestartSettings { max_attempts: Some(2), ..document::RestartSettings::default() };
    let bounded = Spec { document: Document { restart_policy: settings, ..spec(1, "a").document }, ..spec(1, "a") };
    let failed = |failures: u32| {
        world().want(bounded.clone()).present("a").history("web.0-r1-1", "a", |history| {
            history.failures = failures - 1;
            history.note_start_failure("no such command".to_owned(), second(100));
        })
    };
    check(failed(2), "nothing | start failed (2 times): no such command @100.2 | wake 100.2");
    let given_up = "start failed (3 times), not tried again (restart_policy.max_attempts = 2): no such command";
    check(failed(3), &format!("nothing | {given_up}"));
}
