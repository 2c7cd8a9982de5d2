//! Which copies go when the centre is nearly full: those that were not asked for the longest. Pure.

use super::Through;
use crate::collect::{ManifestId, Root, Snapshot, Wanted};
use std::collections::BTreeSet;

/// From this share of the quota on copies go, in hundredths.
const HIGH_PERCENT: u64 = 90;
/// Down to this share.
const LOW_PERCENT: u64 = 75;

/// Copies to be removed with their tags, the least used first, until enough is free by their own sizes. What documents use is not among
/// them. Nothing where there is no quota, or enough room.
pub fn evicted(snapshot: &Snapshot, through: &Through, roots: &[Root], quota_bytes: Option<u64>) -> Vec<ManifestId> {
    let Some(quota) = quota_bytes else { return Vec::new() };
    let stored: u64 = snapshot.blobs.values().map(|seen| seen.record.bytes).sum();
    if stored < quota / 100 * HIGH_PERCENT {
        return Vec::new();
    }
    let mut excess = stored.saturating_sub(quota / 100 * LOW_PERCENT);
    let needed = needed(snapshot, roots);
    let copies = snapshot.manifests.iter().filter(|(id, _)| through.rule(&id.0).is_some() && !needed.contains(*id));
    let mut copies: Vec<_> = copies.collect();
    copies.sort_by_key(|(_, seen)| seen.record.touched);
    let mut gone = Vec::new();
    for (id, seen) in copies {
        if excess == 0 {
            break;
        }
        excess = excess.saturating_sub(seen.record.content_bytes.saturating_add(seen.record.bytes));
        gone.push(id.clone());
    }
    gone
}

/// What documents use, with the parts of indexes.
fn needed(snapshot: &Snapshot, roots: &[Root]) -> BTreeSet<ManifestId> {
    let mut open: Vec<ManifestId> = roots
        .iter()
        .filter_map(|root| match &root.wanted {
            Wanted::Manifest(digest) => Some((root.repository.clone(), digest.clone())),
            Wanted::Tag(tag) => {
                let tag = snapshot.tags.get(&(root.repository.clone(), tag.clone()))?;
                Some((root.repository.clone(), tag.record.digest.clone()))
            }
        })
        .collect();
    let mut needed = BTreeSet::new();
    while let Some(id) = open.pop() {
        let parts = snapshot.manifests.get(&id).into_iter().flat_map(|seen| &seen.record.manifests);
        open.extend(parts.map(|part| (id.0.clone(), part.clone())).filter(|part| !needed.contains(part)));
        needed.insert(id);
    }
    needed
}
