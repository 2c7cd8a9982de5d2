//! The control socket: what a person who is logged in to the host asks of the running agent.
//!
//! ```text
//!   coord-agent image ls ─▶ client ─▶ RUN/agent.sock ─▶ socket ─▶ routes ─┬─▶ images (pull, mount, verify, ...)
//!                                      HTTP/1.1, JSON                     ├─▶ containers: the loop's last report, ledger, files
//!                                                                         ├─▶ exec: frames both ways, once the connection is upgraded
//!                                                                         └─▶ Event with a place for the answer ─▶ the loop
//! ```
//! Thin: a route reads its request, asks whoever knows, and writes down the answer. Only root may ask, which the kernel vouches for.
//! Deliberately absent: state of its own, and anything that a document should say.

mod bodies;
mod client;
mod containers;
mod exec;
mod one_off;
mod routes;
mod socket;
#[cfg(test)]
mod tests;
mod volumes;

pub use bodies::{AgentInfo, ImageAsked, PruneAsked, PullLine, UnmountAsked, VerifyAsked, ViewAsked};
pub use client::{Client, encode_name};
pub use one_off::OneOffAsked;
pub(crate) use socket::bind_for;
pub use socket::{bind, serve};

use crate::containers::happenings::Happenings;
use crate::event::Event;
use crate::images::Images;
use crate::metrics::Metrics;
use crate::programs::Programs;
use crate::sync::report::Content;
use crate::volumes::Volumes;
use coord_image::Policy;
use coord_network::Network;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, watch};

/// Whom the routes may ask.
#[derive(Clone)]
pub struct Control {
    /// Of this agent.
    pub info: AgentInfo,
    /// Does what is asked of images.
    pub images: Images,
    /// Which images may go.
    pub policy: Policy,
    /// Reaches the loop.
    pub events: mpsc::Sender<Event>,
    /// What the loop reported last.
    pub content: watch::Receiver<Content>,
    /// What outlives containers.
    pub volumes: Volumes,
    /// What happened lately.
    pub happenings: Happenings,
    /// Runs programs in containers.
    pub programs: Programs,
    /// Tells what containers use.
    pub metrics: Metrics,
    /// Gives out addresses; why not, where it cannot.
    pub network: Result<Network, String>,
    /// Where containers' sockets and states lie.
    pub run_dir: PathBuf,
}

/// Where the socket of the agent with this `run_dir` is.
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join("agent.sock")
}
