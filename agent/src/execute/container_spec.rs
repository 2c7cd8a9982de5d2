//! What a document and an image make together: the container, spelt out.
//!
//! The rules of merging are Docker's (and the OCI image spec's, config.md, "Conversion to runtime configuration"): a document's
//! entrypoint sets the image's command aside; environments are laid over each other; everything else is the document's, else the
//! image's, else a default.

use crate::state::ContainerMeta;
use coord_image::Image;
use coord_runtime::{
    Backend, ContainerSpec, DeviceFile, LogPolicy, Mount, NetworkMode, Resources, SHM_DEFAULT_BYTES, Security, Stdio,
};
use coord_shared::decide::planner::Spec;
use coord_shared::document;
use coord_shared::names::{ContainerId, HostName};
use oci_spec::image::Config as ImageConfig;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What programs are looked up in where neither image nor document says (Docker's default).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What was made ready on this host for the container.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The image's layers, topmost first.
    pub(super) lowers: Vec<PathBuf>,
    pub(super) network: NetworkMode,
    pub(super) hosts_file: Option<String>,
    pub(super) resolv_conf: Option<String>,
    pub(super) mounts: Vec<Mount>,
    pub(super) devices: Vec<DeviceFile>,
    /// Stronger than the document's.
    pub(super) env: Vec<(String, String)>,
    /// Beside the document's.
    pub(super) groups: Vec<String>,
    pub(super) rlimits: Vec<(String, u64, u64)>,
    pub(super) backend: Backend,
    pub(super) log: LogPolicy,
    /// Others may run within it.
    pub(super) nests: bool,
}

/// Merges `spec` and `image`. Errors, in words for the operator, if together they say no program to run.
pub(super) fn container_spec(
    id: &ContainerId,
    spec: &Spec,
    image: &Image,
    meta: &ContainerMeta,
    host: &HostName,
    prepared: Prepared,
) -> Result<ContainerSpec, String> {
    let none = ImageConfig::default();
    let config = image.config.config().as_ref().unwrap_or(&none);
    let container = &spec.document.container;
    let args = arguments(container.entrypoint.as_deref(), container.command.as_deref(), config);
    if args.is_empty() {
        return Err(format!("image {} has neither entrypoint nor command; set command in the document", spec.image.reference));
    }
    let non_empty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Ok(ContainerSpec {
        id: id.to_string(),
        lowers: prepared.lowers,
        args,
        env: environment(about(id, host), config, container.environment.clone().into_iter().chain(prepared.env)),
        cwd: container.working_dir.clone().or_else(|| non_empty(config.working_dir())).unwrap_or_else(|| "/".to_owned()),
        user: container.user.clone().or_else(|| non_empty(config.user())).unwrap_or_default(),
        hostname: hostname(id, container),
        groups: [container.security.group_add.clone(), prepared.groups].concat(),
        network: prepared.network,
        hosts_file: prepared.hosts_file,
        resolv_conf: prepared.resolv_conf,
        resources: resources(&container.resources),
        mounts: prepared.mounts,
        shm_bytes: container.shm_size.map_or(SHM_DEFAULT_BYTES, |size| size.0),
        read_only: container.read_only,
        init: container.init,
        security: security(&container.security),
        devices: prepared.devices,
        rlimits: prepared.rlimits,
        sysctls: container.sysctls.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        oom_score_adj: container.oom_score_adj.map_or(0, i32::from),
        backend: prepared.backend,
        stop_signal: meta.stop_signal.0,
        stdio: Stdio::Logged,
        log: prepared.log,
        config_in_memory: false,
        parent: None,
        nests: prepared.nests,
        inspection: None,
        meta: serde_json::to_value(meta).map_err(|e| format!("cannot write down what container {id} is made of: {e}"))?,
    })
}

/// What the container calls itself.
pub(super) fn hostname(id: &ContainerId, asked: &document::Container) -> String {
    asked.hostname.clone().unwrap_or_else(|| format!("{}-{}", id.instance.workload, id.instance.index))
}

fn resources(asked: &document::Resources) -> Resources {
    Resources {
        memory_bytes: asked.memory.map(|size| size.0),
        memory_swap_bytes: asked.memory_swap.map(|size| size.0),
        memory_reservation_bytes: asked.memory_reservation.map(|size| size.0),
        cpus_milli: asked.cpus.map(|cpus| cpus.0),
        cpuset: asked.cpuset.as_ref().map(|set| set.0.clone()),
        pids: match asked.pids {
            None => Some(document::PIDS_DEFAULT),
            Some(document::PidsLimit::Count(count)) => Some(count),
            Some(document::PidsLimit::Unlimited) => None,
        },
        io_weight: asked.io_weight,
    }
}

fn security(asked: &document::Security) -> Security {
    Security {
        cap_add: asked.cap_add.iter().cloned().collect(),
        cap_drop: asked.cap_drop.iter().cloned().collect(),
        privileged: asked.privileged,
        seccomp_unconfined: asked.seccomp_unconfined,
        unmasked: asked.unmasked,
        new_privileges: asked.new_privileges,
        host_users: asked.host_users,
        host_pid: asked.host_pid,
        host_ipc: asked.host_ipc,
    }
}

/// Program and arguments, where a container's own (`entrypoint`, `command`) are laid over those of its image.
pub(crate) fn arguments(entrypoint: Option<&[String]>, command: Option<&[String]>, image: &ImageConfig) -> Vec<String> {
    let image_entrypoint = image.entrypoint().as_deref().unwrap_or_default();
    let image_command = image.cmd().as_deref().unwrap_or_default();
    match (entrypoint, command) {
        (Some(entrypoint), command) => [entrypoint, command.unwrap_or_default()].concat(),
        (None, Some(command)) => [image_entrypoint, command].concat(),
        (None, None) => [image_entrypoint, image_command].concat(),
    }
}

/// Environments laid over each other, the strongest last: what the agent says, the image's, those of `stronger` in their order.
pub(crate) fn environment(
    of_agent: Vec<(&str, String)>,
    image: &ImageConfig,
    stronger: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let mut merged = BTreeMap::from([("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
    merged.extend(of_agent.into_iter().map(|(name, value)| (name.to_owned(), value)));
    for variable in image.env().as_deref().unwrap_or_default() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        merged.insert(name.to_owned(), value.to_owned());
    }
    merged.extend(stronger);
    merged.into_iter().collect()
}

/// What every container of an instance is told of itself.
fn about(id: &ContainerId, host: &HostName) -> Vec<(&'static str, String)> {
    vec![
        ("COORD_HOST", host.to_string()),
        ("COORD_INSTANCE", id.instance.to_string()),
        ("COORD_WORKLOAD", id.instance.workload.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::ConfigBuilder;

    fn check(entrypoint: Option<&[&str]>, command: Option<&[&str]>, expect: &[&str]) {
        let owned = |words: Option<&[&str]>| words.map(|words| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let image =
            ConfigBuilder::default().entrypoint(["/init".to_owned()]).cmd(["serve".to_owned()]).build().expect("an image config");
        let got = arguments(owned(entrypoint).as_deref(), owned(command).as_deref(), &image);
        assert_eq!(got, expect);
    }

    #[test]
    fn what_counts_as_loosened_is_what_the_runtime_does_not_give() {
        assert_eq!(document::DEFAULT_CAPABILITIES, coord_runtime::DEFAULT_CAPABILITIES);
    }

    #[test]
    fn entrypoint_and_command_are_merged_as_docker_does() {
        check(None, None, &["/init", "serve"]);
        check(None, Some(&["help"]), &["/init", "help"]);
        check(Some(&["/bin/sh"]), None, &["/bin/sh"]);
        check(Some(&["/bin/sh"]), Some(&["-c", "true"]), &["/bin/sh", "-c", "true"]);
        check(Some(&[]), Some(&["true"]), &["true"]);
    }

    #[test]
    fn the_documents_environment_is_the_strongest() {
        let image = ConfigBuilder::default().env(["A=image".to_owned(), "B=image".to_owned()]).build().expect("an image config");
        let id: ContainerId = "web.0-r1-1".parse().expect("a container");
        let host: HostName = "h".parse().expect("a host");
        let stronger = [("B", "document"), ("GPU", "device")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let merged = environment(about(&id, &host), &image, stronger);
        let value = |name: &str| merged.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("A"), Some("image"));
        assert_eq!(value("B"), Some("document"));
        assert_eq!(value("GPU"), Some("device"));
        assert_eq!(value("PATH"), Some(DEFAULT_PATH));
        assert_eq!(value("COORD_INSTANCE"), Some("web.0"));
    }
}
