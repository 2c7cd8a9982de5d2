//! Credentials from `~/.docker/config.json`, as `docker login`, `podman login` and CI systems write it.
//!
//! Deliberately absent: `credsStore` and `credHelpers` (programs to run); a file that only has those is named in a warning, so that
//! nobody wonders why a login is not used.

use crate::RegistryError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coord_shared::names::ImageReference;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// More than any login file holds; a wrong path to a huge file must not fill memory.
const DOCKER_CONFIG_MAX_BYTES: u64 = 1024 * 1024;

/// A name and a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
}

/// The logins of one file, by registry.
#[derive(Default)]
pub(crate) struct DockerConfig {
    logins: BTreeMap<String, Credentials>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    auths: BTreeMap<String, RawAuth>,
    #[serde(default, rename = "credsStore")]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
struct RawAuth {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

impl DockerConfig {
    /// Reads the file. A missing file is no logins; a broken one is an error, because pulls would fail with a misleading 401.
    pub(crate) fn load(path: &Path) -> Result<DockerConfig, RegistryError> {
        let fail = |problem: String| RegistryError::Config { problem: format!("{}: {problem}", path.display()) };
        let size = match std::fs::metadata(path) {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(DockerConfig::default()),
            Err(e) => return Err(fail(format!("cannot be read: {e}"))),
        };
        if size > DOCKER_CONFIG_MAX_BYTES {
            return Err(fail(format!(
                "is {size} bytes, more than the {DOCKER_CONFIG_MAX_BYTES} of any login file; is it the right file?"
            )));
        }
        let text = std::fs::read(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
        Self::parse(&text).map_err(|problem| fail(format!("{problem}; repair it or log in again")))
    }

    fn parse(text: &[u8]) -> Result<DockerConfig, String> {
        let raw: RawConfig = serde_json::from_slice(text).map_err(|e| format!("is not a docker config: {e}"))?;
        let mut logins = BTreeMap::new();
        for (server, auth) in raw.auths {
            match auth.credentials().map_err(|problem| format!("has a bad entry for {server:?}: {problem}"))? {
                Some(credentials) => {
                    logins.insert(registry_key(&server).to_owned(), credentials);
                }
                None => {
                    tracing::warn!(server, store = raw.creds_store, "login is kept in a credential store, which is not supported")
                }
            }
        }
        Ok(DockerConfig { logins })
    }

    /// The login for an image: that of the longest path (`registry/team/app`, then `registry/team`, then `registry`).
    pub(crate) fn find(&self, image: &ImageReference) -> Option<&Credentials> {
        let name = format!("{}/{}", image.registry(), image.repository());
        let mut key = name.as_str();
        loop {
            if let Some(found) = self.logins.get(key) {
                return Some(found);
            }
            key = key.rsplit_once('/')?.0;
        }
    }
}

impl RawAuth {
    fn credentials(self) -> Result<Option<Credentials>, String> {
        if let (Some(username), Some(password)) = (self.username, self.password) {
            return Ok(Some(Credentials { username, password }));
        }
        let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) else { return Ok(None) };
        let decoded = STANDARD.decode(auth.trim()).map_err(|_| "auth is not base64".to_owned())?;
        let decoded = String::from_utf8(decoded).map_err(|_| "auth is not text".to_owned())?;
        let (username, password) = decoded.split_once(':').ok_or("auth is not base64 of user:password")?;
        Ok(Some(Credentials { username: username.to_owned(), password: password.trim_end_matches('\0').to_owned() }))
    }
}

/// Keys are hosts, or URLs in files of older tools; Docker Hub's key is its old index.
fn registry_key(server: &str) -> &str {
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    let bare = bare.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    if matches!(bare, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { bare }
}
