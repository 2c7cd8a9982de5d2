//! Routes for `coord-agent run` on a host whose agent keeps the network: only one process may give out addresses.

use super::Control;
use super::routes::{Refusal, refuse};
use crate::event::Event;
use coord_network::{Lease, Network};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

/// `POST /v1/one-off/{lease,connect,release}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OneOffAsked {
    /// Which one-off container.
    pub container: String,
    /// Where its network namespace can be opened; to connect it.
    #[serde(default)]
    pub namespace: PathBuf,
}

/// Reserves addresses. The loop looks at the one-off containers again, so that what keeps the network keeps theirs.
pub(super) async fn lease(asked: OneOffAsked, control: &Control) -> Result<Lease, Refusal> {
    let lease = network(&asked, control)?.lease(&asked.container).map_err(|e| failed(&e))?;
    // The loop is gone only when the process is about to be.
    let _ = control.events.send(Event::Timer).await;
    Ok(lease)
}

/// Connects its network namespace.
pub(super) async fn connect(asked: OneOffAsked, control: &Control) -> Result<(), Refusal> {
    let network = network(&asked, control)?;
    if !asked.namespace.starts_with("/proc") {
        return Err(bad("a network namespace is named by a path below /proc"));
    }
    let lease = network.leased(&asked.container).ok_or_else(|| bad("it has no addresses yet"))?;
    let namespace = File::open(&asked.namespace).map_err(|e| bad(&format!("cannot open {}: {e}", asked.namespace.display())))?;
    network.attach(&lease, namespace.as_fd()).await.map_err(|e| failed(&e))
}

/// Gives back what it had. May be repeated.
pub(super) async fn release(asked: OneOffAsked, control: &Control) -> Result<(), Refusal> {
    network(&asked, control)?.release(&asked.container).await.map_err(|e| failed(&e))
}

/// The network, for a container that may ask: those of documents are the loop's alone.
fn network<'a>(asked: &OneOffAsked, control: &'a Control) -> Result<&'a Network, Refusal> {
    if !is_one_off(&control.run_dir, &asked.container) {
        return Err(bad(&format!("{} is no one-off container of this host", asked.container)));
    }
    let unusable =
        |problem: &String| refuse(StatusCode::SERVICE_UNAVAILABLE, "no_network", problem, Some("see `coord-agent doctor`"));
    control.network.as_ref().map_err(unusable)
}

fn is_one_off(run_dir: &Path, container: &str) -> bool {
    crate::one_off::containers(run_dir).iter().any(|one| one.to_string() == container)
}

fn failed(error: &coord_network::NetworkError) -> Refusal {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "network", &crate::chain(error), None)
}

fn bad(problem: &str) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, "invalid_request", problem, None)
}
