//! What an operator says about a registry: one `[[registry]]` of `agent.toml` or `coordinator.toml`.
//!
//! An entry applies to the references that its prefix covers, whole path components only; the longest prefix wins. Plain HTTP is
//! never guessed, not even for loopback: it happens where `insecure = true` and nowhere else.

use crate::RegistryError;
use coord_shared::names::ImageReference;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// Where Docker Hub's references are really served.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// One `[[registry]]` entry.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// The references that it covers: `registry.lan:5000`, or `registry.lan/shop`.
    pub prefix: String,
    /// Speak plain HTTP.
    #[serde(default)]
    pub insecure: bool,
    /// A PEM file of authorities to trust besides the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Who to log in as; goes with `password`.
    #[serde(default)]
    pub username: Option<String>,
    /// The password or access token of `username`.
    #[serde(default)]
    pub password: Option<String>,
}

/// Passwords stay out of logs.
impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig")
            .field("prefix", &self.prefix)
            .field("insecure", &self.insecure)
            .field("ca", &self.ca)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .finish()
    }
}

impl RegistryConfig {
    /// Refuses entries that could only surprise.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        let fail =
            |problem: &str| Err(RegistryError::Config { problem: format!("[[registry]] prefix = {:?}: {problem}", self.prefix) });
        if self.prefix.is_empty() || self.prefix.contains("://") || self.prefix.ends_with('/') {
            return fail(
                "the prefix must be a host such as \"registry.lan:5000\", optionally with a path, without scheme or final slash",
            );
        }
        if self.username.is_some() != self.password.is_some() {
            return fail("username and password go together; write both or neither");
        }
        if self.insecure && self.ca.is_some() {
            return fail("ca has no meaning with insecure = true (plain HTTP); remove one of them");
        }
        Ok(())
    }

    fn covers(&self, name: &str) -> bool {
        name.strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The entry for an image: the longest prefix that covers it.
pub(crate) fn find<'a>(configs: &'a [RegistryConfig], image: &ImageReference) -> Option<&'a RegistryConfig> {
    let name = format!("{}/{}", image.registry(), image.repository());
    configs.iter().filter(|config| config.covers(&name)).max_by_key(|config| config.prefix.len())
}

/// `https://HOST[:PORT]`, without a final slash.
pub(crate) fn base_url(config: Option<&RegistryConfig>, image: &ImageReference) -> String {
    let scheme = if config.is_some_and(|config| config.insecure) { "http" } else { "https" };
    let host = if image.registry() == "docker.io" { DOCKER_HUB_HOST } else { image.registry() };
    format!("{scheme}://{host}")
}
