//! Hands: carries out what was planned, and chooses nothing.
//!
//! Every task runs on its own and ends in exactly one event, so the loop never waits for one.

mod cdi;
mod container_spec;
mod host;
mod mounts;
mod network;
mod prepare;

use crate::event::Event;
use crate::images::Room;
use crate::state::{ContainerMeta, Task};
use container_spec::container_spec;
use coord_image::{Image, ImageStore, Progress, StoreError};
use coord_registry::Registry;
use coord_runtime::{EmbeddedRuntime, LogDriver, LogPolicy, Runtime as _, RuntimeError};
use coord_shared::decide::planner::Spec;
use coord_shared::document::{self, Logging, RuntimeName};
use coord_shared::names::{ContainerId, Digest, HostName, InstanceId, PinnedImage};
use coord_shared::quantity::Signal;
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
    /// Where the logs lie, and when they are rotated.
    pub logs: LogSettings,
    /// Where the ends are told.
    pub events: mpsc::Sender<Event>,
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
    pub fn new(
        host: HostName,
        runtime: EmbeddedRuntime,
        images: ImageStore,
        room: Room,
        registry: Registry,
        logs: LogSettings,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let starts = Arc::new(Semaphore::new(STARTS_AT_A_TIME));
        Self { host, runtime, images, room, registry, logs, events, default_runtime: RuntimeName::Embedded, starts }
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
            Task::Signal { container, signal } => self.signal(&container, signal),
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
        let result = self.runtime.remove(&container.to_string()).await.map_err(|e| crate::chain(&e));
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
