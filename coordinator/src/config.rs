//! The coordinator's configuration: `coordinator.toml`, and flags that override it.
//!
//! Unknown keys are errors. Plain HTTP is for loopback addresses only; anywhere else the tokens would travel for all to read.

mod centre;

pub use centre::CentreSection;

use crate::notify::{NotifyConfig, Smtp};
use coord_registry::RegistryConfig;
use coord_shared::decide::liveness::LivenessLimits;
use coord_shared::quantity::{ByteSize, Span};
use coord_shared::text::toml_mistake;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not as it should be.
    #[error("configuration {path} is invalid: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// Tokens would travel unencrypted.
    #[error(
        "refusing to listen on {0} without TLS: tokens would travel for all to read; \
         set `[tls] cert = ...` and `key = ...`, or listen on a loopback address such as 127.0.0.1:7700"
    )]
    PlainOutsideLoopback(SocketAddr),
    /// Mail could not be sent.
    #[error("{0}")]
    Smtp(String),
    /// The image centre cannot work so.
    #[error("{0}")]
    Centre(String),
    /// The limits of silence contradict each other.
    #[error("liveness: late_after ({late_after}) must be shorter than lost_after ({lost_after})")]
    Liveness {
        /// As configured.
        late_after: Span,
        /// As configured.
        lost_after: Span,
    },
}

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where agents and admins dial in.
    pub listen: SocketAddr,
    /// Where the store lies.
    pub data_dir: PathBuf,
    /// The watched folder of documents.
    pub documents: PathBuf,
    /// The watched folder of pipelines; where nothing is said, `pipelines` beside the folder of documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipelines: Option<PathBuf>,
    /// Largest archive that a builder may send.
    pub archive_max: ByteSize,
    /// The folder of secrets, a file each.
    pub secrets: PathBuf,
    /// Most connections at a time; further ones wait to be accepted.
    pub max_connections: usize,
    /// For `docker login`'s credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_config: Option<PathBuf>,
    /// When hosts count as late and as lost.
    pub liveness: Liveness,
    /// What the image centre stores and keeps.
    pub centre: CentreSection,
    /// Absent: plain HTTP, on loopback only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How people are told of runs.
    pub notify: NotifyConfig,
    /// Who takes our mail. Absent: nobody is told by mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<Smtp>,
    /// How registries are reached.
    #[serde(rename = "registry", skip_serializing)]
    pub registries: Vec<RegistryEntry>,
    /// The file that all this was read from, if any: its registries are read again whenever it changes.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// One `[[registry]]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegistryEntry {
    /// How it is reached.
    pub config: RegistryConfig,
    /// Whether hosts that need an image of it are told where it lies and how to log in.
    pub share_with_hosts: bool,
}

/// The registry client's own keys, which it checks itself, and one that only a coordinator has.
impl<'de> Deserialize<'de> for RegistryEntry {
    fn deserialize<D: serde::Deserializer<'de>>(entry: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let mut table = toml::Table::deserialize(entry)?;
        let share_with_hosts = match table.remove("share_with_hosts") {
            None => false,
            Some(toml::Value::Boolean(share)) => share,
            Some(_) => return Err(D::Error::custom("share_with_hosts must be true or false")),
        };
        let config: RegistryConfig = table.try_into().map_err(|e: toml::de::Error| D::Error::custom(e.message()))?;
        Ok(Self { config, share_with_hosts })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7700)),
            data_dir: PathBuf::from("/var/lib/coord-coordinator"),
            documents: PathBuf::from("/etc/coord/desired"),
            pipelines: None,
            // Room for a large program with its assets; the data folder holds one for each run that is not over.
            archive_max: ByteSize(2 * 1024 * 1024 * 1024),
            secrets: PathBuf::from("/etc/coord/secrets"),
            // Below the usual limit of open files (20,000 and more); a connection costs about 20 KiB.
            max_connections: 15_000,
            docker_config: None,
            liveness: Liveness::default(),
            centre: CentreSection::default(),
            tls: None,
            notify: NotifyConfig::default(),
            smtp: None,
            registries: Vec::new(),
            file: None,
        }
    }
}

/// `[tls]`: PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, and those between it and its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `[liveness]`: how much silence means what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Liveness {
    /// Silence from which a host is late.
    pub late_after: Span,
    /// Silence from which it is lost.
    pub lost_after: Span,
}

impl Default for Liveness {
    fn default() -> Self {
        let limits = LivenessLimits::default();
        Self { late_after: Span(limits.late_after), lost_after: Span(limits.lost_after) }
    }
}

impl Liveness {
    /// As the decisions take it.
    pub fn limits(self) -> LivenessLimits {
        LivenessLimits { late_after: self.late_after.0, lost_after: self.lost_after.0 }
    }
}

impl Config {
    /// Reads a file; says where the first mistake is.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text)
            .map_err(|e| ConfigError::Invalid { path: path.to_owned(), message: toml_mistake(&e, &text) })?;
        Ok(Self { file: Some(path.to_owned()), ..config })
    }

    /// Refuses what would be unsafe or makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.tls.is_none() && !self.listen.ip().is_loopback() {
            return Err(ConfigError::PlainOutsideLoopback(self.listen));
        }
        if let Some(problem) = self.smtp.as_ref().and_then(|smtp| smtp.check().err()) {
            return Err(ConfigError::Smtp(problem));
        }
        let Liveness { late_after, lost_after } = self.liveness;
        if late_after.0 >= lost_after.0 {
            return Err(ConfigError::Liveness { late_after, lost_after });
        }
        if let Some(problem) = self.centre.problem() {
            return Err(ConfigError::Centre(problem));
        }
        Ok(())
    }

    /// The watched folder of pipelines.
    pub fn pipelines_folder(&self) -> PathBuf {
        let beside = || self.documents.parent().unwrap_or(Path::new("/")).join("pipelines");
        self.pipelines.clone().unwrap_or_else(beside)
    }

    /// As a file would say it. Registries are left out: they hold passwords.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration holds only strings, numbers and tables")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_may_be_shared_and_nothing_else_is_added() {
        let read = |entry: &str| {
            let parsed: Result<Config, _> = toml::from_str(&format!("[[registry]]\nprefix = \"r.lan\"\n{entry}\n"));
            parsed.map(|config| config.registries[0].share_with_hosts).map_err(|e| e.message().to_owned())
        };
        assert_eq!(read(""), Ok(false));
        assert_eq!(read("share_with_hosts = false"), Ok(false));
        assert_eq!(read("username = \"puller\"\npassword = \"sesame\"\nshare_with_hosts = true"), Ok(true));
        assert_eq!(read("share_with_hosts = \"yes\""), Err("share_with_hosts must be true or false".to_owned()));
        let misspelt = read("share_with_host = true").expect_err("an unknown key");
        assert!(misspelt.contains("unknown field `share_with_host`"), "{misspelt}");
    }

    #[test]
    fn passwords_are_not_shown() {
        let text = "[[registry]]\nprefix = \"r.lan\"\nusername = \"puller\"\npassword = \"sesame\"\nshare_with_hosts = true\n";
        let config: Config = toml::from_str(text).expect("a configuration");
        let shown = format!("{config:?} {}", config.to_toml());
        assert!(shown.contains("puller") && !shown.contains("sesame"), "{shown}");
    }
}
