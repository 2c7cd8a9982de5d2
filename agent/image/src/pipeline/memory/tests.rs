//! The budget of decoders: shared, waited for, given back.

use super::{BUDGET_BYTES, Memory};
use crate::error::LayerError;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn who_wants_more_than_is_free_waits_for_it() {
    let memory = Memory::default();
    let first = memory.take(BUDGET_BYTES - 1, || false).unwrap();
    let small = memory.take(1, || false).unwrap();
    let has_it = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let share = memory.take(2, || false).unwrap();
            has_it.store(true, Ordering::SeqCst);
            share.bytes()
        });
        // One byte is not enough.
        drop(small);
        assert!(!has_it.load(Ordering::SeqCst));
        drop(first);
        assert_eq!(waiting.join().unwrap(), 2);
    });
    assert_eq!(memory.take(u64::MAX, || false).unwrap().bytes(), BUDGET_BYTES, "nothing is lost, and nobody gets more");
}

#[test]
fn who_is_not_needed_any_more_stops_waiting() {
    let memory = Memory::default();
    let _all = memory.take(BUDGET_BYTES, || false).unwrap();
    assert!(matches!(memory.take(1, || true), Err(LayerError::Stopped)));
}
