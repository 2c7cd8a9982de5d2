//! What runs within containers: second containers and the file caches that hand them files, for containers whose document allows it.
//!
//! ```text
//!   coord ─▶ nested.sock ─▶ socket ─▶ routes ─┬─▶ caches: folders of files, their lists, their times
//!   (in the parent)                           ├─▶ child: image ─ spec ─ inspection ─▶ a runtime of its own (`engine`)
//!         ─▶ stdio.sock ─▶ stdio ─▶ given ────┘     └─ record: what the next agent finds
//!   executor, builder ─▶ Doors: open, close, recover            report ─▶ the loop
//! ```
//! Each container with `nested` in its document has one [`door::Door`]: two sockets in a folder that is mounted into it. Whoever is in the
//! container may knock; which door it is says who knocks. What runs within a container ends with it, agent or no agent: its processes by the
//! kernel, the rest by `close`, or by the next agent. Deliberately absent: rights that the parent does not have (the runtime refuses them),
//! and anything of this for containers without the key: no socket, no folder, no runtime.

mod body;
pub mod caches;
mod child;
mod door;
mod exec;
mod follow;
mod given;
mod image;
mod inspection;
mod listing;
mod local;
mod places;
mod purge;
mod record;
mod recover;
mod refusal;
mod report;
mod routes;
mod socket;
mod spec;
mod stdio;
#[cfg(test)]
mod tests;
mod tools;
mod ttl;

pub use places::logs as log_folder;
pub(crate) use purge::purge;

use crate::containers::happenings::Happenings;
use crate::images::Room;
use coord_image::ImageStore;
use coord_registry::Registry;
use coord_runtime::{EmbeddedRuntime, Isolation, Mount};
use coord_shared::document::Nested as Permission;
use coord_shared::names::{Digest, HostName, PinnedImage};
use coord_shared::wire::nested::NestedReport;
use door::{Door, Stage};
use local::Local;
use report::Reporter;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use tools::Tools;

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

/// What doors work with.
pub struct Hands {
    /// This host's name, for the containers' environment.
    pub host: HostName,
    /// On disk.
    pub state_dir: PathBuf,
    /// In memory.
    pub run_dir: PathBuf,
    /// Where the helpers are, and the program `coord`.
    pub helpers_dir: PathBuf,
    /// How containers are kept apart on this host.
    pub isolation: Isolation,
    /// Holds images.
    pub images: ImageStore,
    /// Fetches them.
    pub registry: Registry,
    /// Makes room for them.
    pub room: Option<Room>,
    /// What happened lately.
    pub happenings: Happenings,
}

/// All doors of this host. Cheap to clone.
#[derive(Clone)]
pub struct Doors {
    tools: Arc<Tools>,
    local: Local,
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.tools.doors().keys()).finish()
    }
}

impl Doors {
    /// None yet. To be called on the agent's thread, in its `LocalSet`, where everything is served.
    pub fn start(hands: Hands) -> Self {
        let reporter = Reporter::new();
        let tools = Arc::new(Tools::new(hands, reporter.clone()));
        tokio::task::spawn_local(report::tell(Arc::downgrade(&tools), reporter));
        Self { tools, local: Local::start() }
    }

    /// Makes the door of a container that is about to be started; what must be mounted into it is returned. The error is in words.
    ///
    /// # Errors
    /// When its folders or sockets cannot be made.
    pub async fn open(&self, parent: NewParent) -> Result<Vec<Mount>, String> {
        let tools = self.tools.clone();
        let opened = self.local.run(async move || {
            if tools.door(&parent.container).is_some() {
                return Err(format!("container {} has a door already", parent.container));
            }
            let door = Door::new(tools.clone(), parent)?;
            let mounts = door.serve()?;
            tools.doors().insert(door.about.container.clone(), door);
            Ok(mounts)
        });
        opened.await.unwrap_or_else(|| Err("the agent is ending".to_owned()))
    }

    /// A container has ended, or is about to be removed: ends what runs within it, deletes its caches, closes its door. When it returns,
    /// nothing of them is left but logs. Does nothing for a container that has no door.
    pub async fn close(&self, container: &str) {
        let Some(door) = self.tools.door(container) else { return };
        let mut stage = door.stage.subscribe();
        // Two may ask at once: the second waits for the first.
        if door.stage.send_if_modified(|stage| std::mem::replace(stage, Stage::Closing) == Stage::Open) {
            self.local.run(async move || close(&door).await).await;
        } else {
            let _ = stage.wait_for(|stage| *stage == Stage::Closed).await;
        }
    }

    /// Takes over what an earlier agent has left of this kind's containers: the doors of those that run are opened again, and of all others
    /// nothing is left when this returns. To be called once for each kind, before any is opened.
    pub async fn recover(&self, kind: ParentKind, runtime: &EmbeddedRuntime, running: &BTreeSet<String>) {
        let (tools, runtime, running) = (self.tools.clone(), runtime.clone(), running.clone());
        self.local.run(async move || recover::recover(&tools, kind, &runtime, &running).await).await;
    }

    /// Whether an earlier agent has left something of this kind's containers.
    pub fn has_left(&self, kind: ParentKind) -> bool {
        let places = &self.tools.places;
        places::names(&places.parents())
            .iter()
            .any(|name| record::About::read(places, name).is_some_and(|about| about.kind == kind))
    }

    /// The folders of the host in which what runs within this container writes, its caches included.
    pub fn written(&self, container: &str) -> Vec<PathBuf> {
        let Some(door) = self.tools.door(container) else { return Vec::new() };
        let places = &self.tools.places;
        let uppers = door.all().into_iter().map(|child| places.upper(&child.record.borrow().container));
        uppers.chain([places.caches(container)]).collect()
    }

    /// What containers have within them, by the container; told anew whenever it changes.
    pub fn reports(&self) -> watch::Receiver<BTreeMap<String, NestedReport>> {
        self.tools.reporter.reports.subscribe()
    }

    /// Forgets all doors, as an agent that is killed does: they and what they work with know each other, which keeps both.
    #[cfg(test)]
    pub(crate) fn abandon(&self) {
        self.tools.doors().clear();
    }

    /// Whether this container has a door.
    pub fn knows(&self, container: &str) -> bool {
        self.tools.door(container).is_some()
    }
}

async fn close(door: &Arc<Door>) {
    door.stop_serving();
    let children = door.all();
    for child in &children {
        child::end_now(door, child, child::WITH_PARENT);
    }
    for child in &children {
        child.gone().await;
    }
    door.given.clear();
    door.caches.remove_all().await;
    let container = &door.about.container;
    recover::forget(&door.tools.places, container).await;
    door.tools.doors().remove(container);
    door.tools.reporter.closed(container);
    door.stage.send_replace(Stage::Closed);
}

/// The images that second containers use.
pub fn images(run_dir: &Path) -> BTreeSet<Digest> {
    places::images(run_dir)
}

/// Where second containers lie: state and run folder, as the runtime takes them.
pub fn folders(state_dir: &Path, run_dir: &Path) -> (PathBuf, PathBuf) {
    let places = places::Places::new(state_dir, run_dir);
    (places.state, places.run)
}
