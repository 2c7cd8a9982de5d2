//! What is told of containers, to people and to programs. Fields are only ever added.

use super::happenings::Happening;
use coord_runtime::Inspected;
use coord_shared::wire::InstanceReport;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One instance in the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRow {
    /// What the agent reports of it.
    #[serde(flatten)]
    pub report: InstanceReport,
    /// Its image, as its document names it; absent where no document says so any more.
    #[serde(default)]
    pub image: Option<String>,
    /// Published ports: `8080->80/tcp`.
    #[serde(default)]
    pub ports: Vec<String>,
}

/// Everything about one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceDetails {
    /// As in the list.
    #[serde(flatten)]
    pub row: InstanceRow,
    /// Its image with the digest that runs.
    pub pinned_image: Option<String>,
    /// The text of the document that it runs, or is to run.
    pub document: Option<String>,
    /// Where its log lies.
    pub log: PathBuf,
    /// Its containers, the newest last.
    pub containers: Vec<ContainerDetails>,
    /// What happened to it, the newest last, as far as the running agent remembers.
    #[serde(default)]
    pub events: Vec<Happening>,
}

/// One container of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerDetails {
    /// What its files say.
    #[serde(flatten)]
    pub files: Inspected,
    /// Its writable layer, on the host.
    pub upper: PathBuf,
}
