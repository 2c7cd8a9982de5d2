//! One make gives way to the next, by either order; a change that keeps the make touches nothing.
use super::*;

#[test]
fn stop_first_waits_for_the_end_of_the_old() {
    let update = || world().want_after(spec(1, "a"), spec(2, "b")).present("a").present("b");
    let old = |phase| update().container("web.0-r1-1", "a", phase).history("web.0-r1-1", "a", |_| ());
    check(old(running()), "stop web.0-r1-1 by 110 | stopping the previous container @110 | wake 110");
    check(old(stopping(103)), "nothing | stopping the previous container @103 | wake 103");
    check(old(stopping(100)), "kill web.0-r1-1 | stopping the previous container @100");
    // One that is being made cannot be stopped yet, and is not overtaken either.
    check(old(starting()), "nothing | stopping the previous container @110");
    check(old(exited()), "remove web.0-r1-1; start web.0-r2-1 | starting");
    check(old(Phase::Removing { since: second(99) }), "start web.0-r2-1 | starting");
}

#[test]
fn start_first_stops_the_old_when_the_new_runs() {
    let update = || world().want_after(spec(1, "a"), start_first(spec(2, "b"))).present("a").present("b");
    let old = || update().container("web.0-r1-1", "a", running());
    check(old().history("web.0-r1-1", "a", |_| ()), "start web.0-r2-1 | starting");
    check(old().container("web.0-r2-1", "b", starting()), "nothing | starting");
    check(old().container("web.0-r2-1", "b", running()), "stop web.0-r1-1 by 110 | wake 110");
    check(update().container("web.0-r1-1", "a", stopping(103)).container("web.0-r2-1", "b", running()), "nothing | wake 103");
    check(update().container("web.0-r1-1", "a", stopping(99)).container("web.0-r2-1", "b", running()), "kill web.0-r1-1");
}

#[test]
fn start_first_keeps_the_old_while_the_new_fails_to_start() {
    let world = world().want_after(spec(1, "a"), start_first(spec(2, "b"))).present("a").present("b");
    let world = world.container("web.0-r1-1", "a", running()).history("web.0-r2-1", "b", |history| {
        history.failures = 4;
        history.note_start_failure("no such command".to_owned(), second(99));
    });
    check(world, "nothing | start failed (5 times): no such command @100.6 | wake 100.6");
}

#[test]
fn a_new_order_applies_to_a_start_that_is_under_way() {
    let both = |spec| {
        let world = world().want_after(super::spec(1, "a"), spec).present("b");
        world.container("web.0-r1-1", "a", running()).container("web.0-r2-1", "b", starting())
    };
    check(both(start_first(spec(2, "b"))), "nothing | starting");
    check(both(spec(3, "b")), "stop web.0-r1-1 by 110 | starting | wake 110");
}

#[test]
fn an_unchanged_make_adopts_the_revision() {
    let adopted = |phase| world().want_after(spec(1, "a"), spec(2, "a")).present("a").container("web.0-r1-1", "a", phase);
    check(adopted(running()), "nothing");
    check(adopted(starting()), "nothing | starting");
    // Its next container is the first of the new revision.
    let ended = adopted(exited()).ended("web.0-r1-1", "a", 1, 1, 99);
    check(ended, "remove web.0-r1-1; start web.0-r2-1 | starting");
}

#[test]
fn going_back_keeps_the_old_container_if_it_still_runs() {
    let back = |old| {
        let world = world().want_after(spec(2, "b"), start_first(spec(3, "a"))).present("a").present("b");
        world.container("web.0-r1-1", "a", old).container("web.0-r2-1", "b", running())
    };
    check(back(running()), "stop web.0-r2-1 by 110 | wake 110");
    // It was told to end and is wanted again: it ends, the other one serves meanwhile, and a new one follows.
    check(back(stopping(104)), "nothing | stopping the previous container @104 | wake 104");
    check(back(exited()), "remove web.0-r1-1; start web.0-r3-1 | starting");
}

#[test]
fn a_stopping_container_that_is_wanted_again_ends_first() {
    let again = |kill_at| world().want(spec(1, "a")).present("a").container("web.0-r1-1", "a", stopping(kill_at));
    check(again(105), "nothing | stopping the previous container @105 | wake 105");
    check(again(100), "kill web.0-r1-1 | stopping the previous container @100");
    let ended = world().want(spec(1, "a")).present("a").container("web.0-r1-1", "a", exited());
    check(ended.history("web.0-r1-1", "a", |_| ()), "remove web.0-r1-1; start web.0-r1-2 | starting");
}

#[test]
fn names_are_never_reused() {
    let fresh = || world().want(spec(1, "a")).present("a");
    // By the history, though the container is gone.
    check(fresh().history("web.0-r1-3", "a", |_| ()), "start web.0-r1-4 | starting");
    // By what lies there, though the history was lost.
    check(fresh().container("web.0-r1-5", "a", exited()), "remove web.0-r1-5; start web.0-r1-6 | starting");
    // Starts of another make in the same revision count as well.
    check(fresh().history("web.0-r1-2", "b", |_| ()), "start web.0-r1-3 | starting");
    // Another revision has names of its own.
    check(fresh().history("web.0-r7-3", "b", |_| ()), "start web.0-r1-1 | starting");
}

#[test]
fn a_rejected_document_leaves_the_previous_running() {
    let rejected = "the agent rejects the document: 2:1: unknown key \"prots\"";
    check(world().rejected(None), &format!("nothing | {rejected}"));
    check(world().rejected(None).container("web.0-r1-1", "a", running()), &format!("nothing | {rejected}"));
    let previous = || world().rejected(Some(spec(1, "a"))).present("a");
    check(previous().container("web.0-r1-1", "a", running()), &format!("nothing | {rejected}"));
    check(previous().ended("web.0-r1-1", "a", 1, 1, 99), &format!("start web.0-r1-2 | {rejected}"));
    let pulled_no_more = world().rejected(Some(spec(1, "a"))).container("web.0-r1-1", "a", running());
    check(pulled_no_more, &format!("nothing | {rejected}"));
}
