//! The image comes first, and what runs goes on until it is here.
use super::*;

#[test]
fn a_first_start_pulls_first() {
    check(world().want(spec(1, "a")), "pull a | pulling the image");
    let pulling = |done_bytes, total_bytes| world().want(spec(1, "a")).pulling("a", done_bytes, total_bytes);
    check(pulling(0, 0), "nothing | pulling the image");
    check(pulling(1 << 20, 4 << 20), "nothing | pulling the image, 1.00 of 4.00 MiB (25%)");
    let fast = Image::Pulling { done_bytes: 1 << 20, total_bytes: 4 << 20, bytes_per_s: 3 << 20 };
    check(world().want(spec(1, "a")).image("a", fast), "nothing | pulling the image, 1.00 of 4.00 MiB (25%), 3.00 MiB/s");
    check(world().want(spec(1, "a")).present("a"), "start web.0-r1-1 | starting");
}

#[test]
fn a_failed_pull_is_tried_again_when_its_backoff_is_over() {
    // 1 s after the first failure, 4 s after the third.
    let failed = |attempts, at| world().want(spec(1, "a")).image("a", failed_pull(attempts, at));
    check(failed(3, 97), "nothing | pull failed (3 times): registry.lan refused @101 | wake 101");
    check(failed(3, 96), "pull a | pull failed (3 times): registry.lan refused @100");
    check(failed(1, 98), "pull a | pull failed (once): registry.lan refused @99");
}

#[test]
fn the_previous_container_runs_on_while_the_new_image_is_pulled() {
    let old = || world().want_after(spec(1, "a"), spec(2, "b")).present("a").container("web.0-r1-1", "a", running());
    check(old(), "pull b | pulling the image");
    check(old().image("b", failed_pull(2, 99)), "nothing | pull failed (2 times): registry.lan refused @101 | wake 101");
}

#[test]
fn the_previous_container_is_restarted_while_the_new_image_is_pulled() {
    let ended = |at| {
        let world = world().want_after(spec(1, "a"), spec(2, "b")).present("a");
        world.pulling("b", 0, 0).ended("web.0-r1-1", "a", 1, 1, at)
    };
    check(ended(99), "start web.0-r1-2 | pulling the image");
    // The pull is the reason that is shown; the restart still wakes the agent.
    let failing = world().want_after(spec(1, "a"), spec(2, "b")).present("a").ended("web.0-r1-7", "a", 1, 7, 99);
    check(failing, "pull b | pulling the image | wake 105.4");
}

#[test]
fn a_predecessor_that_is_not_running_takes_nothings_place() {
    // `b` was to replace `a` and never came up; now `c` is pulled, and `a` is all that serves.
    let stuck = |order: fn(Spec) -> Spec| {
        let world = world().want_after(order(spec(2, "b")), spec(3, "c")).present("a").present("b");
        world.pulling("c", 0, 0)
    };
    let failed = |world: World| {
        world.history("web.0-r2-1", "b", |history| history.note_start_failure("no such command".to_owned(), second(90)))
    };
    for order in [(|spec| spec) as fn(Spec) -> Spec, start_first] {
        let serving = failed(stuck(order)).container("web.0-r1-1", "a", running());
        check(serving, "nothing | pulling the image");
        let ending = failed(stuck(order)).container("web.0-r1-1", "a", stopping(104));
        check(ending, "nothing | pulling the image | wake 104");
        check(failed(stuck(order)), "start web.0-r2-2 | pulling the image");
        let both = |phase| stuck(order).container("web.0-r1-1", "a", running()).container("web.0-r2-1", "b", phase);
        check(both(starting()), "nothing | pulling the image");
        check(both(running()), "stop web.0-r1-1 by 110 | pulling the image | wake 110");
        let done = |spec| restarting(RestartPolicy::No, order(spec));
        let world = world().want_after(done(spec(2, "b")), spec(3, "c")).present("b").image("c", failed_pull(9, 99));
        let completed = world.ended("web.0-r2-1", "b", 0, 1, 90).container("web.0-r1-1", "a", running());
        check(completed, "nothing | pull failed (9 times): registry.lan refused @159 | wake 159");
    }
}

#[test]
fn without_the_previous_image_what_runs_is_left_alone() {
    let old = |phase| world().want_after(spec(1, "a"), spec(2, "b")).container("web.0-r1-1", "a", phase);
    check(old(running()), "pull b | pulling the image");
    check(old(exited()), "pull b; remove web.0-r1-1 | pulling the image");
    // One that was told to end before is still seen to its end.
    check(old(stopping(100)), "pull b; kill web.0-r1-1 | pulling the image");
    check(old(stopping(103)), "pull b | pulling the image | wake 103");
}

#[test]
fn a_container_of_an_unknown_make_is_kept_until_the_image_is_here() {
    let old = || world().want(spec(2, "b")).container("web.0-r1-1", "a", running());
    check(old(), "pull b | pulling the image");
    check(old().present("b"), "stop web.0-r1-1 by 110 | stopping the previous container @110 | wake 110");
}

#[test]
fn the_same_image_needs_no_pull() {
    let world = world().want_after(spec(1, "a"), spec(2, "a+x")).present("a").container("web.0-r1-1", "a", running());
    check(world, "stop web.0-r1-1 by 110 | stopping the previous container @110 | wake 110");
}

#[test]
fn a_predecessor_is_not_brought_back_once_the_newest_has_run_here() {
    // The image of `b` was lost after `b` had run: it is fetched again, and `a` stays history.
    let world = world().want_after(spec(1, "a"), spec(2, "b")).present("a").ended("web.0-r2-1", "b", 1, 1, 99);
    check(world, "pull b | pulling the image");
}
