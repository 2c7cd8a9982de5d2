//! Fixed seeds, in four shares so that they run side by side.
use super::*;

/// Runs of each share.
const SEEDS: u64 = 100;

fn check(seeds: std::ops::Range<u64>) {
    let mut stats = Stats::default();
    for seed in seeds {
        match run(seed) {
            Ok(one) => stats += one,
            Err(failure) => panic!("{failure}"),
        }
    }
    // A promise that was never put to the test was not kept.
    let Stats { kills, prefetched, predecessors_restarted, adopted, turns, reattached, coordinator_restarts, .. } = stats;
    let seen = [kills, prefetched, predecessors_restarted, adopted, turns, reattached, coordinator_restarts];
    assert!(seen.iter().all(|count| *count > 0), "{stats:?}");
    let seen = [stats.ended_as_ill, stats.hooks_failed, stats.gave_way, stats.drained];
    assert!(seen.iter().all(|count| *count > 0), "{stats:?}");
}

#[test]
fn promises_hold_in_the_first_share() {
    check(0..SEEDS);
}

#[test]
fn promises_hold_in_the_second_share() {
    check(SEEDS..2 * SEEDS);
}

#[test]
fn promises_hold_in_the_third_share() {
    check(2 * SEEDS..3 * SEEDS);
}

#[test]
fn promises_hold_in_the_fourth_share() {
    check(3 * SEEDS..4 * SEEDS);
}

#[test]
fn one_seed_is_one_run() {
    let first = run(7).map_err(|failure| failure.to_string());
    assert_eq!(first, run(7).map_err(|failure| failure.to_string()));
}
