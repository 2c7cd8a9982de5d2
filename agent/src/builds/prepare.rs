//! Makes ready what a step's container needs of its host: its image, its place on the network, its mounts.

use super::caches;
use super::host_root;
use super::places::container;
use super::record::Record;
use super::spec::{Ready, WORKSPACE};
use super::tools::Tools;
use crate::config::builder::is_root;
use crate::execute::connected;
use coord_image::{Image, Progress, PullError};
use coord_network::Lease;
use coord_registry::RegistryError;
use coord_runtime::{Connect, Mount, MountSource};
use coord_shared::decide::backoff;
use coord_shared::document::{Container, Network};
use coord_shared::names::{ContainerId, Digest, ImageReference, InstanceId, Revision};
use coord_shared::pipeline::Stage;
use rustix::fs::{AtFlags, CWD, FileType, Mode, chmodat};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

/// Tries at a registry: one that hiccups should not fail a run, and one that is away should not hold it up.
const REGISTRY_TRIES: u32 = 3;
/// Programs are looked up there in images that do not say (Docker's default).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the steps of a stage run in.
#[derive(Debug, Clone, Default)]
pub(super) struct StageRoot {
    pub(super) lowers: Vec<PathBuf>,
    pub(super) env: Vec<String>,
    pub(super) user: String,
    mounts: Vec<Mount>,
    /// It is the host's own.
    pub(super) is_host: bool,
}

impl Tools {
    /// What the image of a stage stands for now.
    pub(super) async fn resolve(&self, image: &ImageReference) -> Result<Digest, String> {
        match image.digest() {
            Some(digest) => Ok(digest.clone()),
            None => patiently(image, RegistryError::is_retryable, async || self.registry.resolve(image).await).await,
        }
    }

    /// Fetches it where it is not here, and mounts it. The error is in words for people.
    pub(super) async fn image_root(&self, image: &ImageReference, digest: &Digest, stage: &Stage) -> Result<StageRoot, String> {
        let pulled = patiently(image, PullError::is_retryable, async || self.pull(image, digest).await).await?;
        let (images, mounted) = (self.images.clone(), digest.clone());
        let rootfs = tokio::task::spawn_blocking(move || images.mount(&mounted)).await;
        let rootfs = rootfs.map_err(|_| "the agent is ending".to_owned())?.map_err(|error| crate::chain(&error))?;
        let config = pulled.config.config().clone().unwrap_or_default();
        let mut env = vec![DEFAULT_PATH.to_owned()];
        env.extend(config.env().clone().unwrap_or_default());
        let user = stage.user.clone().or_else(|| config.user().clone()).unwrap_or_default();
        Ok(StageRoot { lowers: rootfs.lowers, env, user, mounts: Vec::new(), is_host: false })
    }

    /// The host's own root, where the host allows that.
    pub(super) async fn host_root(&self) -> Result<StageRoot, String> {
        if !self.builder.host_steps {
            return Err(format!(
                "the stage has no image, and host {} builds in containers only; give it an image, or set host_steps = true in [builder] there",
                self.config.host
            ));
        }
        let places = self.places.clone();
        let lowers = vec![places.host_root()];
        let made = tokio::task::spawn_blocking(move || host_root::make(&places)).await;
        let mounts = made.map_err(|_| "the agent is ending".to_owned())?.map_err(|error| crate::chain(&error))?;
        let env = vec![DEFAULT_PATH.to_owned(), format!("HOME={WORKSPACE}")];
        Ok(StageRoot { lowers, env, user: self.builder.user.clone(), mounts, is_host: true })
    }

    async fn pull(&self, image: &ImageReference, digest: &Digest) -> Result<Image, PullError> {
        let progress = Arc::new(Progress::default());
        let pull = async || self.images.pull(&self.registry, image, digest, Arc::clone(&progress)).await;
        match pull().await {
            Err(error) => match &self.room {
                Some(room) if room.make_for(&error, &progress).await => pull().await,
                Some(_) | None => Err(error),
            },
            pulled => pulled,
        }
    }

    /// Everything that the container of a step is made of. The error is in words for people.
    pub(super) async fn ready(
        &self,
        record: &Record,
        stage: &Stage,
        root: &StageRoot,
        (step, secrets): (&str, Vec<(String, String)>),
    ) -> Result<Ready, String> {
        let container = container(&record.order.run, step, record.attempt);
        let mounts = self.mounts(record, stage, root).await?;
        let asked = Container {
            network: self.allowed(stage.network)?,
            hostname: Some(record.order.run.pipeline.to_string()),
            ..Container::default()
        };
        let bridge = match asked.network {
            Network::Bridge => Some(self.lease(&container)?),
            Network::Host | Network::None => None,
        };
        let network = connected(&nobody()?, &asked, bridge);
        Ok(Ready {
            lowers: root.lowers.clone(),
            image_env: root.env.clone(),
            user: root.user.clone(),
            network: network.mode,
            hosts_file: network.hosts_file,
            resolv_conf: network.resolv_conf,
            mounts,
            raw_log: self.places.raw_log(&container, !secrets.is_empty()),
            secrets,
            container,
        })
    }

    fn allowed(&self, asked: Network) -> Result<Network, String> {
        match asked {
            Network::Host if !self.builder.host_network => Err(format!(
                "network = \"host\" is not allowed on {}; use the bridge, or set host_network = true in [builder] there",
                self.config.host
            )),
            Network::Host | Network::Bridge | Network::None => Ok(asked),
        }
    }

    /// Addresses of the bridge, and what gives them to the container.
    fn lease(&self, container: &str) -> Result<(Lease, Connect), String> {
        self.claims().insert(container.to_owned());
        self.board.wake();
        let network = self.network.as_ref().map_err(String::clone)?.clone();
        let lease = network.lease(container).map_err(|error| crate::chain(&error))?;
        let given = lease.clone();
        let connect = move |namespace: OwnedFd| {
            let (network, lease) = (network.clone(), given.clone());
            let attached = async move { network.attach(&lease, namespace.as_fd()).await.map_err(|error| crate::chain(&error)) };
            Box::pin(attached) as Pin<Box<dyn Future<Output = Result<(), String>> + Send>>
        };
        Ok((lease, Connect(Arc::new(connect))))
    }

    /// Gives a container's addresses back. What cannot be given back now is taken back by the network's keeper.
    pub(super) async fn release(&self, container: &str) {
        self.claims().remove(container);
        if let Ok(network) = &self.network
            && let Err(error) = network.release(container).await
        {
            tracing::warn!(%container, error = %crate::chain(&error), "its addresses are not given back yet");
        }
    }

    /// The workspace, and those caches that have places of their own in the container.
    async fn mounts(&self, record: &Record, stage: &Stage, root: &StageRoot) -> Result<Vec<Mount>, String> {
        let pipeline = &record.order.run.pipeline;
        let volume = |target: &str, path: PathBuf, copy_up: bool| Mount {
            target: target.to_owned(),
            source: MountSource::Volume { path, copy_up },
            read_only: false,
        };
        let open = !is_root(&root.user);
        let mut mounts = root.mounts.clone();
        mounts.push(volume(WORKSPACE, self.places.workspace(pipeline), false));
        for path in stage.cache.iter().filter(|path| path.starts_with('/')) {
            let folder = caches::make(&self.places, pipeline, path, open).map_err(|error| crate::chain(&error))?;
            mounts.push(volume(path, folder, true));
        }
        if open {
            let workspace = self.places.workspace(pipeline);
            let opened = tokio::task::spawn_blocking(move || open_to_all(&workspace)).await;
            opened
                .map_err(|_| "the agent is ending".to_owned())?
                .map_err(|e| format!("cannot open the workspace to its user: {e}"))?;
        }
        Ok(mounts)
    }
}

/// Our own words for "no workload": the container's name in files is given besides.
fn nobody() -> Result<ContainerId, String> {
    let workload = "build".parse().map_err(|e| format!("cannot name the container: {e}"))?;
    Ok(ContainerId { instance: InstanceId { workload, index: 0 }, revision: Revision(1), start: 1 })
}

/// Lets every user read and write what lies in the workspace: a step that does not run as root is some user of its image, and the files
/// are root's. Links are not followed. Blocks.
fn open_to_all(workspace: &Path) -> rustix::io::Result<()> {
    super::tree::for_each(workspace, |folder, name, found| {
        let kind = FileType::from_raw_mode(found.st_mode);
        let bits = if kind == FileType::Directory { 0o777 } else { 0o666 };
        if kind != FileType::Directory && kind != FileType::RegularFile {
            return Ok(());
        }
        let mode = found.st_mode & 0o777;
        let wanted = mode | bits | ((mode & 0o100) >> 3) | ((mode & 0o100) >> 6);
        if mode == wanted {
            return Ok(());
        }
        chmodat(folder, name, Mode::from_raw_mode(wanted), AtFlags::empty())
    })?;
    chmodat(CWD, workspace, Mode::from_raw_mode(0o777), AtFlags::empty())
}

/// Asks a registry again where that may help. The image centre is the coordinator, which is waited for: a run has a time limit of its own.
async fn patiently<T, E: std::error::Error + 'static>(
    image: &ImageReference,
    is_retryable: fn(&E) -> bool,
    ask: impl AsyncFn() -> Result<T, E>,
) -> Result<T, String> {
    let mut failures = 0;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if is_retryable(&error) && (image.is_in_centre() || failures + 1 < REGISTRY_TRIES) => {
                failures += 1;
                tracing::info!(image = %image, error = %crate::chain(&error), "asking the registry again");
            }
            Err(error) => return Err(crate::chain(&error)),
        }
        tokio::time::sleep(backoff::PULL.delay_with_jitter(failures, fastrand::f64())).await;
    }
}
