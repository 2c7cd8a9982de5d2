//! All the chance of a run: splitmix64 (Steele, Lea, Flood 2014). Written out, because a seed must mean the same run for ever.

use std::time::Duration;

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Whether something happens that happens so many times in a hundred.
    pub(super) fn percent(&mut self, chance: u32) -> bool {
        self.below(100) < chance as usize
    }

    /// From 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.below(1001) as f64 / 1000.0
    }

    /// A span between two numbers of milliseconds, short ones as often as long ones on a logarithmic scale.
    pub(super) fn millis(&mut self, least: u64, most: u64) -> Duration {
        let (low, high) = ((least.max(1) as f64).ln(), (most.max(1) as f64).ln());
        Duration::from_micros(((low + (high - low) * self.share()).exp() * 1000.0) as u64)
    }

    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
