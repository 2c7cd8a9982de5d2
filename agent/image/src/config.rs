//! What an image says of itself: its config, read as the engines read it.
//!
//! The OCI image spec (config.md) defines the shape, but what is found in registries is what Docker, podman, buildah, kaniko, ko, bazel
//! and nix write: `null` for whatever is empty, a command as one string, no history, and Docker's health check, which OCI leaves out.
//! All of these are read; what no field knows is passed over. Everything else is an error that names the field.
//!
//! Deliberately absent: `OnBuild` (for builders), `Hostname`, `Tty` and what else Docker's containers have and images need not, and any
//! judgement of whether the platform fits.

use coord_shared::names::Digest;
use oci_spec::image::ImageConfiguration;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// What runs `CMD-SHELL` where the image names no shell (Docker).
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// Overlayfs stacks 500 folders at most (Linux, fs/overlayfs/params.h), and an image may need one of its own. Docker builds 127.
const LAYERS_MAX: usize = 499;

/// How an image wants to be asked whether it is well (Docker, `HEALTHCHECK`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// A program and its arguments, never empty; well if it exits with 0. A shell's command line is already in its shell's.
    pub command: Vec<String>,
    /// Between two checks. None: the image leaves it to the host; so below.
    pub interval: Option<Duration>,
    /// After which a check counts as failed.
    pub timeout: Option<Duration>,
    /// From the start on, in which failures do not count.
    pub start_period: Option<Duration>,
    /// Between two checks in that time.
    pub start_interval: Option<Duration>,
    /// Failures in a row that make it ill.
    pub retries: Option<u32>,
}

/// A config that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageConfig {
    pub(crate) config: ImageConfiguration,
    /// Bottom first.
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) healthcheck: Option<Healthcheck>,
}

/// Reads a config blob. The error says what is wrong, not with which image.
pub(crate) fn parse(bytes: &[u8]) -> Result<ImageConfig, String> {
    let malformed = |e: serde_json::Error| format!("its config is malformed: {e}");
    let mut value: Value = serde_json::from_slice(bytes).map_err(malformed)?;
    tidy(&mut value);
    let healthcheck = value.get("config").map(healthcheck).transpose().map_err(malformed)?.flatten();
    let mut config: ImageConfiguration = serde_json::from_value(value).map_err(malformed)?;
    sort(&mut config);
    let ids = config.rootfs().diff_ids();
    if ids.len() > LAYERS_MAX {
        return Err(format!("its config names {} layers, more than the {LAYERS_MAX} that can be stacked", ids.len()));
    }
    let diff_ids = ids.iter().map(|id| id.parse().map_err(|e| format!("its config has a bad diff id: {e}")));
    let diff_ids = diff_ids.collect::<Result<Vec<Digest>, String>>()?;
    Ok(ImageConfig { config, diff_ids, healthcheck })
}

/// Brings what Go's encoder and Docker's older versions write into the spec's shape.
fn tidy(value: &mut Value) {
    let Value::Object(root) = value else { return };
    // Docker: none means this system's, and ours is Linux.
    let os = root.entry("os").or_insert(Value::Null);
    if os.is_null() || os == "" {
        *os = "linux".into();
    }
    let rootfs = root.entry("rootfs").or_insert(Value::Null);
    if rootfs.is_null() {
        *rootfs = serde_json::json!({});
    }
    if let Value::Object(rootfs) = rootfs {
        rootfs.entry("type").or_insert_with(|| "layers".into());
        let ids = rootfs.entry("diff_ids").or_insert(Value::Null);
        if ids.is_null() {
            *ids = Value::Array(Vec::new());
        }
    }
    let Some(Value::Object(config)) = root.get_mut("config") else { return };
    for key in ["Entrypoint", "Cmd", "Shell"] {
        if let Some(Value::String(word)) = config.get_mut(key) {
            let word = std::mem::take(word);
            config.insert(key.to_owned(), Value::Array(vec![word.into()]));
        }
    }
    for key in ["ExposedPorts", "Volumes"] {
        if let Some(Value::Object(set)) = config.get_mut(key) {
            set.values_mut().for_each(|member| *member = serde_json::json!({}));
        }
    }
    if let Some(Value::Object(labels)) = config.get_mut("Labels") {
        labels.values_mut().filter(|label| label.is_null()).for_each(|label| *label = "".into());
    }
}

/// Sets are read in no order; the same image is to look the same each time.
fn sort(config: &mut ImageConfiguration) {
    let Some(mut inner) = config.config().clone() else { return };
    let sorted = |set: &Option<Vec<String>>| {
        let mut set = set.clone();
        set.iter_mut().for_each(|set| set.sort());
        set
    };
    let (ports, volumes) = (sorted(inner.exposed_ports()), sorted(inner.volumes()));
    inner.set_exposed_ports(ports).set_volumes(volumes);
    config.set_config(Some(inner));
}

/// Docker's `HealthConfig` (moby, api/types/container/config.go), and the shell that it may need.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawConfig {
    healthcheck: Option<RawHealthcheck>,
    shell: Option<Vec<String>>,
}

/// Times in nanoseconds; zero stands for the default.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawHealthcheck {
    test: Option<Vec<String>>,
    interval: Option<i64>,
    timeout: Option<i64>,
    start_period: Option<i64>,
    start_interval: Option<i64>,
    retries: Option<i64>,
}

fn healthcheck(config: &Value) -> Result<Option<Healthcheck>, serde_json::Error> {
    let Some(raw) = Option::<RawConfig>::deserialize(config)? else { return Ok(None) };
    let Some(check) = raw.healthcheck else { return Ok(None) };
    let test = check.test.unwrap_or_default();
    let command = match test.split_first() {
        Some((kind, command)) if kind == "CMD" => command.to_vec(),
        Some((kind, command)) if kind == "CMD-SHELL" && !command.is_empty() => {
            let shell = raw.shell.filter(|shell| !shell.is_empty()).unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
            [&shell[..], command].concat()
        }
        // "NONE" switches an inherited one off; nothing at all inherits, and there is nobody left to inherit from.
        Some(_) | None => Vec::new(),
    };
    if command.is_empty() {
        return Ok(None);
    }
    let time = |nanos: Option<i64>| nanos.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).map(Duration::from_nanos);
    Ok(Some(Healthcheck {
        command,
        interval: time(check.interval),
        timeout: time(check.timeout),
        start_period: time(check.start_period),
        start_interval: time(check.start_interval),
        retries: check.retries.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0),
    }))
}
