//! What is not desired ends, is killed at the end of its time, and is removed; and whoever waits for it is told.
use super::*;

fn left(phase: Phase) -> World {
    world().container("web.0-r1-1", "a", phase)
}

#[test]
fn an_undesired_container_is_stopped_killed_and_removed() {
    check(left(running()), "stop web.0-r1-1 by 110 | stopping @110 | wake 110");
    check(left(stopping(104)), "nothing | stopping @104 | wake 104");
    check(left(stopping(100)), "kill web.0-r1-1 | stopping @100");
    check(left(exited()), "remove web.0-r1-1 | removing what is left of it");
    check(left(Phase::Removing { since: second(99) }), "nothing | removing what is left of it");
}

#[test]
fn one_that_was_killed_is_not_killed_twice() {
    let killed = Phase::Stopping { since: second(80), kill_at: second(90), killed: true };
    check(left(killed), "nothing | stopping @90");
}

#[test]
fn one_that_is_being_made_is_stopped_once_it_runs() {
    check(left(starting()), "nothing | stopping @110");
}

#[test]
fn a_failed_removal_is_tried_again() {
    // 2 s after the second failure.
    let failed = |at| left(Phase::RemoveFailed { at: second(at), attempts: 2 });
    check(failed(99), "nothing | removal failed (2 times) @101 | wake 101");
    check(failed(98), "remove web.0-r1-1 | removal failed (2 times) @100");
}

#[test]
fn leftovers_of_a_desired_instance_are_removed_in_silence() {
    let world = world().want(spec(1, "a")).present("a").container("web.0-r1-2", "a", running());
    check(world.container("web.0-r1-1", "a", Phase::RemoveFailed { at: second(98), attempts: 1 }), "remove web.0-r1-1");
}

#[test]
fn every_container_of_the_instance_goes() {
    let world = left(running()).container("web.0-r1-2", "a", stopping(115)).container("web.0-r2-1", "b", exited());
    check(world, "remove web.0-r2-1; stop web.0-r1-1 by 110 | stopping @115 | wake 110");
}
