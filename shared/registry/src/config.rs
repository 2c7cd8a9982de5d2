//! What an operator says about a registry: one `[[registry]]` of `agent.toml` or `coordinator.toml`.
//!
//! An entry applies to the references that its prefix covers, whole path components only; the longest prefix wins. Plain HTTP is
//! never guessed, not even for loopback: it happens where `insecure = true` and nowhere else. Which places an entry leads to is
//! `route.rs`'s.

use crate::RegistryError;
use crate::http::Proxying;
use crate::logins::is_helper_name;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// Each mirror that is down costs a pull a connection that fails; nobody has this many that are up.
const MIRRORS_MAX: usize = 16;

/// One `[[registry]]` entry.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// The references that it covers: `registry.lan:5000`, or `registry.lan/shop`.
    pub prefix: String,
    /// What takes the prefix's place in requests; the prefix itself where absent.
    #[serde(default)]
    pub location: Option<String>,
    /// Places that take the prefix's place before `location` does, in order: caches and copies.
    #[serde(default)]
    pub mirror: Vec<String>,
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
    /// Instead of both: the program `docker-credential-NAME`, which knows them.
    #[serde(default)]
    pub credential_helper: Option<String>,
    /// The proxy to go through, as a URL; `none` for none, whatever the environment says.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Hosts, domains and networks that `proxy` is not for.
    #[serde(default)]
    pub no_proxy: Vec<String>,
}

/// Passwords stay out of logs, also those within a proxy's URL.
impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig")
            .field("prefix", &self.prefix)
            .field("location", &self.location)
            .field("mirror", &self.mirror)
            .field("insecure", &self.insecure)
            .field("ca", &self.ca)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("credential_helper", &self.credential_helper)
            .field("proxy", &self.proxy.as_deref().map(without_userinfo))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

impl RegistryConfig {
    /// Refuses entries that could only surprise.
    pub(crate) fn check(&self) -> Result<(), RegistryError> {
        self.problem().map_or(Ok(()), |problem| {
            Err(RegistryError::Config { problem: format!("[[registry]] prefix = {:?}: {problem}", self.prefix) })
        })
    }

    fn problem(&self) -> Option<String> {
        let names = [("prefix", &self.prefix)].into_iter();
        let names = names.chain(self.location.iter().map(|location| ("location", location)));
        let mut names = names.chain(self.mirror.iter().map(|mirror| ("mirror", mirror)));
        if let Some((key, name)) = names.find(|(_, name)| !is_place(name)) {
            return Some(format!(
                "the {key} {name:?} must be a host such as \"registry.lan:5000\", optionally with a path, without scheme or final slash"
            ));
        }
        let problem = if self.mirror.len() > MIRRORS_MAX {
            "has more than 16 mirrors; keep those that are near"
        } else if self.username.is_some() != self.password.is_some() {
            "username and password go together; write both or neither"
        } else if self.username.is_some() && self.credential_helper.is_some() {
            "username and credential_helper exclude each other; keep one"
        } else if self.credential_helper.as_deref().is_some_and(|name| !is_helper_name(name)) {
            "credential_helper is the part after \"docker-credential-\" of a program's name, such as \"ecr-login\""
        } else if self.insecure && self.ca.is_some() {
            "ca has no meaning with insecure = true (plain HTTP); remove one of them"
        } else if !self.no_proxy.is_empty() && self.proxy.is_none() {
            "no_proxy belongs to proxy; set both, or use the environment's NO_PROXY"
        } else {
            return Proxying::of(self).err();
        };
        Some(problem.to_owned())
    }

    /// Whether `name`, a registry and a path in it, lies under the prefix.
    pub(crate) fn covers(&self, name: &str) -> bool {
        name.strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether it says anything of how to reach a place.
    pub(crate) fn says_how(&self) -> bool {
        self.insecure || self.ca.is_some() || self.username.is_some() || self.credential_helper.is_some() || self.proxy.is_some()
    }
}

/// `HOST[:PORT][/PATH]`.
fn is_place(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | '[' | ']');
    !text.starts_with('/') && !text.ends_with('/') && !text.is_empty() && text.chars().all(is_plain) && !text.contains("//")
}

fn without_userinfo(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}***{}", &url[..scheme + 3], &url[at..]),
        _ => url.to_owned(),
    }
}
