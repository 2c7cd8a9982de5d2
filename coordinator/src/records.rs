//! What the store's keys hold. JSON, written and read only here; a field is only ever added.
//!
//! ```text
//! token/SHA256           TokenRecord       who a token speaks for
//! token-name/NAME        TokenNameRecord   which token has a name, and since when
//! host/HOST              HostRecord        a known host and its labels
//! assign/HOST            AssignRecord      what the host was last told: its generation and instances; outlives the host
//! workload/NAME          WorkloadRecord    where a name stands; outlives its deletion, so that revisions never repeat
//! revision/NAME/NUMBER   RevisionRecord    the text and the pinned image of one revision
//! history/NAME/NUMBER    HistoryEntry      what changed, as it is shown
//! waiting/NAME           WaitingRecord     a text that waits for its image to be resolved
//! pipeline/NAME          PipelineRecord    a pipeline; outlives its deletion, so that runs never repeat a number
//! run/NAME/NUMBER        RunRecord         one run of a pipeline
//! ```

use bytes::Bytes;
use coord_shared::document::Document;
use coord_shared::names::{
    Digest, Generation, HostName, ImageReference, Labels, NameError, PipelineName, RepositoryPattern, Revision, TokenName,
    WorkloadName,
};
use coord_shared::wire::Origin;
use coord_store::{Entry, Store, StoreError};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Prefix of tokens.
pub const TOKEN: &str = "token/";
/// Prefix of tokens' names.
pub const TOKEN_NAME: &str = "token-name/";
/// Prefix of known hosts.
pub const HOST: &str = "host/";
/// Prefix of what hosts were told.
pub const ASSIGN: &str = "assign/";
/// Prefix of workloads.
pub const WORKLOAD: &str = "workload/";
/// Prefix of waiting texts.
pub const WAITING: &str = "waiting/";

/// Where one revision's record lies. Numbers are padded, so that keys sort as numbers do.
pub fn revision_key(name: &WorkloadName, revision: Revision) -> String {
    format!("{}{:020}", revision_prefix(name), revision.0)
}

/// Where a workload's revisions lie.
pub fn revision_prefix(name: &WorkloadName) -> String {
    format!("revision/{name}/")
}

/// Where one revision's history entry lies.
pub fn history_key(name: &WorkloadName, revision: Revision) -> String {
    format!("{}{:020}", history_prefix(name), revision.0)
}

/// Where a workload's history lies.
pub fn history_prefix(name: &WorkloadName) -> String {
    format!("history/{name}/")
}

/// Where a workload's record lies.
pub fn workload_key(name: &WorkloadName) -> String {
    format!("{WORKLOAD}{name}")
}

/// Where a workload's waiting text lies.
pub fn waiting_key(name: &WorkloadName) -> String {
    format!("{WAITING}{name}")
}

/// Where a host's record lies.
pub fn host_key(host: &HostName) -> String {
    format!("{HOST}{host}")
}

/// Where lies what a host was told.
pub fn assign_key(host: &HostName) -> String {
    format!("{ASSIGN}{host}")
}

/// Where a token's record lies, by the SHA-256 of the token in hex.
pub fn token_key(sha256_hex: &str) -> String {
    format!("{TOKEN}{sha256_hex}")
}

/// Where lies which token has a name.
pub fn token_name_key(name: &TokenName) -> String {
    format!("{TOKEN_NAME}{name}")
}

/// Where documents come from. A name belongs to one source at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// A file of the watched folder, by its name.
    Folder(String),
    /// The API, by the name of the token that was used.
    Api(String),
    /// The runs of a pipeline.
    Pipeline(PipelineName),
}

impl Source {
    /// Whether a name of `self` may be changed by `other` without taking it over. The holders of API tokens share their names.
    pub fn is_same_owner(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Folder(a), Self::Folder(b)) => a == b,
            (Self::Api(_), Self::Api(_)) => true,
            (Self::Pipeline(a), Self::Pipeline(b)) => a == b,
            (Self::Folder(_) | Self::Api(_) | Self::Pipeline(_), _) => false,
        }
    }

    /// Who acts through it, for the history.
    pub fn who(&self) -> &str {
        match self {
            Self::Folder(_) => "folder",
            Self::Api(name) => name,
            Self::Pipeline(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(file) => write!(f, "folder:{file}"),
            Self::Api(name) => write!(f, "api:{name}"),
            Self::Pipeline(name) => write!(f, "pipeline:{name}"),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("folder", file)) => Ok(Self::Folder(file.to_owned())),
            Some(("api", name)) => Ok(Self::Api(name.to_owned())),
            Some(("pipeline", name)) => Ok(Self::Pipeline(name.parse().map_err(|e: NameError| e.to_string())?)),
            Some(_) | None => Err(format!("{text:?} is not a source of documents")),
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

/// Who a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRecord {
    /// An admin, by name.
    Admin(String),
    /// The agent of one host.
    Agent(HostName),
    /// Somebody who may use parts of the image centre, and nothing else.
    Registry(RegistryRights),
}

/// What a token of the image centre opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRights {
    /// The token's name.
    pub name: TokenName,
    /// What may be pulled.
    #[serde(default)]
    pub pull: Vec<RepositoryPattern>,
    /// What may be pushed and pulled.
    #[serde(default)]
    pub push: Vec<RepositoryPattern>,
}

/// Which token has a name. The one that the first start made has none of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenNameRecord {
    /// The SHA-256 of the token, in hex.
    pub sha256: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// With which token, by name.
    pub made_by: String,
}

/// A known host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// The SHA-256 of its agent's token, in hex.
    pub token_sha256: String,
    /// When it was made known.
    pub added_at: Timestamp,
    /// As it last reported them.
    #[serde(default)]
    pub labels: Labels,
}

/// What a host was last told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AssignRecord {
    /// Grows with every change of what follows.
    pub generation: Generation,
    /// In the order of their names.
    pub instances: Vec<Assigned>,
    /// What it may fetch the images of before its turn comes; the most urgent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefetch: Vec<Assigned>,
    /// The digest of the logins that it was given, if any: a change must be told, and a secret need not be kept here for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logins: Option<Digest>,
    /// The digest of the sources and runs that it was given to look at and to build, if any; what they are is in their own records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<Digest>,
}

impl AssignRecord {
    /// The revision of `workload` that the host was told to run.
    pub fn revision_of(&self, workload: &WorkloadName) -> Option<Revision> {
        self.instances.iter().find(|i| i.workload == *workload).map(|i| i.revision)
    }
}

/// One instance that a host was told to run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Assigned {
    /// The workload.
    pub workload: WorkloadName,
    /// The instance's number within it.
    pub index: u32,
    /// Which revision.
    pub revision: Revision,
}

/// Where a name stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRecord {
    /// The newest number that was given out; for a deleted workload that of the deletion, which has no text.
    pub newest: Revision,
    /// Whose it is, or whose it was when it was deleted.
    pub source: Source,
    /// When `newest` was made.
    pub at: Timestamp,
    /// Whether it is deleted.
    #[serde(default)]
    pub deleted: bool,
    /// The last revision that had a text.
    pub last_text: Revision,
}

/// One revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRecord {
    /// The document, as its author wrote it.
    pub text: String,
    /// The image, as written there.
    pub image: ImageReference,
    /// What it stood for when the revision was published.
    pub digest: Digest,
    /// When that was.
    pub at: Timestamp,
    /// What it was made from, where a pipeline or an archive made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A text that waits for its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRecord {
    /// The document.
    pub text: String,
    /// Its image.
    pub image: ImageReference,
    /// Where it comes from.
    pub source: Source,
    /// Since when it waits.
    pub at: Timestamp,
}

/// A revision with its document parsed.
#[derive(Debug, Clone)]
pub struct ParsedRevision {
    /// As stored.
    pub record: RevisionRecord,
    /// Its document; `None` if this version of the parser refuses what an earlier one took.
    pub document: Option<Document>,
    /// Names the container that it makes; absent with the document.
    pub fingerprint: Option<Digest>,
}

impl From<RevisionRecord> for ParsedRevision {
    fn from(record: RevisionRecord) -> Self {
        let document = coord_shared::document::parse(&record.text).ok();
        let fingerprint = document.as_ref().map(|d| d.fingerprint(&record.digest));
        Self { record, document, fingerprint }
    }
}

/// Why a record could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The value is none of ours, or damaged.
    #[error("store: the record {key} is unreadable")]
    Unreadable {
        /// Its key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// As it is stored.
pub fn encode<T: Serialize>(record: &T) -> Bytes {
    // Records are structs of strings, numbers and lists with string keys, and JSON can always hold those.
    Bytes::from(serde_json::to_vec(record).expect("records have only string keys"))
}

/// Reads what [`encode`] wrote.
pub fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, RecordError> {
    serde_json::from_slice(value).map_err(|source| RecordError::Unreadable { key: key.to_owned(), source })
}

/// One record and the transaction that wrote it.
pub async fn load<T: DeserializeOwned>(store: &dyn Store, key: &str) -> Result<Option<(T, u64)>, RecordError> {
    match store.get(key).await? {
        Some(Entry { key, value, revision }) => Ok(Some((decode(&key, &value)?, revision))),
        None => Ok(None),
    }
}
