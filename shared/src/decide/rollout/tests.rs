//! The promises of a rollout, by example. The simulator holds them against thousands of faults.
use super::*;
use crate::document::{Parallelism, RolloutOrder};
use crate::quantity::Span;
use std::time::Duration;

const OLD: Revision = Revision(1);
const NEW: Revision = Revision(2);

fn policy(parallelism: Parallelism) -> Rollout {
    Rollout { parallelism, order: RolloutOrder::StopFirst, monitor: Span::seconds(5), drain: Span::seconds(2) }
}

fn at(seconds: u64) -> Now {
    Now { mono: Mono(Duration::from_secs(seconds)), wall: jiff::Timestamp::UNIX_EPOCH }
}

fn old(ready: bool) -> TargetState {
    let ready = ready.then_some((OLD, Mono::default()));
    TargetState { liveness: Liveness::Ready, assigned: Some(OLD), same_container: false, ready }
}

fn new(ready_since: Option<u64>) -> TargetState {
    let ready = ready_since.map(|s| (NEW, Mono(Duration::from_secs(s))));
    TargetState { liveness: Liveness::Ready, assigned: Some(NEW), same_container: true, ready }
}

/// Told an older revision than the newest and not (yet) ready in it.
fn between() -> TargetState {
    TargetState { ready: Some((Revision(0), Mono::default())), ..old(true) }
}

fn unknown(target: TargetState) -> TargetState {
    TargetState { liveness: Liveness::Unknown, ready: None, ..target }
}

fn fresh() -> TargetState {
    TargetState { liveness: Liveness::Ready, assigned: None, same_container: false, ready: None }
}

fn lost(target: TargetState) -> TargetState {
    TargetState { liveness: Liveness::Lost, ..target }
}

/// `expect` lists the hosts (a, b, c, ...) that should be told the new revision.
fn check(parallelism: Parallelism, targets: &[TargetState], expect: &str) -> RolloutPlan {
    let name = |i: usize| -> HostName { char::from(b'a' + i as u8).to_string().parse().expect("a host name") };
    let targets: BTreeMap<_, _> = targets.iter().enumerate().map(|(i, t)| (name(i), *t)).collect();
    let plan = rollout(NEW, &policy(parallelism), &targets, at(100));
    let told: String = plan.assign.iter().filter(|(_, r)| **r == NEW).map(|(h, _)| h.as_str()).collect();
    assert_eq!(told, expect, "{plan:?}");
    assert_eq!(plan.assign.len(), targets.len(), "every target keeps some revision");
    let later: String = plan.prefetch.iter().map(HostName::as_str).collect();
    let untold: String = targets.keys().map(HostName::as_str).filter(|host| !told.contains(*host)).collect();
    assert_eq!(later, untold, "whoever is not told the newest revision yet fetches its image ahead");
    plan
}

#[test]
fn first_deployment_tells_everyone() {
    check(Parallelism::Count(1), &[fresh(), fresh(), fresh()], "abc");
}

#[test]
fn one_at_a_time() {
    let plan = check(Parallelism::Count(1), &[old(true), old(true), old(true)], "a");
    assert!(matches!(plan.reasons.values().last(), Some(Reason::WaitingForTurn { after, .. }) if after.len() == 1));
    check(Parallelism::Count(1), &[new(None), old(true), old(true)], "a");
}

#[test]
fn the_next_turn_comes_when_the_monitor_time_is_over() {
    let plan = check(Parallelism::Count(1), &[new(Some(96)), old(true)], "a");
    assert_eq!(plan.wake_at, Some(Mono(Duration::from_secs(101))));
    check(Parallelism::Count(1), &[new(Some(95)), old(true)], "ab");
}

#[test]
fn being_watched_is_a_reason_only_while_somebody_waits() {
    let reasons = |plan: RolloutPlan| plan.reasons.values().filter(|reason| matches!(reason, Reason::Monitoring { .. })).count();
    assert_eq!(reasons(check(Parallelism::Count(1), &[new(Some(96)), old(true)], "a")), 1);
    assert_eq!(reasons(check(Parallelism::Count(1), &[new(Some(96)), new(Some(1))], "ab")), 0);
}

#[test]
fn a_share_of_the_targets() {
    check(Parallelism::Percent(50), &[old(true), old(true), old(true), old(true)], "ab");
    check(Parallelism::Percent(1), &[old(true), old(true)], "a");
}

#[test]
fn a_host_that_does_not_serve_goes_first() {
    check(Parallelism::Count(1), &[old(true), old(false), old(true)], "b");
}

#[test]
fn a_lost_host_holds_nobody_up_and_is_not_told() {
    check(Parallelism::Count(1), &[lost(old(true)), old(true), old(true)], "b");
    check(Parallelism::Count(1), &[lost(new(None)), old(true)], "ab");
    // Back again, it waits for its turn.
    check(Parallelism::Count(1), &[old(true), new(None)], "b");
}

#[test]
fn a_host_that_is_not_known_yet_keeps_its_place() {
    // The coordinator has just started: what it told `a` may be under way.
    check(Parallelism::Count(1), &[unknown(new(None)), old(true), old(true)], "a");
    check(Parallelism::Count(2), &[unknown(new(None)), old(true), old(true)], "ab");
    // And so may an older revision; it is not told more before it is heard of.
    check(Parallelism::Count(1), &[unknown(old(true)), old(true), old(true)], "");
    let plan = check(Parallelism::Count(2), &[unknown(old(true)), old(true), old(true)], "b");
    assert!(matches!(plan.reasons.values().next(), Some(Reason::HostUnknown)));
}

#[test]
fn a_host_that_is_between_older_revisions_goes_first() {
    check(Parallelism::Count(1), &[old(true), between(), old(true)], "b");
    check(Parallelism::Count(2), &[old(true), between(), old(true)], "ab");
    // Ready for too short a time counts as well.
    let watched = TargetState { ready: Some((OLD, Mono(Duration::from_secs(99)))), ..old(true) };
    check(Parallelism::Count(1), &[old(true), watched], "b");
    // The one that was told last goes before those that are merely down.
    let told_later = TargetState { assigned: Some(OLD), ..between() };
    let down = TargetState { assigned: Some(Revision(0)), ..old(false) };
    check(Parallelism::Count(1), &[down, told_later], "b");
}

#[test]
fn a_new_target_does_not_wait() {
    check(Parallelism::Count(1), &[new(None), fresh(), old(true)], "ab");
}

#[test]
fn a_change_that_keeps_the_container_needs_no_turn() {
    let unchanged = TargetState { same_container: true, ..old(true) };
    check(Parallelism::Count(1), &[unchanged, unchanged, unchanged], "abc");
    // One that is still on its way to that container keeps its place.
    let on_its_way = TargetState { same_container: true, ..between() };
    check(Parallelism::Count(1), &[on_its_way, old(true)], "a");
    check(Parallelism::Count(1), &[unchanged, old(true)], "ab");
    check(Parallelism::Count(1), &[lost(on_its_way), old(true)], "ab");
}

#[test]
fn a_failing_first_host_stops_the_rollout() {
    check(Parallelism::Count(2), &[new(None), new(None), old(true), old(true)], "ab");
}

#[test]
fn nothing_to_do_when_all_are_through() {
    let plan = check(Parallelism::Count(1), &[new(Some(1)), new(Some(1))], "ab");
    assert!(plan.reasons.is_empty());
    assert_eq!(plan.wake_at, None);
}
