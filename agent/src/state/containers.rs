//! What happens to containers and images: the agent's memory of actions that were set going and of how they ended.

use super::{Agent, ContainerMeta};
use coord_image::{Image, Progress};
use coord_shared::decide::Now;
use coord_shared::decide::planner::{Action, Container, History, Phase, Spec};
use coord_shared::names::{ContainerId, PinnedImage};
use coord_shared::quantity::Signal;
use coord_shared::wire::Exit;
use std::sync::Arc;
use std::time::Duration;

/// An action with everything that carrying it out takes.
#[derive(Debug)]
pub enum Task {
    /// Fetch an image.
    Pull {
        /// Which.
        image: PinnedImage,
        /// Where to tell how far it is.
        progress: Arc<Progress>,
    },
    /// Make a container and start it.
    Start {
        /// Its name.
        container: ContainerId,
        /// What it runs.
        spec: Arc<Spec>,
        /// Its image.
        image: Arc<Image>,
        /// What to keep beside it.
        meta: ContainerMeta,
    },
    /// Send a signal to a container's first process.
    Signal {
        /// Which.
        container: ContainerId,
        /// The signal.
        signal: Signal,
    },
    /// Kill a container's whole cgroup.
    Kill {
        /// Which.
        container: ContainerId,
    },
    /// Remove what is left of a container.
    Remove {
        /// Which.
        container: ContainerId,
    },
}

impl Agent {
    /// Takes note that an action is under way, and adds what carrying it out takes.
    pub(super) fn begin(&mut self, action: Action, now: Now) -> Option<Task> {
        match action {
            Action::Pull(image) => {
                let progress = self.begin_pull(&image, now);
                Some(Task::Pull { image, progress })
            }
            Action::Start { container, spec } => self.begin_start(container, spec, now),
            Action::Stop { container, kill_at } => {
                let signal = self.metas.get(&container).map_or(Signal::TERM, |meta| meta.stop_signal);
                self.set_phase(&container, Phase::Stopping { since: now.mono, kill_at, killed: false });
                tracing::info!(%container, %signal, "stopping");
                Some(Task::Signal { container, signal })
            }
            Action::Kill { container } => {
                let stopping = self.observed.containers.get_mut(&container)?;
                if let Phase::Stopping { killed, .. } = &mut stopping.phase {
                    *killed = true;
                }
                tracing::warn!(%container, "killing: it did not end within its grace period");
                Some(Task::Kill { container })
            }
            Action::Remove { container } => {
                let attempts = match self.observed.containers.get(&container).map(|container| container.phase) {
                    Some(Phase::RemoveFailed { attempts, .. }) => attempts,
                    Some(_) | None => 0,
                };
                self.remove_attempts.insert(container.clone(), attempts + 1);
                self.set_phase(&container, Phase::Removing { since: now.mono });
                Some(Task::Remove { container })
            }
        }
    }

    fn begin_start(&mut self, container: ContainerId, spec: Arc<Spec>, now: Now) -> Option<Task> {
        let image = self.images.get(&spec.image.digest)?.clone();
        let stop_signal = spec.document.container.stop_signal.or_else(|| image_stop_signal(&image)).unwrap_or(Signal::TERM);
        let meta = ContainerMeta {
            fingerprint: spec.fingerprint.clone(),
            image: spec.image.digest.clone(),
            grace: spec.document.stop_grace_period,
            stop_signal,
        };
        match self.observed.histories.get_mut(&container.instance) {
            Some(history) => history.note_start(&container, &spec.fingerprint),
            None => {
                let history = History::begin(&container, spec.fingerprint.clone());
                self.observed.histories.insert(container.instance.clone(), history);
            }
        }
        self.insert_container(container.clone(), meta.clone(), Phase::Starting { since: now.mono }, None);
        tracing::info!(%container, image = %spec.image, "starting");
        Some(Task::Start { container, spec, image, meta })
    }

    pub(super) fn insert_container(&mut self, id: ContainerId, meta: ContainerMeta, phase: Phase, pid: Option<u32>) {
        let container =
            Container { fingerprint: meta.fingerprint.clone(), image: meta.image.clone(), grace: meta.grace, phase, pid };
        self.metas.insert(id.clone(), meta);
        self.observed.containers.insert(id, container);
    }

    fn set_phase(&mut self, id: &ContainerId, phase: Phase) {
        if let Some(container) = self.observed.containers.get_mut(id) {
            container.phase = phase;
        }
    }

    /// A start ended well. The container may have ended already: that event can be the faster one.
    pub(super) fn started(&mut self, id: &ContainerId, pid: u32, now: Now) {
        if let Some(container) = self.observed.containers.get_mut(id)
            && matches!(container.phase, Phase::Starting { .. })
        {
            container.pid = Some(pid);
            container.phase = Phase::Running { since: now.mono };
            tracing::info!(container = %id, pid, "running");
        }
    }

    /// A start failed; the runtime has left nothing behind.
    pub(super) fn start_failed(&mut self, id: &ContainerId, error: String, now: Now) {
        tracing::warn!(container = %id, %error, "start failed");
        self.forget_container(id);
        if let Some(history) = self.observed.histories.get_mut(&id.instance)
            && history.last_start == id.start
        {
            history.note_start_failure(error, now.mono);
        }
    }

    /// A container ended. One that was asked to is no failure.
    pub(super) fn exited(&mut self, id: &ContainerId, exit: Exit, now: Now) {
        let Some(container) = self.observed.containers.get_mut(id) else { return };
        let ran_for = match container.phase {
            Phase::Running { since } => Some(now.mono.since(since)),
            Phase::Starting { .. } => Some(Duration::ZERO),
            Phase::Stopping { .. } | Phase::Exited { .. } | Phase::Removing { .. } | Phase::RemoveFailed { .. } => None,
        };
        tracing::info!(container = %id, %exit, by_itself = ran_for.is_some(), "ended");
        container.phase = Phase::Exited { at: now.mono };
        container.pid = None;
        let make = container.fingerprint.clone();
        if let Some(ran_for) = ran_for
            && let Some(history) = self.observed.histories.get_mut(&id.instance)
            && history.fingerprint == make
        {
            history.note_exit(exit, now.mono, ran_for);
        }
    }

    /// A removal ended.
    pub(super) fn removed(&mut self, id: ContainerId, result: Result<(), String>, now: Now) {
        let attempts = self.remove_attempts.remove(&id).unwrap_or(1);
        match result {
            Ok(()) => {
                self.forget_container(&id);
                if !self.knows(&id.instance) {
                    self.trim_histories();
                }
            }
            Err(error) => {
                tracing::error!(container = %id, %error, attempts, "cannot remove what is left of it; trying again");
                self.set_phase(&id, Phase::RemoveFailed { at: now.mono, attempts });
            }
        }
    }

    fn forget_container(&mut self, id: &ContainerId) {
        self.observed.containers.remove(id);
        self.metas.remove(id);
    }
}

/// The signal that the image wants to be stopped with.
fn image_stop_signal(image: &Image) -> Option<Signal> {
    image.config.config().as_ref()?.stop_signal().as_ref()?.parse().ok()
}
