//! Where a name of a folder is to be found, among hundreds of thousands: a table of numbers, whose keys lie elsewhere.
//!
//! Hashes are seeded at random, so that no archive can make its names collide, and kept, so that growing reads no names.

use hashbrown::HashTable;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// 2^64 divided by the golden ratio: spreads the bits of a kept hash over those that the table looks at.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Numbers of names.
#[derive(Default)]
pub(super) struct Table {
    slots: HashTable<Slot>,
    seed: RandomState,
}

/// The hash of a folder and a name in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash(u32);

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: Hash,
    number: u32,
}

impl Table {
    pub(super) fn hash(&self, folder: u32, name: &[u8]) -> Hash {
        let mut hasher = self.seed.build_hasher();
        hasher.write(name);
        hasher.write_u32(folder);
        let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
        Hash(u32::from_le_bytes([a, b, c, d]))
    }

    /// The number of this hash of which `is_it` is true.
    pub(super) fn find(&self, hash: Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.slots.find(hash.spread(), |slot| slot.hash == hash && is_it(slot.number)).map(|slot| slot.number)
    }

    /// Adds a number that is not there.
    pub(super) fn insert(&mut self, hash: Hash, number: u32) {
        self.slots.insert_unique(hash.spread(), Slot { hash, number }, |slot| slot.hash.spread());
    }
}

impl Hash {
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(SPREAD)
    }
}
