//! Registries: the `[[registry]]` entries of `coordinator.toml`, read again whenever the file changes.
//!
//! A password that is changed there is used at once, for what this process asks and for what it hands to hosts; nothing is restarted
//! for it. A file that cannot be used changes nothing. Everything else in the file takes effect at the next start.

use crate::config::{Config, ConfigError, RegistryEntry};
use crate::control::{Logins, SharedRegistry};
use crate::documents::resolve::{ResolveError, ResolveImage};
use coord_registry::{Registry, RegistryError, chain, login_files};
use coord_shared::names::{CENTRE, Digest, ImageReference};
use coord_shared::wire::RegistryLogin;
use futures_util::future::BoxFuture;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Quiet time after a change before the file is read: an editor's save is several events.
const SETTLE: Duration = Duration::from_millis(50);
/// The file is looked at at least this often, should a notification be lost.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// The registries as the file last said.
pub struct Registries {
    client: Mutex<Registry>,
    logins: watch::Sender<Arc<Logins>>,
}

/// Why changed entries are not used.
#[derive(Debug, thiserror::Error)]
enum RereadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Registries {
    /// Those of `config`.
    ///
    /// # Errors
    /// An entry cannot be used; the message has the cure.
    pub fn new(config: &Config) -> Result<Self, RegistryError> {
        let (logins, _) = watch::channel(Arc::new(shared(config)));
        Ok(Self { client: Mutex::new(client(config)?), logins })
    }

    /// The client as the file says now. Cheap.
    pub fn client(&self) -> Registry {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What hosts may be given, to be watched.
    pub fn logins(&self) -> watch::Receiver<Arc<Logins>> {
        self.logins.subscribe()
    }

    /// Follows the file's changes; never returns.
    pub async fn run(self: Arc<Self>, config: Config) {
        let Some(path) = config.file.clone() else { return std::future::pending().await };
        let changed = Arc::<Notify>::default();
        let _watcher = watcher(&path, Arc::clone(&changed)).inspect_err(
            |error| tracing::warn!(path = %path.display(), %error, "cannot watch the configuration; it is read every minute"),
        );
        let mut known = config;
        loop {
            if tokio::time::timeout(LOOK_INTERVAL, changed.notified()).await.is_ok() {
                tokio::time::sleep(SETTLE).await;
            }
            match self.reread(&path, &known) {
                Ok(Some(entries)) => {
                    tracing::info!(registries = entries.len(), "registries changed");
                    known.registries = entries;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(error = %chain(&error), "the changed configuration is not used"),
            }
        }
    }

    /// Takes over what the file says now, if its entries are others than those known.
    fn reread(&self, path: &Path, known: &Config) -> Result<Option<Vec<RegistryEntry>>, RereadError> {
        let registries = Config::read(path)?.registries;
        if registries == known.registries {
            return Ok(None);
        }
        let config = Config { registries, ..known.clone() };
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client(&config)?;
        self.logins.send_replace(Arc::new(shared(&config)));
        Ok(Some(config.registries))
    }
}

impl ResolveImage for Registries {
    fn resolve<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Result<Digest, ResolveError>> {
        let client = self.client();
        Box::pin(async move { ResolveImage::resolve(&client, image).await })
    }
}

fn client(config: &Config) -> Result<Registry, RegistryError> {
    Registry::new(config.registries.iter().map(|entry| entry.config.clone()).collect(), login_files(config.docker_config.clone()))
}

/// The entries as hosts would get them: no file, no program, nothing but what the entry itself says. Where the image centre stands in for
/// a registry, hosts ask it first.
fn shared(config: &Config) -> Logins {
    let mut entries: Vec<SharedRegistry> = config.registries.iter().map(as_shared).collect();
    for rule in &config.centre.through {
        let mirror = format!("{CENTRE}/{}", rule.prefix);
        let at = entries.iter().position(|entry| entry.login.prefix == rule.upstream());
        match at.map(|at| &mut entries[at]) {
            Some(SharedRegistry { login, is_shared: true }) => login.mirrors.insert(0, mirror),
            // What is not shared stays untold; where the copies are is no secret.
            Some(entry) => *entry = stands_in(rule.upstream(), mirror),
            None => entries.push(stands_in(rule.upstream(), mirror)),
        }
    }
    Logins(entries)
}

fn as_shared(entry: &RegistryEntry) -> SharedRegistry {
    let config = &entry.config;
    let login = RegistryLogin {
        prefix: config.prefix.clone(),
        location: config.location.clone(),
        mirrors: config.mirror.clone(),
        insecure: config.insecure,
        username: config.username.clone(),
        password: config.password.clone(),
    };
    SharedRegistry { login, is_shared: entry.share_with_hosts }
}

fn stands_in(prefix: &str, mirror: String) -> SharedRegistry {
    let login = RegistryLogin {
        prefix: prefix.to_owned(),
        location: None,
        mirrors: vec![mirror],
        insecure: false,
        username: None,
        password: None,
    };
    SharedRegistry { login, is_shared: true }
}

/// Opening and closing after reading are events as well, our own included.
fn is_read(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn watcher(path: &Path, changed: Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
    let file: PathBuf = path.file_name().map(PathBuf::from).unwrap_or_default();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Others write in that folder too.
        let concerns = event
            .is_ok_and(|event| !is_read(event.kind) && event.paths.iter().any(|path| path.file_name() == Some(file.as_os_str())));
        if concerns {
            changed.notify_one();
        }
    })?;
    // The folder, not the file: editors replace files.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
