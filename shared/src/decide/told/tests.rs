//! Reports that are too large, and what is left of them.

use super::*;
use crate::wire::InstanceState;
use crate::wire::nested::ChildView;
use jiff::Timestamp;

fn child(number: usize, state: ChildState) -> ChildView {
    ChildView {
        name: format!("c{number}").parse().expect("a name"),
        image: "registry.lan/tools/sh:1".to_owned(),
        digest: None,
        state,
        created_at: Timestamp::UNIX_EPOCH,
        started_at: None,
        pid: None,
        exit: None,
        reason: None,
        caches: Vec::new(),
        attached: false,
    }
}

/// An instance within which so many have ended and so many run.
fn report(ended: usize, running: usize) -> InstanceReport {
    let ended = (0..ended).map(|number| child(number, ChildState::Exited));
    let running = (0..running).map(|number| child(number, ChildState::Running));
    InstanceReport {
        instance: "web.0".parse().expect("an instance"),
        state: InstanceState::Running,
        revision: None,
        ready: true,
        since: Timestamp::UNIX_EPOCH,
        restarts: 0,
        last_exit: None,
        container: None,
        pid: None,
        reason: None,
        health: None,
        loosened: Vec::new(),
        addresses: Vec::new(),
        nested: Some(NestedReport { containers: ended.chain(running).collect(), caches: Vec::new(), left_out: 0 }),
    }
}

/// Containers that are told of each instance, and those that are not.
fn told(mut reports: Vec<InstanceReport>, max_bytes: usize) -> Vec<(usize, u32)> {
    fit(&mut reports, max_bytes);
    assert!(size(&reports) <= max_bytes || max_bytes == 0);
    reports.iter().filter_map(|report| report.nested.as_ref()).map(|nested| (nested.containers.len(), nested.left_out)).collect()
}

#[test]
fn what_fits_is_left_alone() {
    assert_eq!(told(vec![report(5, 64), report(0, 0)], NESTED_MAX_BYTES), [(69, 0), (0, 0)]);
}

#[test]
fn what_has_ended_goes_first_and_then_as_much_as_must() {
    let one = size(&[report(0, 1)]) - size(&[report(0, 0)]);
    check_sizes(one);
    assert_eq!(told(vec![report(40, 10), report(1, 3)], one * 16), [(10, 40), (3, 1)]);
    assert_eq!(told(vec![report(0, 64), report(0, 3)], one * 40), [(32, 32), (3, 0)]);
    assert_eq!(told(vec![report(9, 64), report(0, 3)], one * 15), [(8, 65), (3, 0)]);
    assert_eq!(told(vec![report(9, 64)], 0), [(0, 73)]);
}

/// The figures above are told apart by it.
fn check_sizes(one: usize) {
    assert!((100..400).contains(&one), "{one}");
}
