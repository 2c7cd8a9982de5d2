//! Building: a host with `[builder]` in its `agent.toml` looks at sources and builds commits for the coordinator.
//!
//! ```text
//!   host state ─▶ Wish ─▶ crew ─┬─▶ watch: look at a source again and again ─▶ head ──────────┐
//!                               └─▶ run: fetch ─▶ steps ─▶ pack ─▶ upload ─▶ how far it is ───┴─▶ board ─▶ report
//!                                          │        └─ each in a container of its own, which outlives the agent
//!                                          └─ noted before and after each (`record`): a killed agent is followed by one that goes on
//! ```
//! Steps are somebody else's code: each runs in a container with the default isolation, within the builder's limits of memory, processors,
//! processes, disk, time and words. A run fails in words; nothing that it does ends the agent. Deliberately absent: deciding what is built
//! where and what becomes of the archive (the coordinator's), and anything of this on hosts that do not build.

mod board;
mod caches;
mod checkout;
mod crew;
mod disk;
mod door;
mod error;
mod host_root;
mod live;
mod log;
mod mask;
mod nested;
mod places;
mod prepare;
mod purge;
mod record;
mod run;
mod send;
mod source;
mod spec;
mod step;
#[cfg(test)]
mod tests;
mod tools;
mod tree;
mod users;
mod verdict;
mod watch;

pub use error::BuildError;
pub(crate) use purge::purge;
pub use source::{Fetch, Pending, Repositories};

use crate::config::Config;
use crate::event::Event;
use crate::images::Room;
use crate::nested::Doors;
use crate::sync::coordinators::Coordinators;
use board::Board;
use bytes::Bytes;
use coord_image::ImageStore;
use coord_network::Network;
use coord_registry::Registry;
use coord_shared::names::{ContainerId, Digest, RunId};
use coord_shared::wire::{BuildOrder, BuilderReport, FullReport, HostState, RunLogsRequest, SourceWatch};
use door::Door;
use futures_util::stream::Stream;
use places::Places;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, watch as signal};
use tools::{Claims, Tools};

/// What the coordinator wishes of this host as a builder.
#[derive(Debug, Clone, Default, PartialEq)]
struct Wish {
    watches: Vec<SourceWatch>,
    orders: Vec<BuildOrder>,
}

/// Whether a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Go,
    /// Somebody wants it to end.
    Cancel,
    /// Nobody asks for it any more.
    Gone,
}

/// Waits until a run is to go on no more.
async fn stopped(stop: &mut signal::Receiver<Stop>) {
    if stop.wait_for(|stop| *stop != Stop::Go).await.is_err() {
        // The agent is ending: what runs goes on.
        std::future::pending().await
    }
}

/// What a builder works with beside its configuration.
pub struct Hands {
    /// To whom archives and logs go.
    pub coordinators: Coordinators,
    /// Holds images.
    pub images: ImageStore,
    /// Fetches them.
    pub registry: Registry,
    /// Makes room for them.
    pub room: Option<Room>,
    /// Connects containers; in words, why it cannot.
    pub network: Result<Network, String>,
    /// Asks repositories.
    pub repositories: Box<dyn Repositories>,
    /// Opens doors in steps that may start containers.
    pub doors: Doors,
    /// Where news are told.
    pub events: mpsc::Sender<Event>,
}

/// The builder of a host, as the loop has it. Cheap to clone.
#[derive(Clone)]
pub struct Builder {
    runs: u32,
    places: Places,
    board: Board,
    claims: Claims,
    wish: signal::Sender<Option<Wish>>,
}

impl Builder {
    /// Sets the crew to work, on this thread. `None` where the host does not build.
    ///
    /// # Errors
    /// When its folders cannot be made.
    pub fn start(config: &Config, hands: Hands) -> Result<Option<Self>, BuildError> {
        let Some(builder) = config.builder.clone() else { return Ok(None) };
        let places = Places::new(&config.state_dir, &config.run_dir);
        places.make()?;
        let path = Path::new("/proc/sys/kernel/random/boot_id");
        let boot = std::fs::read_to_string(path).map_err(BuildError::file("read", path))?.trim().to_owned();
        let (board, claims) = (Board::new(hands.events), Claims::default());
        let (wish, wishes) = signal::channel(None);
        let runs = builder.runs;
        let tools = Tools {
            config: config.clone(),
            builder,
            places: places.clone(),
            images: hands.images,
            registry: hands.registry,
            room: hands.room,
            network: hands.network,
            repositories: hands.repositories,
            doors: hands.doors,
            door: Door::new(hands.coordinators, config.host.clone()),
            board: board.clone(),
            boot,
            claims: claims.clone(),
            engine: OnceCell::new(),
        };
        tokio::task::spawn_local(crew::Crew::new(tools).work(wishes));
        Ok(Some(Self { runs, places, board, claims, wish }))
    }

    /// Takes in what the accepted host state wishes.
    pub fn want(&self, state: &HostState) {
        self.wish.send_if_modified(|wish| {
            let is_same = wish.as_ref().is_some_and(|wish| wish.watches == state.watches && wish.orders == state.builds);
            if !is_same {
                *wish = Some(Wish { watches: state.watches.clone(), orders: state.builds.clone() });
            }
            !is_same
        });
    }

    /// Adds what is to be told of this host as a builder.
    pub fn tell(&self, report: &mut FullReport) {
        report.builder = Some(BuilderReport { runs: self.runs });
        (report.heads, report.builds) = self.board.all();
    }

    /// The containers that have addresses.
    pub fn containers(&self) -> BTreeSet<String> {
        let claimed = self.claims.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        places::names(&self.places.run.join("c")).into_iter().chain(claimed).collect()
    }

    /// The log of a run as it grows: lines of JSON. The error is in words for people.
    ///
    /// # Errors
    /// When the run has no log here.
    pub fn log(
        &self,
        asked: &RunLogsRequest,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + 'static + use<>, String> {
        live::lines(self, asked)
    }

    /// Whether more may come of a run.
    fn is_at_work(&self, run: &RunId) -> bool {
        self.board.build(run).is_some_and(|build| !build.phase.is_over())
    }
}

/// What asks git and Subversion, by the host's own programs.
///
/// # Errors
/// When the folder of their configuration cannot be made.
pub fn programs(config: &Config) -> Result<Box<dyn Repositories>, coord_source::SourceError> {
    let disk_bytes = config.builder.as_ref().map_or(u64::MAX, |builder| builder.disk_bytes);
    Ok(Box::new(source::Programs::open(&config.state_dir.join("builds").join("source"), disk_bytes)?))
}

/// Where the containers of steps lie: state and run folder, as the runtime takes them.
pub fn folders(state_dir: &Path, run_dir: &Path) -> (PathBuf, PathBuf) {
    let places = Places::new(state_dir, run_dir);
    (places.state, places.run)
}

/// As people are shown the container of a step: `build-shop.12` is a step of the run `shop.12`. `None` for other containers.
pub fn shown_as(container: &str) -> Option<ContainerId> {
    places::shown_as(container)
}

/// The images that runs use.
pub fn images(run_dir: &Path) -> BTreeSet<Digest> {
    places::images(run_dir)
}
