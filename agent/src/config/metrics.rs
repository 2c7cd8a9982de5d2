//! `[metrics]` of `agent.toml`: where Prometheus may ask.

use serde::Deserialize;
use std::net::SocketAddr;

/// As it stands in the file.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    /// Address and port. Whoever reaches it can read which containers run here and what they use: keep it to loopback, or to a network
    /// of one's own.
    pub(super) listen: Option<SocketAddr>,
}
