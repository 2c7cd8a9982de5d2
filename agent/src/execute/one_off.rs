//! The container that somebody runs in his foreground, spelt out: as a document's, by the same rules, but with nothing that would
//! outlive it.

use super::container_spec::{Prepared, container_spec};
use super::host;
use super::{mounts, network};
use crate::config::Config;
use crate::state::ContainerMeta;
use crate::volumes::Volumes;
use coord_image::Image;
use coord_network::Lease;
use coord_runtime::{Connect, ContainerSpec, LogPolicy, Stdio};
use coord_shared::decide::planner::Spec;
use coord_shared::document::MountSource;
use coord_shared::names::ContainerId;
use coord_shared::quantity::Signal;
use std::path::PathBuf;

/// What a one-off container is made of.
#[derive(Debug)]
pub struct OneOff<'a> {
    /// Its name.
    pub container: &'a ContainerId,
    /// What was asked for.
    pub spec: &'a Spec,
    /// Its image.
    pub image: &'a Image,
    /// The image's layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Its addresses and who gives them to it, where it is to be on the bridge.
    pub bridge: Option<(Lease, Connect)>,
    /// Its standard input, output and error.
    pub stdio: Stdio,
}

/// Spells it out on this host. Volumes with names are those of everybody; what else would be a volume lies in the container, and goes with
/// it. The error is in words.
pub fn one_off_spec(one: OneOff<'_>, config: &Config) -> Result<ContainerSpec, String> {
    let OneOff { container, spec, image, lowers, bridge, stdio } = one;
    let asked = &spec.document.container;
    let parts = host::devices_of(asked)?;
    let network = network::connected(container, asked, bridge);
    let volumes = Volumes::new(&config.state_dir, &config.run_dir);
    let mut wanted = asked.mounts.clone();
    wanted.retain(|mount| !matches!(mount.source, MountSource::Anonymous));
    let prepared = Prepared {
        lowers,
        network: network.mode,
        hosts_file: network.hosts_file,
        resolv_conf: network.resolv_conf,
        mounts: [mounts::make(volumes, &wanted, container, asked.labels.clone())?, parts.mounts].concat(),
        devices: parts.devices,
        env: parts.env,
        groups: parts.groups,
        rlimits: host::rlimits_of(asked),
        backend: host::backend_of(asked, config.isolation.runtime)?,
        log: LogPolicy::default(),
        // Its door would be the agent's.
        nests: false,
    };
    // What else an agent keeps beside a container is for those that it looks after: all of it may be absent.
    let meta = serde_json::json!({
        "fingerprint": spec.fingerprint,
        "image": spec.image.digest,
        "grace": spec.document.stop_grace_period,
        "stop_signal": Signal::TERM,
    });
    let meta: ContainerMeta = serde_json::from_value(meta).map_err(|e| format!("container {container}: {e}"))?;
    Ok(ContainerSpec { stdio, ..container_spec(container, spec, image, &meta, &config.host, prepared)? })
}
