//! Logins from `~/.docker/config.json` and podman's `auth.json`, as `docker login`, `podman login` and CI systems write them.

use super::Credentials;
use crate::RegistryError;
use crate::route::Place;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// More than any login file holds; a wrong path to a huge file must not fill memory.
const DOCKER_CONFIG_MAX_BYTES: u64 = 1024 * 1024;

/// Where the login of a registry is.
pub(super) enum Kept {
    Here(Credentials),
    /// The program `docker-credential-NAME` has it.
    ByHelper(String),
    /// The same, but it has all that nothing more is said of.
    ByStore(String),
}

/// A file, read again whenever it has changed.
pub(super) struct LoginFile {
    path: PathBuf,
    read: Mutex<(Option<Stamp>, Arc<DockerConfig>)>,
}

/// Tells one version of a file from the next.
type Stamp = (Option<SystemTime>, u64);

/// The logins of one file, by registry.
#[derive(Default)]
struct DockerConfig {
    logins: BTreeMap<String, Credentials>,
    helpers: BTreeMap<String, String>,
    /// The helper for all registries that have none of their own.
    store: Option<String>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    auths: BTreeMap<String, RawAuth>,
    #[serde(default, rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl LoginFile {
    /// A missing file is no logins; a broken one is an error, because pulls would fail with a misleading 401.
    pub(super) fn open(path: PathBuf) -> Result<LoginFile, RegistryError> {
        let read = load(&path).map_err(|problem| RegistryError::Config { problem })?;
        Ok(LoginFile { path, read: Mutex::new(read) })
    }

    /// The login for a place: that of the longest path (`registry/team/app`, then `registry/team`, then `registry`), a helper of its
    /// own, the store of all.
    pub(super) fn find(&self, place: &Place) -> Option<Kept> {
        let config = self.current();
        if let Some(helper) = config.helpers.get(place.registry()) {
            return Some(Kept::ByHelper(helper.clone()));
        }
        let mut key = Some(place.name.as_str());
        while let Some(name) = key {
            if let Some(found) = config.logins.get(name) {
                return Some(Kept::Here(found.clone()));
            }
            key = name.rsplit_once('/').map(|(shorter, _)| shorter);
        }
        config.store.clone().map(Kept::ByStore)
    }

    /// The file as it is now; where it has become unreadable, as it was.
    fn current(&self) -> Arc<DockerConfig> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = std::fs::metadata(&self.path).ok().map(|meta| stamp(&meta));
        if now != read.0 {
            match load(&self.path) {
                Ok(new) => *read = new,
                Err(problem) => tracing::warn!(problem, "the login file has changed and cannot be used; keeping what it said"),
            }
        }
        Arc::clone(&read.1)
    }
}

fn stamp(meta: &Metadata) -> Stamp {
    (meta.modified().ok(), meta.len())
}

fn load(path: &Path) -> Result<(Option<Stamp>, Arc<DockerConfig>), String> {
    let fail = |problem: String| format!("{}: {problem}", path.display());
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Default::default()),
        Err(e) => return Err(fail(format!("cannot be read: {e}"))),
    };
    if meta.len() > DOCKER_CONFIG_MAX_BYTES {
        let size = meta.len();
        return Err(fail(format!(
            "is {size} bytes, more than the {DOCKER_CONFIG_MAX_BYTES} of any login file; is it the right file?"
        )));
    }
    let text = std::fs::read(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
    let config = DockerConfig::parse(&text).map_err(|problem| fail(format!("{problem}; repair it or log in again")))?;
    Ok((Some(stamp(&meta)), Arc::new(config)))
}

impl DockerConfig {
    fn parse(text: &[u8]) -> Result<DockerConfig, String> {
        let raw: RawConfig = serde_json::from_slice(text).map_err(|e| format!("is not a docker config: {e}"))?;
        let mut config = DockerConfig { store: raw.creds_store.filter(|name| !name.is_empty()), ..DockerConfig::default() };
        for (server, auth) in raw.auths {
            let credentials = auth.credentials().map_err(|problem| format!("has a bad entry for {server:?}: {problem}"))?;
            // An entry without a secret only says that the store has it.
            config.logins.extend(credentials.map(|credentials| (registry_key(&server).to_owned(), credentials)));
        }
        config.helpers = raw.cred_helpers.into_iter().map(|(server, name)| (registry_key(&server).to_owned(), name)).collect();
        Ok(config)
    }
}

impl RawAuth {
    fn credentials(self) -> Result<Option<Credentials>, String> {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = filled(self.registrytoken) {
            return Ok(Some(Credentials::Registry(token)));
        }
        if let Some(token) = filled(self.identitytoken) {
            return Ok(Some(Credentials::Identity(token)));
        }
        if let (Some(username), Some(password)) = (filled(self.username), filled(self.password)) {
            return Ok(Some(Credentials::Password { username, password }));
        }
        let Some(auth) = filled(self.auth) else { return Ok(None) };
        let decoded = STANDARD.decode(auth.trim()).map_err(|_| "auth is not base64".to_owned())?;
        let decoded = String::from_utf8(decoded).map_err(|_| "auth is not text".to_owned())?;
        let (username, password) = decoded.split_once(':').ok_or("auth is not base64 of user:password")?;
        let (username, password) = (username.to_owned(), password.trim_end_matches('\0').to_owned());
        Ok(Some(Credentials::Password { username, password }))
    }
}

/// Keys are hosts, or URLs in files of older tools; Docker Hub's key is its old index.
fn registry_key(server: &str) -> &str {
    let bare = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    let bare = bare.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    if matches!(bare, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { bare }
}
