//! The container of a step, spelt out. Pure.

use crate::config::BuilderConfig;
use coord_runtime::{
    ContainerSpec, DEFAULT_CAPABILITIES, LogDriver, LogPolicy, Mount, NetworkMode, Resources, SHM_DEFAULT_BYTES, Security,
};
use coord_shared::document::PidsLimit;
use coord_shared::names::{Commit, RunId};
use coord_shared::pipeline::Stage;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where steps find the workspace.
pub(super) const WORKSPACE: &str = "/workspace";
/// One file of a step's raw log; there are two. It is read as it grows.
const RAW_LOG_MAX_BYTES: u64 = 4 << 20;
const RAW_LOG_FILES: u32 = 2;
/// What a step may print in a second: what is more is counted and dropped, and the step goes on at its own speed.
const RAW_LOG_BYTES_PER_S: u64 = 4 << 20;
/// When the whole host runs out of memory, what it serves is worth more than what it builds.
const OOM_SCORE_ADJ: i32 = 500;

/// What a step is about.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) run: RunId,
    pub(super) commit: Commit,
    /// When the commit was made.
    pub(super) at: Timestamp,
}

/// What was made ready for a step on this host.
#[derive(Debug)]
pub(super) struct Ready {
    /// The container's name.
    pub(super) container: String,
    pub(super) lowers: Vec<PathBuf>,
    /// The image's own environment.
    pub(super) image_env: Vec<String>,
    pub(super) user: String,
    pub(super) network: NetworkMode,
    pub(super) hosts_file: Option<String>,
    pub(super) resolv_conf: Option<String>,
    pub(super) mounts: Vec<Mount>,
    /// Names and values.
    pub(super) secrets: Vec<(String, String)>,
    pub(super) raw_log: PathBuf,
}

/// Spells it out. With the host's own root it runs as the host's user of that name, who may nothing that others may not.
pub(super) fn step_spec(
    (stage, command): (&Stage, &str),
    about: &About,
    ready: Ready,
    builder: &BuilderConfig,
    is_host: bool,
) -> ContainerSpec {
    let security = match is_host {
        false => Security::default(),
        true => Security {
            host_users: true,
            cap_drop: DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
            ..Security::default()
        },
    };
    let args = ["/bin/sh", "-e", "-c", command].map(str::to_owned).to_vec();
    let log = LogPolicy {
        driver: LogDriver::JsonFile,
        path: ready.raw_log,
        max_bytes: RAW_LOG_MAX_BYTES,
        max_files: RAW_LOG_FILES,
        rate_bytes_per_s: Some(RAW_LOG_BYTES_PER_S),
    };
    let config_in_memory = !ready.secrets.is_empty();
    ContainerSpec {
        env: environment(stage, about, &ready.image_env, ready.secrets),
        cwd: WORKSPACE.to_owned(),
        user: ready.user,
        hostname: about.run.pipeline.to_string(),
        network: ready.network,
        hosts_file: ready.hosts_file,
        resolv_conf: ready.resolv_conf,
        resources: limits(stage, builder),
        mounts: ready.mounts,
        shm_bytes: SHM_DEFAULT_BYTES,
        // Signals reach the shell, and what it leaves behind is reaped.
        init: true,
        security,
        oom_score_adj: OOM_SCORE_ADJ,
        config_in_memory,
        meta: serde_json::json!({ "run": about.run }),
        ..ContainerSpec::new(&ready.container, ready.lowers, args, log)
    }
}

fn environment(stage: &Stage, about: &About, image: &[String], secrets: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut merged: BTreeMap<String, String> = BTreeMap::new();
    for variable in image {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        merged.insert(name.to_owned(), value.to_owned());
    }
    merged.extend([
        ("CI".to_owned(), "true".to_owned()),
        ("COORD_PIPELINE".to_owned(), about.run.pipeline.to_string()),
        ("COORD_RUN".to_owned(), about.run.to_string()),
        ("COORD_COMMIT".to_owned(), about.commit.to_string()),
        ("SOURCE_DATE_EPOCH".to_owned(), about.at.as_second().to_string()),
    ]);
    merged.extend(stage.environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    merged.extend(secrets);
    merged.into_iter().collect()
}

/// The stage's limits, as far as the builder allows them.
pub(super) fn limits(stage: &Stage, builder: &BuilderConfig) -> Resources {
    let asked = &stage.resources;
    let memory_bytes = asked.memory.map_or(builder.memory_bytes, |memory| memory.0.min(builder.memory_bytes));
    let cpus = [asked.cpus.map(|cpus| cpus.0), builder.cpus_milli];
    let pids = match asked.pids {
        Some(PidsLimit::Count(count)) => count.min(builder.pids),
        Some(PidsLimit::Unlimited) | None => builder.pids,
    };
    Resources {
        memory_bytes: Some(memory_bytes),
        // Swap would be a way around the limit.
        memory_swap_bytes: None,
        memory_reservation_bytes: asked.memory_reservation.map(|bytes| bytes.0.min(memory_bytes)),
        cpus_milli: cpus.into_iter().flatten().min(),
        cpuset: asked.cpuset.as_ref().map(|set| set.0.clone()),
        pids: Some(pids),
        io_weight: asked.io_weight,
    }
}
