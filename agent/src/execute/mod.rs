//! Hands: carries out what was planned, and chooses nothing.
//!
//! Every task runs on its own and ends in exactly one event, so the loop never waits for one.

mod cdi;
mod container_spec;
mod doors;
mod hooks;
mod host;
mod mounts;
mod network;
mod one_off;
mod prepare;

use crate::daemon::Opened;
pub use one_off::{OneOff, one_off_spec};

use crate::event::Event;
use crate::health::Probers;
use crate::images::Room;
use crate::nested::Doors;
use crate::state::{ContainerMeta, Task};
use crate::volumes::Volumes;
use container_spec::container_spec;
pub(crate) use container_spec::{arguments, environment};
use coord_image::{Image, ImageStore, Progress, StoreError};
use coord_network::Network;
use coord_registry::Registry;
use coord_runtime::{EmbeddedRuntime, LogDriver, LogPolicy, Runtime as _, RuntimeError};
use coord_shared::decide::planner::Spec;
use coord_shared::document::{self, Logging, RuntimeName};
use coord_shared::names::{ContainerId, Digest, HostName, InstanceId, PinnedImage};
use coord_shared::quantity::Signal;
pub(crate) use host::find_program;
pub(crate) use network::connected;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{Semaphore, mpsc};

/// Containers that are being made at a time. Making one is nearly all kernel work under a few global locks: more at a time only
/// makes each of them slower.
const STARTS_AT_A_TIME: usize = 8;

/// What carrying out takes.
#[derive(Clone)]
pub struct Executor {
    /// This host's name, for the containers' environment.
    pub host: HostName,
    /// Runs containers.
    pub runtime: EmbeddedRuntime,
    /// Holds images.
    pub images: ImageStore,
    /// Makes room for them.
    pub room: Room,
    /// Fetches them.
    pub registry: Registry,
    /// Connects containers; in words, why it cannot.
    pub network: Result<Network, String>,
    /// Where the logs lie, and when they are rotated.
    pub logs: LogSettings,
    /// What outlives containers.
    pub volumes: Volumes,
    /// Doors of containers that may start others.
    pub doors: Doors,
    /// Where the ends are told.
    pub events: mpsc::Sender<Event>,
    /// Asks containers whether they are well.
    pub probers: Probers,
    /// What runs a container whose document does not say.
    pub default_runtime: RuntimeName,
    starts: Arc<Semaphore>,
}

/// Where instances' logs lie, and when they are rotated.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Their folder.
    pub dir: PathBuf,
    /// Rotated beyond this size.
    pub max_bytes: u64,
    /// Rotated files that are kept.
    pub max_files: u32,
}

impl LogSettings {
    /// Where an instance's output goes; what its document leaves open is the host's setting.
    fn policy(&self, instance: &InstanceId, asked: &Logging) -> LogPolicy {
        LogPolicy {
            driver: match asked.driver {
                document::LogDriver::JsonFile => LogDriver::JsonFile,
                document::LogDriver::Journald => LogDriver::Journald,
                document::LogDriver::None => LogDriver::None,
            },
            path: log_path(&self.dir, instance),
            max_bytes: asked.max_size.map_or(self.max_bytes, |size| size.0),
            max_files: asked.max_files.unwrap_or(self.max_files),
            rate_bytes_per_s: asked.rate.map(|rate| rate.0),
        }
    }
}

/// The log of an instance: one file for all the containers that fill it.
pub fn log_path(dir: &Path, instance: &InstanceId) -> PathBuf {
    dir.join(format!("{instance}.jsonl"))
}

impl Executor {
    /// Hands that use these tools.
    pub(crate) fn new(
        host: HostName,
        opened: &Opened,
        (room, registry): (Room, Registry),
        doors: Doors,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            host,
            runtime: opened.runtime.clone(),
            images: opened.images.clone(),
            room,
            registry,
            network: opened.network.clone(),
            logs: opened.logs.clone(),
            volumes: opened.volumes.clone(),
            probers: Probers::new(events.clone()),
            doors,
            events,
            default_runtime: RuntimeName::Embedded,
            starts: Arc::new(Semaphore::new(STARTS_AT_A_TIME)),
        }
    }

    /// Sets one task going.
    pub fn execute(&self, task: Task) {
        let hands = self.clone();
        match task {
            // On this very thread, like everything here: the agent has one, and the store's futures need no more.
            Task::Pull { image, progress } => drop(tokio::task::spawn_local(hands.pull(image, progress))),
            Task::Start { container, spec, image, meta } => {
                drop(tokio::spawn(async move { hands.start(container, &spec, &image, &meta).await }));
            }
            Task::PostStart { container, hooks } => drop(tokio::spawn(hands.post_start(container, hooks))),
            Task::Ask(asked) => self.probers.ask(&self.runtime, asked),
            Task::AskNoMore { container } => self.probers.ask_no_more(&container),
            // Most have nothing to run before: they are told in the same moment.
            Task::Stop { container, hooks, signal, .. } if hooks.is_empty() => self.signal(&container, signal),
            Task::Stop { container, hooks, signal, kill_at } => {
                drop(tokio::spawn(hands.stop(container, hooks, signal, kill_at)));
            }
            Task::Kill { container } => {
                if let Err(error) = self.runtime.kill(&container.to_string()) {
                    tracing::error!(%container, error = %crate::chain(&error), "cannot kill");
                }
            }
            Task::Remove { container } => drop(tokio::spawn(async move { hands.remove(container).await })),
        }
    }

    async fn pull(self, image: PinnedImage, progress: Arc<Progress>) {
        let pull = async || self.images.pull(&self.registry, &image.reference, &image.digest, Arc::clone(&progress)).await;
        let mut pulled = pull().await;
        if let Err(error) = &pulled
            && self.room.make_for(error, &progress).await
        {
            progress.done_bytes.store(0, Ordering::Relaxed);
            progress.done_layers.store(0, Ordering::Relaxed);
            pulled = pull().await;
        }
        let result = pulled.map(Box::new).map_err(|e| crate::chain(&e));
        self.tell(Event::Pulled { digest: image.digest, result }).await;
    }

    async fn start(self, container: ContainerId, spec: &Spec, image: &Image, meta: &ContainerMeta) {
        let started = async {
            let _turn = self.starts.acquire().await;
            let prepared = self.prepare(&container, spec, image).await?;
            let made = container_spec(&container, spec, image, meta, &self.host, prepared)?;
            self.runtime.start(made).await.map_err(|e| in_words(&e))
        };
        let result = started.await;
        self.volumes.release(&container);
        if result.is_err() {
            self.doors.close(&container.to_string()).await;
            self.release_network(&container).await;
        }
        self.tell(Event::Started { container, result }).await;
    }

    /// The image's root file system, ready to be stacked. The error is in words for the operator.
    async fn mount(&self, image: &Digest) -> Result<Vec<PathBuf>, String> {
        let (images, digest) = (self.images.clone(), image.clone());
        let mounted = tokio::task::spawn_blocking(move || images.mount(&digest)).await;
        let mounted = mounted.map_err(|_| format!("image {image} cannot be mounted: the agent is ending"))?;
        if let Err(StoreError::Missing { .. } | StoreError::Damaged { .. }) = &mounted {
            // Then it is pulled, which repairs it, before the next try.
            self.tell(Event::ImagesRemoved(vec![image.clone()])).await;
        }
        mounted.map(|rootfs| rootfs.lowers).map_err(|e| crate::chain(&e))
    }

    /// A process that is gone needs no signal: its end is told as an event of its own.
    fn signal(&self, container: &ContainerId, signal: Signal) {
        if let Err(error) = self.runtime.signal(&container.to_string(), signal.0) {
            tracing::warn!(%container, %signal, error = %crate::chain(&error), "cannot signal; it will be killed when its time is over");
        }
    }

    async fn remove(self, container: ContainerId) {
        self.doors.close(&container.to_string()).await;
        let result = self.runtime.remove(&container.to_string()).await.map_err(|e| crate::chain(&e));
        if result.is_ok() {
            self.release_network(&container).await;
        }
        self.tell(Event::Removed { container, result }).await;
    }

    /// The loop is gone only when the process is about to be.
    async fn tell(&self, event: Event) {
        let _ = self.events.send(event).await;
    }
}

/// What a start that failed tells the operator: the causes, and the cure where there is one.
fn in_words(error: &RuntimeError) -> String {
    let causes = crate::chain(error);
    match error.hint() {
        Some(hint) => format!("{causes}; {hint}"),
        None => causes,
    }
}
