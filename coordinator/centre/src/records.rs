//! What the store's keys under `centre/` hold. JSON, written and read only in this crate; a field is only ever added.
//!
//! ```text
//! centre/repository/NAME               RepositoryRecord   a repository that somebody pushed to
//! centre/tag/NAME:TAG                  TagRecord          which manifest a tag names
//! centre/manifest/NAME@DIGEST          ManifestRecord     a manifest, and everything that it refers to
//! centre/referrer/NAME@SUBJECT/DIGEST  ReferrerRecord     that the manifest DIGEST has SUBJECT as its subject; SUBJECT may not exist
//! centre/link/NAME@DIGEST              LinkRecord         that a blob may be read through a repository
//! centre/blob/DIGEST                   BlobRecord         bytes that the storage has whole: layers, configs, and the manifests' own bytes
//! ```
//! `:` and `@` are in no repository's name, so each prefix is one repository's alone.
//!
//! **What makes collection safe while others push.** Each reference is made in the same transaction that touches what it refers to: a link
//! or a manifest rewrites the blob records it needs (`touched`), an index rewrites the records of its manifests, a tag that of its manifest;
//! each expects the revision that was read. Whoever removes a blob or a manifest expects the revision that he read *before* he looked for
//! references. So of the two one is refused, and looks again. Bytes go only after their record, under the lock of their digest, which a
//! commit of the same bytes holds too ([`crate::Centre::drop_blob`]); bytes without a record are an orphan of a crash.

use crate::error::CentreError;
use crate::names::Tag;
use bytes::Bytes;
use coord_shared::names::{Digest, Repository};
use coord_store::{Entry, Store, StoreRevision};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Prefix of repositories.
pub const REPOSITORY: &str = "centre/repository/";
/// Prefix of tags of all repositories.
pub const TAG: &str = "centre/tag/";
/// Prefix of manifests of all repositories.
pub const MANIFEST: &str = "centre/manifest/";
/// Prefix of referrers of all repositories.
pub const REFERRER: &str = "centre/referrer/";
/// Prefix of links of all repositories.
pub const LINK: &str = "centre/link/";
/// Prefix of blobs.
pub const BLOB: &str = "centre/blob/";

/// Where a repository's record lies.
pub fn repository_key(name: &Repository) -> String {
    format!("{REPOSITORY}{name}")
}

/// Where a repository's tags lie.
pub fn tag_prefix(name: &Repository) -> String {
    format!("{TAG}{name}:")
}

/// Where a tag's record lies.
pub fn tag_key(name: &Repository, tag: &Tag) -> String {
    format!("{TAG}{name}:{tag}")
}

/// Where a repository's manifests lie.
pub fn manifest_prefix(name: &Repository) -> String {
    format!("{MANIFEST}{name}@")
}

/// Where a manifest's record lies.
pub fn manifest_key(name: &Repository, digest: &Digest) -> String {
    format!("{MANIFEST}{name}@{digest}")
}

/// Where all referrers within a repository lie.
pub fn referrers_prefix(name: &Repository) -> String {
    format!("{REFERRER}{name}@")
}

/// Where the referrers of one subject lie.
pub fn referrer_prefix(name: &Repository, subject: &Digest) -> String {
    format!("{REFERRER}{name}@{subject}/")
}

/// Where lies that a manifest refers to a subject.
pub fn referrer_key(name: &Repository, subject: &Digest, referrer: &Digest) -> String {
    format!("{REFERRER}{name}@{subject}/{referrer}")
}

/// Where a repository's links lie.
pub fn link_prefix(name: &Repository) -> String {
    format!("{LINK}{name}@")
}

/// Where a link lies.
pub fn link_key(name: &Repository, digest: &Digest) -> String {
    format!("{LINK}{name}@{digest}")
}

/// Where a blob's record lies.
pub fn blob_key(digest: &Digest) -> String {
    format!("{BLOB}{digest}")
}

/// Takes a key under [`TAG`] apart.
pub fn parse_tag_key(key: &str) -> Option<(Repository, Tag)> {
    let (name, tag) = key.strip_prefix(TAG)?.split_once(':')?;
    Some((name.parse().ok()?, tag.parse().ok()?))
}

/// Takes a key under `prefix` ([`MANIFEST`] or [`LINK`]) apart.
pub fn parse_content_key(prefix: &str, key: &str) -> Option<(Repository, Digest)> {
    let (name, digest) = key.strip_prefix(prefix)?.split_once('@')?;
    Some((name.parse().ok()?, digest.parse().ok()?))
}

/// Takes a key under [`REFERRER`] apart: repository, subject, referrer.
pub fn parse_referrer_key(key: &str) -> Option<(Repository, Digest, Digest)> {
    let (name, rest) = key.strip_prefix(REFERRER)?.split_once('@')?;
    let (subject, referrer) = rest.split_once('/')?;
    Some((name.parse().ok()?, subject.parse().ok()?, referrer.parse().ok()?))
}

/// A repository that somebody pushed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryRecord {
    /// Since when.
    pub since: Timestamp,
}

/// Which manifest a tag names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRecord {
    /// The manifest.
    pub digest: Digest,
    /// When the tag was set.
    pub at: Timestamp,
    /// Who set it: the name that the token has.
    pub by: String,
}

/// A manifest of a repository. Its bytes are the blob of its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRecord {
    /// As it was pushed.
    pub media_type: String,
    /// Its size.
    pub bytes: u64,
    /// When it was pushed first.
    pub at: Timestamp,
    /// When it was last pushed, tagged, or referred to by an index.
    pub touched: Timestamp,
    /// Who pushed it first.
    pub by: String,
    /// How many levels of indexes are below it; 0: it is no index.
    #[serde(default)]
    pub depth: u8,
    /// Blobs that it needs, config first, each once.
    #[serde(default)]
    pub blobs: Vec<Digest>,
    /// Manifests that it needs (it is an index), each once.
    #[serde(default)]
    pub manifests: Vec<Digest>,
    /// The manifest that it says something about.
    #[serde(default)]
    pub subject: Option<Digest>,
    /// Its platform-independent size: what its config and layers weigh together, by its own descriptors.
    #[serde(default)]
    pub content_bytes: u64,
}

/// That a manifest has a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferrerRecord {
    /// What kind of thing it is: its artifact type, or its config's media type.
    #[serde(default)]
    pub artifact_type: Option<String>,
}

/// That a blob may be read through a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord {
    /// Since when.
    pub at: Timestamp,
}

/// Bytes that the storage has whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRecord {
    /// How many.
    pub bytes: u64,
    /// Since when.
    pub since: Timestamp,
    /// When something was last made to refer to it.
    pub touched: Timestamp,
}

/// A record with the transaction that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<T> {
    /// What it says.
    pub record: T,
    /// Which transaction wrote it.
    pub revision: StoreRevision,
}

/// A record's bytes.
///
/// # Errors
/// It cannot be written as JSON, which no record of ours is.
pub fn encode(record: &impl Serialize) -> Result<Bytes, CentreError> {
    serde_json::to_vec(record).map(Bytes::from).map_err(|source| CentreError::Record { key: String::new(), source })
}

/// What an entry says.
///
/// # Errors
/// It is not what this program wrote.
pub fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<Seen<T>, CentreError> {
    let record = serde_json::from_slice(&entry.value);
    let record = record.map_err(|source| CentreError::Record { key: entry.key.clone(), source })?;
    Ok(Seen { record, revision: entry.revision })
}

/// The record at `key`.
///
/// # Errors
/// The store fails, or holds what this program did not write.
pub async fn load<T: DeserializeOwned>(store: &dyn Store, key: &str) -> Result<Option<Seen<T>>, CentreError> {
    store.get(key).await?.as_ref().map(decode).transpose()
}

/// All records under `prefix` with their keys, in the order of the keys.
///
/// # Errors
/// The store fails, or holds what this program did not write.
pub async fn load_all<T: DeserializeOwned>(store: &dyn Store, prefix: &str) -> Result<Vec<(String, Seen<T>)>, CentreError> {
    let entries = store.range(prefix).await?;
    entries.iter().map(|entry| Ok((entry.key.clone(), decode(entry)?))).collect()
}
