//! Who to log in as at a place. In order: the entry that says how to reach it, the login files of other tools, what a coordinator
//! handed out. What an operator wrote for this program beats what some tool left behind, and anything local beats what is not.
//!
//! Asked only after a registry has answered 401, so nothing here is fast, and files and helpers are read when they are needed: a login
//! renewed by another tool counts without a restart.

mod docker_config;
mod helper;

pub(crate) use helper::is_helper_name;

use crate::RegistryError;
use crate::route::{Entries, Place};
use docker_config::{Kept, LoginFile};
use helper::Helpers;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What proves who we are. Deliberately without `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    Password {
        username: String,
        password: String,
    },
    /// An OAuth2 refresh token: to be exchanged at the registry's token service.
    Identity(String),
    /// A bearer token for the registry itself.
    Registry(String),
}

/// Credentials, and whether asking again may bring others.
pub(crate) struct Found {
    pub(crate) credentials: Option<Credentials>,
    pub(crate) is_remembered: bool,
}

/// All sources but the entries.
pub(crate) struct Logins {
    files: Vec<LoginFile>,
    pub(crate) helpers: Helpers,
}

impl Logins {
    /// Reads the files once, so that a broken one is an error at the start.
    pub(crate) fn new(files: impl IntoIterator<Item = PathBuf>) -> Result<Logins, RegistryError> {
        let files = files.into_iter().map(LoginFile::open).collect::<Result<_, _>>()?;
        Ok(Logins { files, helpers: Helpers::default() })
    }

    /// The credentials for a place. `anew`: no remembered answer of a helper will do.
    ///
    /// # Errors
    /// When a helper fails, which may pass; `object` is for the message.
    pub(crate) async fn find(&self, place: &Place, entries: &Entries, object: &str, anew: bool) -> Result<Found, RegistryError> {
        let known = |credentials| Ok(Found { credentials: Some(credentials), is_remembered: false });
        // The helper, and whether it is meant for this very registry.
        let mut helper: Option<(String, bool)> = None;
        if let Some(entry) = &place.entry {
            if let (Some(username), Some(password)) = (entry.username.clone(), entry.password.clone())
                && !entries.is_delivered(entry)
            {
                return known(Credentials::Password { username, password });
            }
            helper = entry.credential_helper.clone().map(|name| (name, true));
        }
        if helper.is_none() {
            match self.files.iter().find_map(|file| file.find(place)) {
                Some(Kept::Here(credentials)) => return known(credentials),
                Some(Kept::ByHelper(name)) => helper = Some((name, true)),
                Some(Kept::ByStore(name)) => helper = Some((name, false)),
                None => {}
            }
        }
        if let Some((name, is_meant)) = helper {
            match self.helpers.ask(&name, &server_name(place), anew).await {
                Ok(found) if found.credentials.is_some() => return Ok(found),
                Ok(_) => {}
                Err(problem) if is_meant => {
                    return Err(RegistryError::Unreachable { object: object.to_owned(), problem, source: None });
                }
                // The store of a desktop, say, which nobody installs on a server: most images need no login.
                Err(problem) => tracing::warn!(place = place.name, problem, "going on without a login"),
            }
        }
        let delivered = entries.find_delivered(&place.name);
        let credentials = delivered
            .and_then(|entry| entry.username.clone().zip(entry.password.clone()))
            .map(|(username, password)| Credentials::Password { username, password });
        Ok(Found { credentials, is_remembered: false })
    }
}

/// Where other tools keep logins: `given` if an operator named a file, else docker's and podman's usual places, apart from files of
/// other users. Files need not exist.
pub fn login_files(given: Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(file) = given {
        return vec![file];
    }
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = folder("DOCKER_CONFIG").or_else(|| folder("HOME").map(|home| home.join(".docker")));
    let podman = folder("REGISTRY_AUTH_FILE")
        .unwrap_or_else(|| folder("XDG_RUNTIME_DIR").unwrap_or_else(|| "/run".into()).join(podman_path()));
    // What belongs to another user is not ours to read, and no reason not to start.
    let is_ours = |path: &PathBuf| !File::open(path).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
    docker.map(|folder| folder.join("config.json")).into_iter().chain([podman]).filter(is_ours).collect()
}

/// Below `$XDG_RUNTIME_DIR`, or below `/run` for root without one (containers-auth.json(5)).
fn podman_path() -> &'static Path {
    let has_own = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|value| !value.is_empty());
    Path::new(if has_own { "containers/auth.json" } else { "containers/0/auth.json" })
}

/// What helpers know a registry by.
fn server_name(place: &Place) -> String {
    if place.registry() == "docker.io" { "https://index.docker.io/v1/".to_owned() } else { place.registry().to_owned() }
}
