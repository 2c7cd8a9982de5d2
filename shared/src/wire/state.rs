//! The host state: what one host should run, compiled for it by the coordinator. TOML, so that `curl` shows it readably.

use super::build::{BuildOrder, RunLogsRequest, SourceWatch};
use super::registry::RegistryLogin;
use crate::names::{Digest, Generation, HostName, ImageReference, InstanceId, PinnedImage, Revision, WorkloadName};
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};

/// Largest host state that an agent reads, in bytes: hundreds of workloads with documents of a usual size.
pub const HOST_STATE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Everything that one host should run now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// [`super::WIRE_VERSION`] of the writer.
    pub version: u32,
    /// Whom it is for; an agent refuses another's.
    pub host: HostName,
    /// Grows with every change of what follows, sessions apart. An equal generation means equal instances.
    pub generation: Generation,
    /// What should run.
    #[serde(default, rename = "instance", skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<DesiredInstance>,
    /// Images to fetch ahead, the most urgent first: what the host will be told to run once its turn has come. Nothing is started for
    /// them, and one that cannot be fetched holds up nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "known_ones")]
    pub prefetch: Vec<Prefetch>,
    /// Sources that the host looks at for the coordinator.
    #[serde(default, rename = "watch", skip_serializing_if = "Vec::is_empty", deserialize_with = "known_ones")]
    pub watches: Vec<SourceWatch>,
    /// Runs of pipelines that the host should build, in this order.
    #[serde(default, rename = "build", skip_serializing_if = "Vec::is_empty", deserialize_with = "known_ones")]
    pub builds: Vec<BuildOrder>,
    /// How to get at the registries of all these images, where the coordinator knows more than the host may.
    #[serde(default, rename = "registry", skip_serializing_if = "Vec::is_empty", deserialize_with = "known_ones")]
    pub registries: Vec<RegistryLogin>,
    /// Sessions that wait for this agent to dial in; not part of the desired state and in no generation.
    #[serde(default, rename = "session", skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<Session>,
}

/// One instance that the host should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredInstance {
    /// The workload.
    pub workload: WorkloadName,
    /// The instance's number within it.
    pub index: u32,
    /// Which revision of the document.
    pub revision: Revision,
    /// What the document's image stood for when that revision was published.
    pub digest: Digest,
    /// The operator's own text: the agent checks the original itself.
    pub document: String,
}

impl DesiredInstance {
    /// The instance that this describes.
    pub fn id(&self) -> InstanceId {
        InstanceId { workload: self.workload.clone(), index: self.index }
    }
}

/// One image to fetch ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefetch {
    /// As the operator wrote it: where to ask for it.
    pub image: ImageReference,
    /// What it stood for when it was published.
    pub digest: Digest,
}

impl Prefetch {
    /// As a pull takes it.
    pub fn pinned(&self) -> PinnedImage {
        self.image.clone().pin(self.digest.clone())
    }
}

/// A request of an admin that the agent answers by dialling in with `POST /v1/hosts/{host}/sessions/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Session {
    /// Names the session at the coordinator; unguessable.
    pub id: String,
    /// What is asked. A kind that an older agent does not know reads as `None`, and is answered with an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<LogsRequest>,
    /// A program to run in a container: the agent dials a WebSocket, `GET` on the same path, which carries [`super::Frame`]s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<super::ExecRequest>,
    /// Something about the host's volumes; answered with one JSON body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<VolumesRequest>,
    /// The log of a run that is built here; answered with a stream of [`super::RunLogLine`]s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_logs: Option<RunLogsRequest>,
}

/// Asks about the host's volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumesRequest {
    /// All of them.
    List,
    /// Delete one and all that is in it. Refused while a container uses it.
    Remove {
        /// Which.
        name: crate::names::VolumeName,
    },
}

/// Asks for an instance's log lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsRequest {
    /// Whose log.
    pub instance: InstanceId,
    /// How many of the newest lines to begin with.
    pub tail: u32,
    /// Whether to go on with new lines as they come.
    #[serde(default)]
    pub follow: bool,
    /// Lines that are not older than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<jiff::Timestamp>,
}

/// Why a text is not a host state that this agent may accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not TOML, or not of the shape of a host state.
    #[error("host state is unreadable: {0}")]
    Unreadable(String),
    /// Written by a newer coordinator.
    #[error("host state has version {0}, and this agent reads up to {max}; upgrade coord-agent", max = super::WIRE_VERSION)]
    TooNew(u32),
    /// Two entries for one instance.
    #[error("host state names instance {0} twice")]
    Duplicate(InstanceId),
}

impl HostState {
    /// A host state without instances, before anything was published.
    pub fn empty(host: HostName) -> Self {
        Self {
            version: super::WIRE_VERSION,
            host,
            generation: Generation(0),
            instances: Vec::new(),
            prefetch: Vec::new(),
            watches: Vec::new(),
            builds: Vec::new(),
            registries: Vec::new(),
            sessions: Vec::new(),
        }
    }

    /// As it travels.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a host state holds only strings, integers and tables, which TOML can always write")
    }

    /// Reads what [`Self::to_toml`] wrote, by this or another version.
    pub fn from_toml(text: &str) -> Result<Self, StateError> {
        let state: Self = toml::from_str(text).map_err(|e| StateError::Unreadable(e.message().to_owned()))?;
        if state.version > super::WIRE_VERSION {
            return Err(StateError::TooNew(state.version));
        }
        let mut seen = std::collections::BTreeSet::new();
        match state.instances.iter().map(DesiredInstance::id).find(|id| !seen.insert(id.clone())) {
            Some(twice) => Err(StateError::Duplicate(twice)),
            None => Ok(state),
        }
    }
}

/// Of a list of helps, those that this version can read: one of another age must not cost the whole host state.
fn known_ones<'de, D: Deserializer<'de>, T: DeserializeOwned>(list: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entry<T> {
        Known(T),
        Unknown(IgnoredAny),
    }
    let entries = Vec::<Entry<T>>::deserialize(list)?;
    let known = entries.into_iter().filter_map(|entry| match entry {
        Entry::Known(one) => Some(one),
        Entry::Unknown(IgnoredAny) => None,
    });
    Ok(known.collect())
}
