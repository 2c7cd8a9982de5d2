//! What the image centre holds, as people are shown it. Pure.

use coord_centre::collect::{Collected, Keeper, Kept, ManifestId, Removed, Snapshot};
use coord_shared::names::{Digest, Repository};
use coord_shared::wire::{CollectedView, ImagesView, RepositoryView, StoredImageView};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What a view is made of.
pub struct Facts<'a> {
    /// All records.
    pub snapshot: &'a Snapshot,
    /// What keeps each manifest.
    pub kept: &'a Kept,
    /// Only this repository.
    pub only: Option<&'a Repository>,
    /// What may be stored.
    pub quota_bytes: Option<u64>,
    /// Now.
    pub now: Timestamp,
}

/// Images by repository, newest first. What belongs to another image (the parts of an index, what is said about an image) is no entry of
/// its own: it counts with that.
pub fn images(facts: &Facts<'_>) -> ImagesView {
    let mut parts: BTreeSet<(&Repository, &Digest)> = BTreeSet::new();
    for ((repository, digest), seen) in &facts.snapshot.manifests {
        parts.extend(seen.record.manifests.iter().map(|part| (repository, part)));
        if let Some(subject) = &seen.record.subject
            && facts.snapshot.manifests.contains_key(&(repository.clone(), subject.clone()))
        {
            parts.insert((repository, digest));
        }
    }
    let mut tags: BTreeMap<ManifestId, Vec<String>> = BTreeMap::new();
    for ((repository, tag), seen) in &facts.snapshot.tags {
        tags.entry((repository.clone(), seen.record.digest.clone())).or_default().push(tag.to_string());
    }
    let mut repositories: BTreeMap<&Repository, Vec<StoredImageView>> = BTreeMap::new();
    for (id, seen) in &facts.snapshot.manifests {
        let tags = tags.remove(id).unwrap_or_default();
        let is_part = parts.contains(&(&id.0, &id.1)) && tags.is_empty();
        if is_part || facts.only.is_some_and(|only| *only != id.0) {
            continue;
        }
        let kept_by = facts.kept.get(id).into_iter().flatten().map(Keeper::to_string).collect();
        let pushed_at = seen.record.at;
        let image =
            StoredImageView { digest: id.1.clone(), tags, pushed_at, bytes: weight(facts.snapshot, id), commit: None, kept_by };
        repositories.entry(&id.0).or_default().push(image);
    }
    let repositories = repositories.into_iter().map(|(name, mut images)| {
        images.sort_by(|a, b| b.pushed_at.cmp(&a.pushed_at).then_with(|| a.digest.cmp(&b.digest)));
        RepositoryView { name: name.clone(), images }
    });
    ImagesView {
        now: facts.now,
        repositories: repositories.collect(),
        stored_bytes: facts.snapshot.blobs.values().map(|seen| seen.record.bytes).sum(),
        quota_bytes: facts.quota_bytes,
    }
}

/// Manifest, config and layers of an image, of all images for an index; each blob once.
fn weight(snapshot: &Snapshot, image: &ManifestId) -> u64 {
    let (mut seen, mut open) = (BTreeSet::new(), vec![image.1.clone()]);
    while let Some(digest) = open.pop() {
        if !seen.insert(digest.clone()) {
            continue;
        }
        if let Some(manifest) = snapshot.manifests.get(&(image.0.clone(), digest)) {
            open.extend(manifest.record.manifests.iter().cloned());
            seen.extend(manifest.record.blobs.iter().cloned());
        }
    }
    seen.iter().filter_map(|digest| snapshot.blobs.get(digest)).map(|blob| blob.record.bytes).sum()
}

/// What a collection did.
pub fn collected(done: &Collected, dry_run: bool) -> CollectedView {
    let mut view = CollectedView {
        dry_run,
        tags: Vec::new(),
        manifests: Vec::new(),
        blobs: 0,
        freed_bytes: done.freed_bytes,
        gave_way: done.gave_way,
        kept_bytes: done.kept_bytes,
    };
    for removed in &done.removed {
        match removed {
            Removed::Tag(repository, tag) => view.tags.push(format!("{repository}:{tag}")),
            Removed::Manifest(repository, digest) => view.manifests.push(format!("{repository}@{digest}")),
            Removed::Blob(_, _) | Removed::Orphan(_, _) => view.blobs += 1,
        }
    }
    view
}
