//! What a document and an image make together: the container, spelt out.
//!
//! The rules of merging are Docker's (and the OCI image spec's, config.md, "Conversion to runtime configuration"): a document's
//! entrypoint sets the image's command aside; environments are laid over each other; everything else is the document's, else the
//! image's, else a default.

use crate::runtime::{ContainerSpec, LogPolicy, NetworkMode, Resources};
use crate::state::ContainerMeta;
use coord_image::Image;
use coord_shared::decide::planner::Spec;
use coord_shared::document::Network;
use coord_shared::names::{ContainerId, HostName};
use oci_spec::image::Config as ImageConfig;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What programs are looked up in where neither image nor document says (Docker's default).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Merges `spec` and `image`. Errors, in words for the operator, if together they say no program to run.
pub(super) fn container_spec(
    id: &ContainerId,
    spec: &Spec,
    image: &Image,
    meta: &ContainerMeta,
    host: &HostName,
    log: LogPolicy,
    lowers: Vec<PathBuf>,
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
        lowers,
        args,
        env: environment(&container.environment, config, id, host),
        cwd: container.working_dir.clone().or_else(|| non_empty(config.working_dir())).unwrap_or_else(|| "/".to_owned()),
        user: container.user.clone().or_else(|| non_empty(config.user())).unwrap_or_default(),
        hostname: container.hostname.clone().unwrap_or_else(|| format!("{}-{}", id.instance.workload, id.instance.index)),
        network: match container.network {
            Network::Host => NetworkMode::Host,
            Network::None => NetworkMode::None,
        },
        resources: Resources {
            memory_bytes: container.resources.memory.map(|size| size.0),
            cpus_milli: container.resources.cpus.map(|cpus| cpus.0),
            pids: container.resources.pids,
        },
        read_only: container.read_only,
        stop_signal: meta.stop_signal.0,
        log,
        meta: serde_json::to_value(meta).map_err(|e| format!("cannot write down what container {id} is made of: {e}"))?,
    })
}

fn arguments(entrypoint: Option<&[String]>, command: Option<&[String]>, image: &ImageConfig) -> Vec<String> {
    let image_entrypoint = image.entrypoint().as_deref().unwrap_or_default();
    let image_command = image.cmd().as_deref().unwrap_or_default();
    match (entrypoint, command) {
        (Some(entrypoint), command) => [entrypoint, command.unwrap_or_default()].concat(),
        (None, Some(command)) => [image_entrypoint, command].concat(),
        (None, None) => [image_entrypoint, image_command].concat(),
    }
}

fn environment(
    document: &BTreeMap<String, String>,
    image: &ImageConfig,
    id: &ContainerId,
    host: &HostName,
) -> Vec<(String, String)> {
    let mut merged = BTreeMap::from([
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("COORD_HOST".to_owned(), host.to_string()),
        ("COORD_INSTANCE".to_owned(), id.instance.to_string()),
        ("COORD_WORKLOAD".to_owned(), id.instance.workload.to_string()),
    ]);
    for variable in image.env().as_deref().unwrap_or_default() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        merged.insert(name.to_owned(), value.to_owned());
    }
    merged.extend(document.iter().map(|(name, value)| (name.clone(), value.clone())));
    merged.into_iter().collect()
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
        let merged = environment(&BTreeMap::from([("B".to_owned(), "document".to_owned())]), &image, &id, &host);
        let value = |name: &str| merged.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("A"), Some("image"));
        assert_eq!(value("B"), Some("document"));
        assert_eq!(value("PATH"), Some(DEFAULT_PATH));
        assert_eq!(value("COORD_INSTANCE"), Some("web.0"));
    }
}
