//! Who needs which manifest, and what therefore nobody needs. Pure: records in, reasons out.

use super::roots::{Root, Wanted};
use super::snapshot::{ManifestId, Snapshot};
use crate::names::Tag;
use coord_shared::names::{Digest, Repository};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Characters of a digest that people are shown: enough to find it.
const DIGEST_SHOWN_CHARS: usize = "sha256:".len() + 12;

/// What keeps a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keeper {
    /// Somebody outside: `revision 7 of web`.
    Root(String),
    /// A tag names it.
    Tag(Tag),
    /// An index that is kept has it.
    Index(Digest),
    /// It says something about a manifest that is kept.
    Subject(Digest),
    /// It was pushed or asked for a moment ago.
    Fresh,
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |digest: &Digest| digest.as_ref().chars().take(DIGEST_SHOWN_CHARS).collect::<String>();
        match self {
            Self::Root(why) => f.write_str(why),
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Index(digest) => write!(f, "index {}", short(digest)),
            Self::Subject(digest) => write!(f, "its subject {}", short(digest)),
            Self::Fresh => f.write_str("pushed or asked for a moment ago"),
        }
    }
}

/// All manifests that are needed, and by whom.
pub type Kept = BTreeMap<ManifestId, BTreeSet<Keeper>>;

/// Whether `at` is less than `grace` ago. A time to come is one of a clock that was set back: fresh.
pub(super) fn is_fresh(at: Timestamp, now: Timestamp, grace: Duration) -> bool {
    let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
    now.duration_since(at) < grace
}

/// Says what keeps each manifest. What is not in the answer is kept by nothing.
pub fn mark(snapshot: &Snapshot, roots: &[Root], grace: Duration, now: Timestamp) -> Kept {
    let mut kept = Kept::new();
    let mut reached: Vec<ManifestId> = Vec::new();
    let keep = |kept: &mut Kept, reached: &mut Vec<ManifestId>, id: ManifestId, keeper: Keeper| {
        if !snapshot.manifests.contains_key(&id) {
            return;
        }
        let keepers = kept.entry(id.clone()).or_default();
        if keepers.is_empty() {
            reached.push(id);
        }
        keepers.insert(keeper);
    };
    for root in roots {
        let digest = match &root.wanted {
            Wanted::Manifest(digest) => Some(digest),
            Wanted::Tag(tag) => snapshot.tags.get(&(root.repository.clone(), tag.clone())).map(|tag| &tag.record.digest),
        };
        if let Some(digest) = digest {
            keep(&mut kept, &mut reached, (root.repository.clone(), digest.clone()), Keeper::Root(root.why.clone()));
        }
    }
    for ((repository, tag), seen) in &snapshot.tags {
        keep(&mut kept, &mut reached, (repository.clone(), seen.record.digest.clone()), Keeper::Tag(tag.clone()));
    }
    for (id, seen) in &snapshot.manifests {
        if is_fresh(seen.record.touched.max(seen.record.at), now, grace) {
            keep(&mut kept, &mut reached, id.clone(), Keeper::Fresh);
        }
    }
    let about = subjects(snapshot);
    while let Some((repository, digest)) = reached.pop() {
        let id = (repository, digest);
        let Some(seen) = snapshot.manifests.get(&id) else { continue };
        let (repository, digest) = id.clone();
        for child in &seen.record.manifests {
            keep(&mut kept, &mut reached, (repository.clone(), child.clone()), Keeper::Index(digest.clone()));
        }
        for referrer in about.get(&id).into_iter().flatten() {
            keep(&mut kept, &mut reached, (repository.clone(), (*referrer).clone()), Keeper::Subject(digest.clone()));
        }
    }
    kept
}

/// The manifests that say something about each manifest.
fn subjects(snapshot: &Snapshot) -> BTreeMap<ManifestId, Vec<&Digest>> {
    let mut about: BTreeMap<ManifestId, Vec<&Digest>> = BTreeMap::new();
    for ((repository, digest), seen) in &snapshot.manifests {
        if let Some(subject) = &seen.record.subject {
            about.entry((repository.clone(), subject.clone())).or_default().push(digest);
        }
    }
    about
}

/// What nothing keeps, in groups whose members need each other (an index and its images, an image and what is said about it): each group
/// goes whole or not at all, because a new reference to one of them gives life to the others too.
pub(super) fn unneeded(snapshot: &Snapshot, kept: &Kept) -> Vec<Vec<ManifestId>> {
    let gone: Vec<&ManifestId> = snapshot.manifests.keys().filter(|id| !kept.contains_key(*id)).collect();
    let numbers: BTreeMap<&ManifestId, usize> = gone.iter().enumerate().map(|(number, id)| (*id, number)).collect();
    let mut groups = Groups((0..gone.len()).collect());
    for (number, id) in gone.iter().enumerate() {
        let Some(seen) = snapshot.manifests.get(*id) else { continue };
        for other in seen.record.manifests.iter().chain(&seen.record.subject) {
            if let Some(other) = numbers.get(&(id.0.clone(), other.clone())) {
                groups.join(number, *other);
            }
        }
    }
    let mut found: BTreeMap<usize, Vec<ManifestId>> = BTreeMap::new();
    for (number, id) in gone.into_iter().enumerate() {
        found.entry(groups.of(number)).or_default().push(id.clone());
    }
    found.into_values().collect()
}

/// Which group each member is in, by the number of one that stands for all (disjoint sets).
struct Groups(Vec<usize>);

impl Groups {
    fn of(&mut self, mut member: usize) -> usize {
        while self.0[member] != member {
            self.0[member] = self.0[self.0[member]];
            member = self.0[member];
        }
        member
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one.max(other)] = one.min(other);
    }
}

/// One blob of which something is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loose {
    pub(super) digest: Digest,
    /// Repositories in which no manifest needs it.
    pub(super) links: Vec<Repository>,
    /// Whether nothing at all needs it.
    pub(super) is_garbage: bool,
}

/// Links and blobs that no manifest needs. Every manifest of the snapshot counts, also one that nothing keeps: it was just touched.
pub(super) fn loose(snapshot: &Snapshot, grace: Duration, now: Timestamp) -> Vec<Loose> {
    let mut needed: BTreeSet<(&Repository, &Digest)> = BTreeSet::new();
    let mut pinned: BTreeSet<&Digest> = BTreeSet::new();
    for ((repository, digest), seen) in &snapshot.manifests {
        pinned.insert(digest);
        for blob in &seen.record.blobs {
            needed.insert((repository, blob));
            pinned.insert(blob);
        }
    }
    let mut loose_links: BTreeMap<&Digest, Vec<Repository>> = BTreeMap::new();
    let mut held: BTreeSet<&Digest> = BTreeSet::new();
    for ((repository, digest), seen) in &snapshot.links {
        if needed.contains(&(repository, digest)) || is_fresh(seen.record.at, now, grace) {
            held.insert(digest);
        } else {
            loose_links.entry(digest).or_default().push(repository.clone());
        }
    }
    let mut found = Vec::new();
    for (digest, seen) in &snapshot.blobs {
        // Whoever was told a moment ago that it is there is about to use it, in whichever repository.
        if is_fresh(seen.record.touched.max(seen.record.since), now, grace) {
            continue;
        }
        let links = loose_links.remove(digest).unwrap_or_default();
        let is_garbage = !held.contains(digest) && !pinned.contains(digest);
        if is_garbage || !links.is_empty() {
            found.push(Loose { digest: digest.clone(), links, is_garbage });
        }
    }
    found
}
