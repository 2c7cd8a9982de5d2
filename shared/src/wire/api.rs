//! The bodies of the admin's side of the API: what `coordctl` shows.

use super::{HostFacts, InstanceReport, PrefetchState};
use crate::decide::liveness::Liveness;
use crate::decide::reason::Reason;
use crate::names::{Digest, Generation, HostName, ImageReference, Labels, Revision, WorkloadName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The one shape of every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Part of the contract: programs may match on it (`unauthorized`, `unknown_host`, `invalid_document`, ...).
    pub code: String,
    /// What went wrong, with the object's name.
    pub message: String,
    /// The cure, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The rendered diagnostics of an invalid document, and what else needs more than a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// The coordinator's clock, so that ages need no clock of the reader.
    pub now: Timestamp,
    /// By name.
    pub workloads: Vec<WorkloadView>,
    /// Sources that could not be published, by name: what ran before still runs.
    #[serde(default)]
    pub problems: Vec<ProblemView>,
}

/// One workload and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadView {
    /// Its name.
    pub name: WorkloadName,
    /// The newest published revision; absent while the first waits to be published.
    pub revision: Option<Revision>,
    /// The image as written.
    pub image: Option<ImageReference>,
    /// What it stood for at publish.
    pub digest: Option<Digest>,
    /// Where the document comes from: `folder:web.toml` or `api:NAME-OF-TOKEN`.
    pub source: String,
    /// When that revision was published.
    pub published_at: Option<Timestamp>,
    /// Hosts that the document selects.
    pub targets: u32,
    /// Targets whose instance is ready in the newest revision.
    pub ready: u32,
    /// What that revision was made from, where a pipeline made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<super::Origin>,
    /// What concerns the workload as a whole; empty where nothing does.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    /// One for each target, and for each host that still has a container of it.
    #[serde(default)]
    pub instances: Vec<InstanceView>,
    /// Being deleted: shown until the last container is gone.
    #[serde(default)]
    pub deleting: bool,
}

/// One instance on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Where.
    pub host: HostName,
    /// How that host is.
    pub liveness: Liveness,
    /// Which revision the host is told to run; absent while it should run none.
    pub assigned: Option<Revision>,
    /// What the host said of it last; absent if it never said anything.
    pub report: Option<InstanceReport>,
    /// Why it is not as desired, as the coordinator sees it; the report has the agent's own.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// While it waits for its turn: how far the newest revision's image is on that host, as far as it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<PrefetchState>,
}

/// A document that could not be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemView {
    /// The source, as in [`WorkloadView::source`].
    pub source: String,
    /// One line.
    pub summary: String,
    /// The rendered diagnostics.
    #[serde(default)]
    pub detail: Option<String>,
}

/// One host, as `GET /v1/hosts` lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostView {
    /// Its name.
    pub name: HostName,
    /// Whether it is heard of.
    pub liveness: Liveness,
    /// When it was last heard of.
    pub last_seen: Option<Timestamp>,
    /// As it reported them.
    #[serde(default)]
    pub labels: Labels,
    /// As it reported them.
    #[serde(default)]
    pub facts: Option<HostFacts>,
    /// Its agent's version.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// The host state that it should have.
    pub generation: Generation,
    /// The one that it said it has.
    #[serde(default)]
    pub accepted: Option<Generation>,
    /// Instances that it reported as running.
    pub running: u32,
    /// Instances that it should run.
    pub desired: u32,
    /// As it reported them.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// `GET /v1/hosts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostsView {
    /// The coordinator's clock.
    pub now: Timestamp,
    /// By name.
    pub hosts: Vec<HostView>,
}

/// `GET /v1/workloads/{name}/history`: newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryView {
    /// The coordinator's clock.
    pub now: Timestamp,
    /// Newest first.
    pub entries: Vec<HistoryEntry>,
}

/// One accepted change of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The revision that it made.
    pub revision: Revision,
    /// When.
    pub at: Timestamp,
    /// The token's name, or `folder`.
    pub who: String,
    /// As in [`WorkloadView::source`].
    pub source: String,
    /// What happened.
    pub action: HistoryAction,
    /// The image as written; absent for a deletion.
    pub image: Option<ImageReference>,
    /// What it stood for.
    pub digest: Option<Digest>,
    /// What changed, a line a key.
    #[serde(default)]
    pub changes: Vec<ChangeView>,
}

/// What a history entry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HistoryAction {
    /// The first revision, or the first after a deletion.
    Create,
    /// A further one.
    Update,
    /// The document is gone.
    Delete,
}

/// One changed key of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    /// Dotted, for example `resources.memory`.
    pub key: String,
    /// Before; absent if the key was not there.
    pub old: Option<String>,
    /// After; absent if the key is gone.
    pub new: Option<String>,
    /// Whether containers are replaced for it.
    pub replaces: bool,
}

/// `POST /v1/diff/{name}` (body: the document's text): what publishing it would do. The same body, with the revision made, answers
/// `PUT /v1/documents/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffView {
    /// Which workload.
    pub name: WorkloadName,
    /// The revision that is there now; absent for a new workload.
    pub current: Option<Revision>,
    /// The revision that was made; absent in a diff and where nothing changed.
    #[serde(default)]
    pub published: Option<Revision>,
    /// Empty: nothing would change.
    pub changes: Vec<ChangeView>,
    /// Hosts where it would start.
    pub starts_on: Vec<HostName>,
    /// Hosts where its container would be replaced.
    pub replaces_on: Vec<HostName>,
    /// Hosts where it would stop.
    pub stops_on: Vec<HostName>,
    /// What a person should know (no host matches, the tag moved, ...).
    #[serde(default)]
    pub reasons: Vec<Reason>,
}

/// `POST /v1/hosts` (body: [`NewHost`]): the token that the new host's agent needs. It is shown this once and stored hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewHostAnswer {
    /// The host.
    pub host: HostName,
    /// For `agent.toml`.
    pub token: String,
}

/// The body of `POST /v1/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewHost {
    /// The name of the host to make known. A known host gets a new token; the old one ends.
    pub host: HostName,
}
