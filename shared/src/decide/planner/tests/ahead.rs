//! Fetching ahead comes last, one at a time, and touches nothing.
use super::*;
use crate::decide::planner::ahead::reports;

fn serving() -> World {
    world().want(spec(1, "a")).present("a").container("web.0-r1-1", "a", running())
}

#[test]
fn one_at_a_time_in_order() {
    check(serving().ahead("b").ahead("c"), "pull b");
    check(serving().ahead("b").ahead("c").pulling("b", 1, 2), "nothing");
    check(serving().ahead("b").ahead("c").present("b"), "pull c");
    check(serving().ahead("b").ahead("c").present("b").present("c"), "nothing");
    check(world().ahead("b"), "pull b");
}

#[test]
fn what_an_instance_waits_for_comes_first() {
    check(world().want(spec(1, "a")).ahead("b"), "pull a | pulling the image");
    check(world().want(spec(1, "a")).pulling("a", 0, 0).ahead("b"), "nothing | pulling the image");
    // While a failed one waits for its next try, nobody is held up.
    let failed = |at| world().want(spec(1, "a")).image("a", failed_pull(3, at)).ahead("b");
    check(failed(97), "pull b | pull failed (3 times): registry.lan refused @101 | wake 101");
    check(failed(96), "pull a | pull failed (3 times): registry.lan refused @100");
}

#[test]
fn what_an_instance_needs_is_not_held_up_by_what_is_fetched_ahead() {
    let busy = world().want(spec(1, "a")).ahead("b").pulling("b", 1, 2);
    check(busy, "pull a | pulling the image");
    // Its turn came while the image was on its way.
    let turned = world().want_after(spec(1, "a"), spec(2, "b")).present("a").container("web.0-r1-1", "a", running());
    check(turned.pulling("b", 0, 0), "nothing | pulling the image");
}

#[test]
fn one_that_fails_is_tried_again_and_holds_up_no_other() {
    check(serving().ahead("b").image("b", failed_pull(3, 97)), "nothing | wake 101");
    check(serving().ahead("b").image("b", failed_pull(3, 96)), "pull b");
    check(serving().ahead("b").image("b", failed_pull(3, 97)).ahead("c"), "pull c | wake 101");
    check(serving().image("b", failed_pull(3, 96)), "nothing");
}

#[test]
fn it_says_how_far_it_is() {
    let world = serving().ahead("a").ahead("b").ahead("c").ahead("d");
    let world = world.pulling("b", 1 << 20, 4 << 20).image("c", failed_pull(3, 97));
    let shown: Vec<String> = reports(&world.ahead, &world.observed, now()).iter().map(|one| one.state.to_string()).collect();
    assert_eq!(
        shown,
        [
            "image there",
            "image on its way, 25% of 4.00 MiB",
            "image not fetched yet (3 tries): registry.lan refused",
            "image queued"
        ]
    );
}
