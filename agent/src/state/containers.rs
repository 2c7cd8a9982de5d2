//! What happens to containers and images: the agent's memory of actions that were set going and of how they ended.

use super::health::Asked;
use super::{Agent, ContainerMeta};
use coord_image::{Image, Progress};
use coord_shared::decide::planner::{Action, Container, History, Phase, Spec, Traffic};
use coord_shared::decide::{Mono, Now};
use coord_shared::document::Hook;
use coord_shared::names::{ContainerId, PinnedImage};
use coord_shared::quantity::Signal;
use coord_shared::wire::Exit;
use std::sync::Arc;

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
        meta: Box<ContainerMeta>,
    },
    /// Run what a container wants to be run once it has started.
    PostStart {
        /// Which.
        container: ContainerId,
        /// What, one after the other.
        hooks: Vec<Hook>,
    },
    /// Ask a container whether it is well, again and again; instead of how it was asked before.
    Ask(Arc<Asked>),
    /// Ask it no more.
    AskNoMore {
        /// Which.
        container: ContainerId,
    },
    /// Ask a container to end.
    Stop {
        /// Which.
        container: ContainerId,
        /// What it wants to be run before.
        hooks: Vec<Hook>,
        /// The signal that its first process gets then.
        signal: Signal,
        /// When it will be killed, be the hooks through or not.
        kill_at: Mono,
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
            Action::Stop { container, kill_at, is_ill } => {
                if is_ill {
                    self.note_illness(&container, now);
                }
                let hooks = self.metas.get(&container).map(|meta| meta.pre_stop.clone()).unwrap_or_default();
                self.begin_stop(&container, kill_at, hooks, now);
                None
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
        let meta = ContainerMeta::new(&spec, &image);
        match self.observed.histories.get_mut(&container.instance) {
            Some(history) => history.note_start(&container, &spec.fingerprint),
            None => {
                let history = History::begin(&container, spec.fingerprint.clone());
                self.observed.histories.insert(container.instance.clone(), history);
            }
        }
        self.insert_container(container.clone(), meta.clone(), Phase::Starting { since: now.mono }, None);
        tracing::info!(%container, image = %spec.image, "starting");
        Some(Task::Start { container, spec, image, meta: Box::new(meta) })
    }

    pub(super) fn insert_container(&mut self, id: ContainerId, meta: ContainerMeta, phase: Phase, pid: Option<u32>) {
        let container = Container {
            fingerprint: meta.fingerprint.clone(),
            image: meta.image.clone(),
            grace: meta.grace,
            phase,
            pid,
            in_hooks: false,
            health: None,
            window: meta.window,
            ports: meta.ports.clone(),
            traffic: Traffic::default(),
        };
        self.metas.insert(id.clone(), meta);
        self.observed.containers.insert(id, container);
    }

    /// Asks a container to end: after these hooks, and in the time that is left of its grace period.
    pub(super) fn begin_stop(&mut self, id: &ContainerId, kill_at: Mono, hooks: Vec<Hook>, now: Now) {
        let signal = self.metas.get(id).map_or(Signal::TERM, |meta| meta.stop_signal);
        if let Some(container) = self.observed.containers.get_mut(id) {
            container.phase = Phase::Stopping { since: now.mono, kill_at, killed: false };
            container.in_hooks = false;
        }
        tracing::info!(container = %id, %signal, hooks = hooks.len(), "stopping");
        self.ask_no_more(id);
        self.pending.push(Task::Stop { container: id.clone(), hooks, signal, kill_at });
    }

    /// An end because of illness counts as a failure of its own.
    fn note_illness(&mut self, id: &ContainerId, now: Now) {
        let Some(container) = self.observed.containers.get(id) else { return };
        let Some(health) = &container.health else { return };
        if let Some(history) = self.observed.histories.get_mut(&id.instance)
            && history.fingerprint == container.fingerprint
        {
            let was_stable = container.was_stable(now.mono);
            history.note_unhealthy(id, health.failures, health.output.clone(), now.mono, was_stable);
        }
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
            if self.metas.get(id).is_some_and(|meta| !meta.post_start.is_empty()) {
                tracing::info!(container = %id, pid, "its post_start hooks run");
                self.begin_hooks(id, now.mono);
            } else {
                tracing::info!(container = %id, pid, "running");
                self.runs(id, now.mono);
            }
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
        let was_stable = self.observed.containers.get(id).is_some_and(|container| container.was_stable(now.mono));
        self.ask_no_more(id);
        let Some(container) = self.observed.containers.get_mut(id) else { return };
        let by_itself = matches!(container.phase, Phase::Running { .. } | Phase::Starting { .. });
        let memory_limit = self.metas.get(id).and_then(|meta| meta.memory_limit).filter(|_| exit.oom_killed);
        let exit = Exit { memory_limit, ..exit };
        tracing::info!(container = %id, %exit, by_itself, "ended");
        container.phase = Phase::Exited { at: now.mono };
        container.pid = None;
        container.in_hooks = false;
        if let Some(history) = self.observed.histories.get_mut(&id.instance) {
            history.forget_life(id);
            if by_itself && history.fingerprint == container.fingerprint {
                history.note_exit(exit, now.mono, was_stable);
            }
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

    /// Takes note of what the host cannot give a container.
    pub(super) fn note_weakened(&mut self, id: &ContainerId, weakened: Vec<String>) {
        if !weakened.is_empty() {
            tracing::warn!(container = %id, lacks = weakened.join(", "), "weaker than by default");
            self.weakened.insert(id.clone(), weakened);
        }
    }

    fn forget_container(&mut self, id: &ContainerId) {
        self.weakened.remove(id);
        self.closed_by.remove(id);
        self.observed.containers.remove(id);
        self.metas.remove(id);
    }
}
