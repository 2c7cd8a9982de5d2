//! Retention: which old revisions, and which lines of a history, may be forgotten.

use crate::names::Revision;
use std::collections::BTreeSet;

/// Revisions of a workload whose texts are kept although nobody runs them: enough to look back, and to go back.
pub const REVISIONS_KEPT: usize = 20;
/// Lines of a workload's history that are kept: years of a quiet workload, weeks of a busy one.
pub const HISTORY_KEPT: usize = 500;

/// What of `present` may go: all but the newest `kept` and whatever is in use.
pub fn forgotten(present: &BTreeSet<Revision>, in_use: &BTreeSet<Revision>, kept: usize) -> Vec<Revision> {
    present.iter().rev().skip(kept).filter(|revision| !in_use.contains(revision)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_and_what_is_in_use_stay() {
        let check = |present: &[u64], in_use: &[u64], kept: usize, expect: &[u64]| {
            let set = |numbers: &[u64]| numbers.iter().copied().map(Revision).collect();
            let gone: Vec<u64> = forgotten(&set(present), &set(in_use), kept).iter().map(|revision| revision.0).collect();
            assert_eq!(gone, expect, "{present:?} {in_use:?} {kept}");
        };
        check(&[], &[7], 2, &[]);
        check(&[1, 2], &[], 2, &[]);
        check(&[1, 2, 3, 4, 5], &[], 2, &[3, 2, 1]);
        check(&[1, 2, 3, 4, 5], &[2, 9], 2, &[3, 1]);
        check(&[1, 5, 9], &[9], 0, &[5, 1]);
    }
}
