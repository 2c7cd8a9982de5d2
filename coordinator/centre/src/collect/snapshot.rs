//! All records of the centre as one reading found them.

use crate::error::CentreError;
use crate::names::Tag;
use crate::records::{
    self, BLOB, BlobRecord, LINK, LinkRecord, MANIFEST, ManifestRecord, REFERRER, ReferrerRecord, Seen, TAG, TagRecord,
};
use coord_shared::names::{Digest, Repository};
use coord_store::Store;
use std::collections::BTreeMap;

/// A manifest of a repository.
pub type ManifestId = (Repository, Digest);

/// What there is.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Blobs by digest.
    pub blobs: BTreeMap<Digest, Seen<BlobRecord>>,
    /// Manifests by repository and digest.
    pub manifests: BTreeMap<ManifestId, Seen<ManifestRecord>>,
    /// Which blobs are visible where.
    pub links: BTreeMap<ManifestId, Seen<LinkRecord>>,
    /// Tags by repository and name.
    pub tags: BTreeMap<(Repository, Tag), Seen<TagRecord>>,
    /// That a manifest (the last) has a subject (the middle).
    pub referrers: BTreeMap<(Repository, Digest, Digest), Seen<ReferrerRecord>>,
}

impl Snapshot {
    /// Reads everything. What is referred to is read before what refers to it: a reference that this does not see was made after its
    /// object was read here, and has given that another revision than the one found here. Keys that are none of ours are passed over.
    ///
    /// # Errors
    /// The store fails, or holds a damaged record: then nobody can say what is needed.
    pub async fn read(store: &dyn Store) -> Result<Self, CentreError> {
        let mut snapshot = Self::default();
        for (key, seen) in records::load_all(store, BLOB).await? {
            if let Ok(digest) = key[BLOB.len()..].parse() {
                snapshot.blobs.insert(digest, seen);
            }
        }
        for (key, seen) in records::load_all(store, MANIFEST).await? {
            if let Some(id) = records::parse_content_key(MANIFEST, &key) {
                snapshot.manifests.insert(id, seen);
            }
        }
        for (key, seen) in records::load_all(store, LINK).await? {
            if let Some(id) = records::parse_content_key(LINK, &key) {
                snapshot.links.insert(id, seen);
            }
        }
        for (key, seen) in records::load_all(store, REFERRER).await? {
            if let Some(id) = records::parse_referrer_key(&key) {
                snapshot.referrers.insert(id, seen);
            }
        }
        for (key, seen) in records::load_all(store, TAG).await? {
            if let Some(id) = records::parse_tag_key(&key) {
                snapshot.tags.insert(id, seen);
            }
        }
        Ok(snapshot)
    }
}
