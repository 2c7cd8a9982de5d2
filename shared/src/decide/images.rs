//! Which images of a host go, and why: those that nothing has used for long, and more while the disk is too full.
//!
//! Images share layers, so what the removal of one brings depends on who else is left; it is counted here, layer by layer. Deliberately
//! absent: removing, measuring, and images that something uses. Those never go, however full the disk is.

use crate::names::Digest;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// When images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Above this share of the disk, unused images go, the one that was used last longest ago first ...
    pub high_water_percent: u8,
    /// ... until no more than this share is used. Two marks, so that a full disk is not tidied up image by image.
    pub low_water_percent: u8,
    /// An unused image that is not in the way is kept this long.
    pub keep: Duration,
    /// That must be free besides, for a pull that did not fit. Zero: none did.
    pub room_bytes: u64,
}

impl Default for Policy {
    /// The marks that Kubernetes' nodes have (`imageGCHighThresholdPercent`), and room for a roll-back on the next day.
    fn default() -> Self {
        Policy { high_water_percent: 85, low_water_percent: 75, keep: Duration::from_secs(24 * 3600), room_bytes: 0 }
    }
}

/// The disk that the images are on, as `df` counts: what is reserved for root is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// By anything, not only images.
    pub used_bytes: u64,
    /// That can still be written.
    pub free_bytes: u64,
}

/// An image on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// By which it is known.
    pub digest: Digest,
    /// Something runs from it or will.
    pub in_use: bool,
    /// Since the last use; zero if the clock was set back meanwhile.
    pub unused_for: Duration,
    /// What it consists of, by whatever names: keys of `parts`.
    pub parts: BTreeSet<Digest>,
}

/// Something that images consist of, and that goes with the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// On the disk.
    pub bytes: u64,
    /// Stays even without an image: a pull needs it.
    pub is_held: bool,
}

/// An image that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Of the image.
    pub digest: Digest,
    /// The reason.
    pub why: Why,
    /// What its removal brings, after those before it.
    pub frees_bytes: u64,
}

/// Why an image goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nothing has used it for longer than images are kept.
    Unused,
    /// Nothing uses it, and the disk is too full.
    DiskFull,
}

/// Chooses the images that go, in the order in which they are to go.
pub fn collect(images: &[Stored], parts: &BTreeMap<Digest, Part>, disk: Disk, policy: &Policy) -> Vec<Removal> {
    let mut users: BTreeMap<&Digest, usize> = BTreeMap::new();
    for part in images.iter().flat_map(|image| &image.parts) {
        *users.entry(part).or_default() += 1;
    }
    let stays: BTreeSet<&Digest> = images
        .iter()
        .filter(|image| image.in_use)
        .flat_map(|image| &image.parts)
        .chain(parts.iter().filter(|(_, part)| part.is_held).map(|(name, _)| name))
        .collect();
    let mut unused: Vec<&Stored> = images.iter().filter(|image| !image.in_use).collect();
    unused.sort_by_key(|image| (Reverse(image.unused_for), &image.digest));
    let mut to_free = excess(disk, policy);
    let mut removals = Vec::new();
    for image in unused {
        let brings_something = image.parts.iter().any(|part| !stays.contains(part));
        let why = match () {
            () if image.unused_for >= policy.keep => Why::Unused,
            () if to_free > 0 && brings_something => Why::DiskFull,
            () => continue,
        };
        let mut frees_bytes: u64 = 0;
        for part in &image.parts {
            let left = users.entry(part).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 && !stays.contains(part) {
                frees_bytes = frees_bytes.saturating_add(parts.get(part).map_or(0, |part| part.bytes));
            }
        }
        to_free = to_free.saturating_sub(frees_bytes);
        removals.push(Removal { digest: image.digest.clone(), why, frees_bytes });
    }
    removals
}

/// What has to be freed, if images can bring it.
fn excess(disk: Disk, policy: &Policy) -> u64 {
    let total = u128::from(disk.used_bytes) + u128::from(disk.free_bytes);
    let share = |percent: u8| u64::try_from(total * u128::from(percent) / 100).unwrap_or(u64::MAX);
    let above = if disk.used_bytes > share(policy.high_water_percent) {
        disk.used_bytes.saturating_sub(share(policy.low_water_percent))
    } else {
        0
    };
    above.max(policy.room_bytes.saturating_sub(disk.free_bytes))
}

#[cfg(test)]
mod tests;
