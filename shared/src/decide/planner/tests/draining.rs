//! What has given way runs on until nobody is served by it.
use super::ports::publishing;
use super::*;
use crate::decide::planner::status::instance_reports;

const OLD: &str = "web.0-r1-1";
const NEW: &str = "web.0-r2-1";

fn old() -> Spec {
    publishing(80, spec(1, "a"))
}

fn new() -> Spec {
    start_first(publishing(80, spec(2, "a+x")))
}

/// Both run, and `to` is wanted.
fn both(to: Spec) -> World {
    world().lives(NEW, &to, running()).lives(OLD, &old(), running()).want(to).present("a")
}

impl World {
    /// So many milliseconds ago, the last door that led to it was closed.
    fn closed(mut self, id: &str, ago_ms: u64, connections: Option<u32>) -> Self {
        let closed_since = Some(Mono(second(NOW_SECONDS).0 - Duration::from_millis(ago_ms)));
        let container = self.observed.containers.get_mut(&id.parse().expect("a container")).expect("it lives");
        container.traffic = Traffic { closed_since, connections };
        self
    }
}

#[test]
fn the_old_one_serves_until_its_last_connection_has_ended() {
    let stop = format!("stop {OLD} by 110 | wake 110");
    check(both(new()), "nothing | moving its ports from the previous container");
    let old = |ago_ms, connections| both(new()).closed(OLD, ago_ms, connections);
    check(old(0, None), "nothing | draining the previous container @102 | wake 100.1");
    // Who was counted before the time had come for it does not matter.
    check(old(60, Some(0)), "nothing | draining the previous container @101.94 | wake 100.04");
    check(old(100, None), "nothing | draining the previous container @101.9 | wake 101.9");
    check(old(100, Some(0)), &stop);
    check(old(500, Some(1)), "nothing | draining the previous container, 1 connection is open @101.5 | wake 101.5");
    check(old(1999, Some(70)), "nothing | draining the previous container, 70 connections are open @100.001 | wake 100.001");
    check(old(2000, Some(70)), &stop);
    check(old(2000, None), &stop);
}

#[test]
fn the_document_says_how_long() {
    let within = |drain_ms| {
        let mut spec = new();
        spec.document.rollout.drain = Span(Duration::from_millis(drain_ms));
        spec
    };
    let stop = format!("stop {OLD} by 110 | wake 110");
    check(both(within(60_000)).closed(OLD, 30_000, None), "nothing | draining the previous container @130 | wake 130");
    // Not at all, or shorter than it takes until somebody can be counted; but the doors come first.
    check(both(within(0)), "nothing | moving its ports from the previous container");
    check(both(within(0)).closed(OLD, 0, None), &stop);
    check(both(within(50)).closed(OLD, 49, None), "nothing | draining the previous container @100.001 | wake 100.001");
    check(both(within(50)).closed(OLD, 50, None), &stop);
}

#[test]
fn only_what_has_doors_and_gives_way_to_one_that_is_there_is_drained() {
    let stop = format!("stop {OLD} by 110 | wake 110");
    let stop_first = publishing(80, spec(2, "a+x"));
    check(both(stop_first), &stop);
    let without = world().want(new()).present("a").lives(NEW, &new(), running()).container(OLD, "a", running());
    check(without, &stop);
    check(world().lives(OLD, &old(), running()), &format!("{} | stopping @110 | wake 110", stop.replace(" | wake 110", "")));
    // The new one need not have doors for the old one's to be closed first.
    check(both(start_first(spec(2, "b"))).present("b"), "nothing | moving its ports from the previous container");
    let ended = world().want(new()).present("a").lives(NEW, &new(), running()).lives(OLD, &old(), exited());
    check(ended, &format!("remove {OLD}"));
}

#[test]
fn no_door_leads_to_what_is_drained_however_new_it_is() {
    // Back to what ran before, which is still there: the newer one gives way.
    let world = world().want(start_first(Spec { revision: Revision(3), ..old() })).present("a");
    let world = world.lives(OLD, &old(), running()).lives(NEW, &publishing(81, spec(2, "a+x")), running());
    let plan = plan(&world.desired, &[], &world.observed, now());
    assert_eq!(plan.draining.keys().map(ToString::to_string).collect::<Vec<_>>(), [NEW]);
    let doors = crate::decide::planner::ports::doors(&world.observed, &plan.draining);
    let leads: Vec<_> = doors.iter().map(|(door, target)| format!("{} {}", door.port, target.container)).collect();
    assert_eq!(leads, [format!("80 {OLD}")]);
    let report = &instance_reports(&world.desired, &world.observed, &plan, |_| second(42), now())[0];
    assert_eq!((report.revision, report.ready), (Some(Revision(3)), true), "what serves is what is shown");
}

#[test]
fn what_was_drained_is_no_way_back_once_it_was_asked_to_end() {
    let world = world().lives(OLD, &publishing(81, spec(1, "a")), stopping(105)).lives(NEW, &new(), running());
    let doors = crate::decide::planner::ports::doors(&world.observed, &BTreeMap::new());
    assert_eq!(doors.keys().map(|door| door.port).collect::<Vec<_>>(), [80]);
}
