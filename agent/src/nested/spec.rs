//! A second container, spelt out. Pure.
//!
//! What it may is never more than its parent: the runtime refuses anything else (see `ContainerSpec::parent`). Here it is not even asked for.

use super::caches::Mounted;
use super::given::Files;
use super::image::Ready;
use super::record::About;
use super::refusal::{cure, refuse};
use crate::execute::{arguments, environment};
use coord_runtime::{ContainerSpec, LogDriver, LogPolicy, NetworkMode, Parent, Resources, Security, Stdio};
use coord_shared::decide::nested::capabilities_dropped;
use coord_shared::document::{Nested as Permission, NestedNetwork};
use coord_shared::names::{ChildName, HostName};
use coord_shared::quantity::Signal;
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::NewChild;
use oci_spec::image::Config as ImageConfig;
use std::path::PathBuf;
use std::sync::Arc;

/// Processes and threads of one that does not say: a build or a test, not a service.
const PIDS_DEFAULT: u32 = 500;
/// One file of its log; there are two.
const LOG_MAX_BYTES: u64 = 4 << 20;
const LOG_FILES: u32 = 2;
/// What it may print in a second: what is more is counted and dropped.
const LOG_BYTES_PER_S: u64 = 4 << 20;

/// What was made ready for it on this host.
pub(super) struct Made<'a> {
    /// Its ID in the runtime.
    pub(super) container: String,
    pub(super) name: ChildName,
    pub(super) ready: &'a Ready,
    pub(super) mounted: &'a [Mounted],
    pub(super) parent: Parent,
    /// Where what it prints goes.
    pub(super) log: PathBuf,
    /// Its standard files, where it is in somebody's foreground.
    pub(super) files: Option<Files>,
}

/// Spells it out, and says by which signal it wants to be asked to end.
///
/// # Errors
/// `invalid_request`, where image and request together say no program to run.
pub(super) fn child_spec(
    asked: &NewChild,
    about: &About,
    host: &HostName,
    made: Made<'_>,
) -> Result<(ContainerSpec, i32), ErrorBody> {
    let none = ImageConfig::default();
    let config = made.ready.image.config.config().as_ref().unwrap_or(&none);
    let args = arguments(asked.entrypoint.as_deref(), asked.command.as_deref(), config);
    if args.is_empty() {
        let refusal = refuse("invalid_request", format!("image {} has neither entrypoint nor command", asked.image));
        return Err(cure(refusal, "name a command to run"));
    }
    let non_empty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let stop_signal = config.stop_signal().as_ref().and_then(|signal| signal.parse::<Signal>().ok()).unwrap_or(Signal::TERM).0;
    let network = asked.network.unwrap_or(about.permission.network);
    let log = LogPolicy {
        driver: LogDriver::JsonFile,
        path: made.log,
        max_bytes: LOG_MAX_BYTES,
        max_files: LOG_FILES,
        rate_bytes_per_s: Some(LOG_BYTES_PER_S),
    };
    let mut mounts: Vec<_> = made.mounted.iter().map(|one| one.mount.clone()).collect();
    // What lies within another mount behind it.
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    let spec = ContainerSpec {
        env: environment(told(about, host, &made.name), config, asked.environment.clone()),
        cwd: non_empty(&asked.working_dir).or_else(|| non_empty(config.working_dir())).unwrap_or_else(|| "/".to_owned()),
        user: asked.user.clone().or_else(|| non_empty(config.user())).unwrap_or_default(),
        hostname: made.name.to_string(),
        network: match network {
            NestedNetwork::Parent => NetworkMode::Parent,
            NestedNetwork::None => NetworkMode::None,
        },
        resources: limits(asked, &about.permission),
        mounts,
        read_only: asked.read_only,
        init: asked.init,
        security: Security { cap_drop: capabilities_dropped(asked), ..Security::default() },
        stop_signal,
        stdio: made.files.map_or(Stdio::Logged, |files| Stdio::Given(Arc::new(files))),
        // Whoever asks for it may have written a secret into its environment.
        config_in_memory: true,
        parent: Some(made.parent),
        meta: serde_json::json!({ "parent": about.container, "name": made.name }),
        ..ContainerSpec::new(&made.container, made.ready.lowers.clone(), args, log)
    };
    Ok((spec, stop_signal))
}

/// What it is told of itself.
fn told(about: &About, host: &HostName, name: &ChildName) -> Vec<(&'static str, String)> {
    vec![
        ("COORD_HOST", host.to_string()),
        ("COORD_INSTANCE", about.shown.clone()),
        ("COORD_PARENT", about.container.clone()),
        ("COORD_NAME", name.to_string()),
    ]
}

/// What all of a container's second containers may use together.
pub(super) fn limits_of_all(permission: &Permission) -> Resources {
    Resources {
        memory_bytes: permission.memory.map(|size| size.0),
        cpus_milli: permission.cpus.map(|cpus| cpus.0),
        pids: Some(permission.pids),
        ..Resources::default()
    }
}

fn limits(asked: &NewChild, permission: &Permission) -> Resources {
    Resources {
        memory_bytes: asked.memory.map(|size| size.0),
        cpus_milli: asked.cpus.map(|cpus| cpus.0),
        pids: Some(asked.pids.unwrap_or(PIDS_DEFAULT).min(permission.pids)),
        ..Resources::default()
    }
}
