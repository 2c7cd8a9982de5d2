//! The bodies of the admin's side of pipelines and of the image centre: what `coordctl pipeline` and `coordctl image` show.

use super::{CommitView, Head, StepReport};
use crate::names::{Commit, Digest, HostName, PipelineName, Repository, Revision, RunId, SecretName, WorkloadName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /v1/pipelines`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelinesView {
    /// The coordinator's clock.
    pub now: Timestamp,
    /// By name.
    pub pipelines: Vec<PipelineView>,
    /// Files that are no pipelines, as in `StatusView::problems`.
    #[serde(default)]
    pub problems: Vec<super::ProblemView>,
}

/// A pipeline and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipelineView {
    /// Its name.
    pub name: PipelineName,
    /// Where its text comes from: `folder:shop.toml` or `api:NAME-OF-TOKEN`.
    pub source: String,
    /// What is built: a URL with its branch, without credentials.
    pub repository: String,
    /// The host that watches the source; absent while there is none.
    #[serde(default)]
    pub watcher: Option<HostName>,
    /// The newest commit that was seen.
    #[serde(default)]
    pub head: Option<Head>,
    /// Why the source cannot be watched, or no run can start: a sentence each, with its cure.
    #[serde(default)]
    pub problems: Vec<String>,
    /// The newest run.
    #[serde(default)]
    pub last_run: Option<RunView>,
    /// The newest run that succeeded, by number.
    #[serde(default)]
    pub last_success: Option<u64>,
}

/// `GET /v1/pipelines/{name}/runs` (newest first) and `GET /v1/pipelines/{name}/runs/{number}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Which.
    pub run: RunId,
    /// How far it is.
    pub state: RunState,
    /// What is built.
    pub commit: Commit,
    /// What the commit says of itself, once its source was fetched.
    #[serde(default)]
    pub about: Option<CommitView>,
    /// Why there is a run: `push`, `manual by NAME`, `schedule`, `archive by NAME`.
    pub cause: String,
    /// Where it is built.
    #[serde(default)]
    pub builder: Option<HostName>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it came into its state.
    pub since: Timestamp,
    /// When it was over.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// How long each part took, in the order in which they were; the last one goes on while the run is not over.
    #[serde(default)]
    pub stages: Vec<StageTime>,
    /// Its steps, as its builder told last.
    #[serde(default)]
    pub steps: Vec<StepReport>,
    /// Why it waits, failed, or was replaced by a newer one; with its cure.
    #[serde(default)]
    pub problem: Option<String>,
    /// The image that it made.
    #[serde(default)]
    pub image: Option<ImageMade>,
    /// What it published.
    #[serde(default)]
    pub deployed: Option<Deployed>,
}

/// One part of a run and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    /// `queue`, `fetch`, `build`, `test`, `package`, `upload`, `image`, `deploy`.
    pub stage: String,
    /// When it began.
    pub began_at: Timestamp,
    /// How long it took, in milliseconds; absent while it goes on.
    #[serde(default)]
    pub took_ms: Option<u64>,
}

/// An image that was made of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMade {
    /// Where in the image centre it lies.
    pub repository: Repository,
    /// Its manifest.
    pub digest: Digest,
    /// Tags that lead to it now.
    pub tags: Vec<String>,
    /// The size of the layer that the archive became, as it is stored.
    pub layer_bytes: u64,
}

/// What a run published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// Which workload.
    pub workload: WorkloadName,
    /// As which revision.
    pub revision: Revision,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It waits for a builder, or for the run before it.
    Queued,
    /// A builder has it, or is told of it: fetching, building, testing, packaging, uploading.
    Building,
    /// The archive becomes an image.
    Assembling,
    /// The image is there, and the document with it is published; hosts are on their way.
    Deploying,
    /// Over: served everywhere (or the image is there, where nothing is deployed).
    Succeeded,
    /// Over: nothing changed on any host.
    Failed,
    /// Over: somebody wanted that.
    Cancelled,
    /// Over before it began: a newer commit took its place.
    Superseded,
    /// Over: the commit changes nothing that the pipeline builds.
    Skipped,
    /// A state of a newer coordinator.
    #[serde(other)]
    Unknown,
}

impl RunState {
    /// Whether nothing more comes of it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Superseded | Self::Skipped)
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Queued => "queued",
            Self::Building => "building",
            Self::Assembling => "assembling",
            Self::Deploying => "deploying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
        })
    }
}

/// `GET /v1/pipelines/{name}/runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunsView {
    /// The coordinator's clock.
    pub now: Timestamp,
    /// Newest first.
    pub runs: Vec<RunView>,
}

/// `POST /v1/pipelines/{name}/runs`: wants a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRun {
    /// What is built; the newest commit of the source where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// Whether the workload that it publishes may be taken from another source of documents.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
}

/// The answer to [`NewRun`]. A whole [`RunView`] can be read as one, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRunAnswer {
    /// The run; its number is the least that it can have where it is not made yet.
    pub run: RunId,
}

/// What a revision of a workload was made from, where a pipeline or an archive made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The run, where one made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The commit, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// The first line of its message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
}

/// `GET /v1/images`: what the image centre holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImagesView {
    /// The coordinator's clock.
    pub now: Timestamp,
    /// By name.
    pub repositories: Vec<RepositoryView>,
    /// What all blobs take, each counted once.
    pub stored_bytes: u64,
    /// What they may take; absent: as much as there is.
    #[serde(default)]
    pub quota_bytes: Option<u64>,
}

/// A repository of the image centre.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepositoryView {
    /// Its name.
    pub name: Repository,
    /// Newest first.
    pub images: Vec<StoredImageView>,
}

/// One manifest of a repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredImageView {
    /// Which.
    pub digest: Digest,
    /// Tags that lead to it.
    pub tags: Vec<String>,
    /// When it was pushed or made.
    pub pushed_at: Timestamp,
    /// Of manifest, config and layers together.
    pub bytes: u64,
    /// From `org.opencontainers.image.revision`, where it has that.
    #[serde(default)]
    pub commit: Option<String>,
    /// What keeps it: `revision 7 of web`, `tag latest`; empty: it goes with the next collection that its repository's rules allow.
    #[serde(default)]
    pub kept_by: Vec<String>,
}

/// `GET /v1/secrets`: the secrets that the coordinator has, without their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsView {
    /// By name.
    pub secrets: Vec<SecretName>,
}
