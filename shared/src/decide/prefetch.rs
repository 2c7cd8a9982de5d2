//! Prefetch: which images a host fetches before its turn comes.
//!
//! Everybody whose turn in a rollout is still to come fetches while the first ones change, so that nobody waits for a registry when it
//! has. It is a help and no more: no decision about a container looks at it.

use crate::names::Digest;
use std::collections::BTreeSet;

/// Most images that one host is asked to fetch ahead: more changes than this at a time are rare, and the next ones move up.
pub const PREFETCH_MAX: usize = 32;

/// Chooses from what a host will be told to run later, in the order given: each image once, none that it is told to run now anyway,
/// at most [`PREFETCH_MAX`].
pub fn choose<T>(later: impl IntoIterator<Item = (T, Digest)>, now: &BTreeSet<Digest>) -> Vec<T> {
    let mut seen = now.clone();
    let new = later.into_iter().filter_map(|(what, digest)| seen.insert(digest).then_some(what));
    new.take(PREFETCH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_once_and_not_too_many() {
        let digest = |n: usize| Digest::of(n.to_string().as_bytes());
        let check = |later: &[usize], now: &[usize], expect: &[usize]| {
            let later = later.iter().map(|n| (*n, digest(*n)));
            assert_eq!(choose(later, &now.iter().map(|n| digest(*n)).collect()), expect);
        };
        check(&[], &[1], &[]);
        check(&[3, 1, 3, 2], &[], &[3, 1, 2]);
        check(&[3, 1, 2], &[1], &[3, 2]);
        let many: Vec<usize> = (0..100).collect();
        check(&many, &[0], &many[1..=PREFETCH_MAX]);
    }
}
