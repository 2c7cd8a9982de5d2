//! `agent.toml`: who this host is, where its coordinator is, where things lie.
//!
//! Read at start and again whenever the file changes; labels take effect at once, everything else at the next start. Unknown keys
//! are errors: a misspelt `coordinator` must not turn into a host that waits for nobody.

pub(crate) mod builder;
mod centre;
mod images;
mod isolation;
mod metrics;
mod network;

pub use builder::BuilderConfig;
pub use images::ImagesConfig;
pub use isolation::{IsolationConfig, UserRange};

use builder::RawBuilder;
use coord_registry::RegistryConfig;
use coord_shared::names::{HostName, Labels, check_label_key, check_label_value};
use coord_shared::quantity::ByteSize;
use coord_shared::text::toml_mistake;
use images::RawImages;
use isolation::RawIsolation;
use metrics::RawMetrics;
use network::RawNetwork;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Largest `agent.toml` that is read, in bytes.
const CONFIG_MAX_BYTES: u64 = 1024 * 1024;

/// The checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// This host's name.
    pub host: HostName,
    /// Base URLs of the coordinator, tried in turn. Empty: this host stands alone.
    pub coordinators: Vec<String>,
    /// The agent's bearer token; empty where there is no coordinator.
    pub token: String,
    /// A PEM file of the authority that signed the coordinator's certificate; the system's authorities where absent.
    pub ca: Option<PathBuf>,
    /// What must survive a reboot: ledger, images, containers' upper layers, logs.
    pub state_dir: PathBuf,
    /// What must not: sockets, FIFOs, states of running containers.
    pub run_dir: PathBuf,
    /// Where coord-shim and coord-monitor lie.
    pub helpers_dir: PathBuf,
    /// What documents may select this host by.
    pub labels: Labels,
    /// Registries that need more than HTTPS and anonymous access.
    pub registries: Vec<RegistryConfig>,
    /// A `config.json` with credentials instead of docker's and podman's own.
    pub docker_config: Option<PathBuf>,
    /// What images may take.
    pub images: ImagesConfig,
    /// How containers are kept apart.
    pub isolation: IsolationConfig,
    /// How containers are connected.
    pub network: coord_network::Settings,
    /// What holds for builds; absent: this host builds nothing.
    pub builder: Option<BuilderConfig>,
    /// Where Prometheus may ask; nowhere where absent.
    pub metrics_listen: Option<SocketAddr>,
    /// When an instance's log is rotated.
    pub log_max_bytes: u64,
    /// How many rotated logs are kept beside the current one.
    pub log_max_files: u32,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    host: Option<HostName>,
    #[serde(default)]
    coordinator: Vec<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    helpers: Option<PathBuf>,
    docker_config: Option<PathBuf>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    registry: Vec<RegistryConfig>,
    #[serde(default)]
    images: RawImages,
    #[serde(default)]
    isolation: RawIsolation,
    #[serde(default)]
    network: RawNetwork,
    #[serde(default)]
    metrics: RawMetrics,
    #[serde(default)]
    log: RawLog,
    builder: Option<RawBuilder>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLog {
    max_size: Option<ByteSize>,
    max_files: Option<u32>,
}

/// Why `agent.toml` cannot be used. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{} is not a valid agent configuration:\n{problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        problem: String,
    },
    /// Well-formed, and still not usable.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its cure.
        problem: String,
    },
}

/// Reads and checks `path`.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = read_limited(path, CONFIG_MAX_BYTES).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let raw: RawConfig =
        toml::from_str(&text).map_err(|e| ConfigError::Syntax { path: path.to_owned(), problem: toml_mistake(&e, &text) })?;
    check(raw, path).map_err(|problem| ConfigError::Invalid { path: path.to_owned(), problem })
}

/// What holds where there is no file: for commands on a host without an agent. Errors if this machine has no name that serves.
pub fn defaults() -> Result<Config, ConfigError> {
    let path = PathBuf::from("the defaults");
    check(RawConfig::default(), &path).map_err(|problem| ConfigError::Invalid { path, problem })
}

fn check(raw: RawConfig, path: &Path) -> Result<Config, String> {
    for (key, value) in &raw.labels {
        check_label_key(key).and_then(|()| check_label_value(value)).map_err(|e| format!("labels: {e}"))?;
    }
    for url in &raw.coordinator {
        check_url(url)?;
    }
    let host = match raw.host {
        Some(host) => host,
        None => host_name_of_this_machine()?,
    };
    let token = match (raw.token, raw.token_file) {
        (Some(_), Some(_)) => return Err("token and token_file are both set; keep one".to_owned()),
        (Some(token), None) => token,
        (None, Some(file)) => read_token(&beside(path, file))?,
        (None, None) if raw.coordinator.is_empty() => String::new(),
        (None, None) => {
            return Err(format!("no token; make one with `coordctl hosts add {host}` and set token or token_file"));
        }
    };
    let coordinators: Vec<String> = raw.coordinator.into_iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
    let (token, ca) = (token.trim().to_owned(), raw.ca.map(|ca| beside(path, ca)));
    Ok(Config {
        host,
        registries: centre::with_centre(raw.registry, &coordinators, &token, ca.as_deref()),
        coordinators,
        token,
        ca,
        state_dir: raw.state_dir.unwrap_or_else(|| "/var/lib/coord".into()),
        run_dir: raw.run_dir.unwrap_or_else(|| "/run/coord".into()),
        helpers_dir: raw.helpers.unwrap_or_else(default_helpers_dir),
        labels: raw.labels,
        docker_config: raw.docker_config,
        images: raw.images.check()?,
        isolation: raw.isolation.check()?,
        network: raw.network.check()?,
        builder: raw.builder.map(RawBuilder::check).transpose()?,
        metrics_listen: raw.metrics.listen,
        log_max_bytes: raw.log.max_size.map_or(10 * 1024 * 1024, |size| size.0).max(64 * 1024),
        log_max_files: raw.log.max_files.unwrap_or(3),
    })
}

/// The token travels with every request: in the clear only where nobody else can listen.
fn check_url(url: &str) -> Result<(), String> {
    let parsed = reqwest::Url::parse(url).map_err(|e| format!("coordinator {url:?} is not a URL ({e})"))?;
    let host = parsed.host_str().unwrap_or_default();
    let is_loopback =
        host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if is_loopback => Ok(()),
        "http" => Err(format!("coordinator {url:?} would send the token in the clear; use https (http is for loopback only)")),
        other => Err(format!("coordinator {url:?} has the scheme {other:?}; use https")),
    }
}

fn host_name_of_this_machine() -> Result<HostName, String> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    name.parse().map_err(|e| format!("this machine's own name does not serve ({e}); set host = \"...\""))
}

fn read_token(file: &Path) -> Result<String, String> {
    read_limited(file, 4096).map_err(|e| format!("cannot read token_file {}: {e}", file.display()))
}

fn read_limited(path: &Path, max_bytes: u64) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(max_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, format!("larger than {max_bytes} bytes")));
    }
    Ok(text)
}

/// Relative paths are relative to the file that names them.
fn beside(config: &Path, file: PathBuf) -> PathBuf {
    config.parent().map_or(file.clone(), |folder| folder.join(file))
}

/// The helpers lie beside the agent, or where packages put what people do not call.
fn default_helpers_dir() -> PathBuf {
    let own = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    own.filter(|dir| dir.join("coord-shim").exists()).unwrap_or_else(|| "/usr/libexec/coord".into())
}

#[cfg(test)]
mod tests;
