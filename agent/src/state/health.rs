//! Hooks and health of containers: who is asked by which check, what came of it, and what of it the next agent must know.

use super::{Agent, ContainerMeta, Task};
use coord_shared::decide::health::{Check, Health, Status};
use coord_shared::decide::planner::{Life, Phase, Target};
use coord_shared::decide::{Mono, Now};
use coord_shared::names::ContainerId;
use std::sync::Arc;

/// A container that is asked whether it is well.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Which.
    pub container: ContainerId,
    /// Its first process.
    pub pid: u32,
    /// How.
    pub check: Check,
    /// When its command was executed.
    pub started_at: Mono,
    /// What is known of it.
    pub health: Health,
}

impl Agent {
    /// Its command runs, and so did its hooks: from now on it is asked whether it is well.
    pub(super) fn runs(&mut self, id: &ContainerId, since: Mono) {
        let Some(container) = self.observed.containers.get_mut(id) else { return };
        container.phase = Phase::Running { since };
        container.in_hooks = false;
        self.ask(id, Health::starting(since), since);
    }

    /// Begins to ask a container that runs, if it has a check.
    pub(super) fn ask(&mut self, id: &ContainerId, health: Health, started_at: Mono) {
        let check = self.metas.get(id).and_then(|meta| meta.check.clone());
        self.ask_no_more(id);
        let Some(container) = self.observed.containers.get_mut(id) else { return };
        if let (Some(check), Some(pid)) = (check, container.pid) {
            container.health = Some(health.clone());
            self.pending.push(Task::Ask(Arc::new(Asked { container: id.clone(), pid, check, started_at, health })));
        }
    }

    /// Asks it no more, if it was asked at all.
    pub(super) fn ask_no_more(&mut self, id: &ContainerId) {
        if self.observed.containers.get_mut(id).is_some_and(|container| container.health.take().is_some()) {
            self.pending.push(Task::AskNoMore { container: id.clone() });
        }
    }

    /// A check changed what is known of a container.
    pub(super) fn asked(&mut self, id: &ContainerId, health: Health) {
        let Some(container) = self.observed.containers.get_mut(id) else { return };
        // One that is stopping, or whose check is gone, is asked no more; this answer was under way.
        let Some(before) = container.health.as_mut().filter(|_| matches!(container.phase, Phase::Running { .. })) else { return };
        let words = health.output.trim();
        match health.status {
            Status::Unhealthy => tracing::warn!(container = %id, failures = health.failures, said = words, "unhealthy"),
            Status::Healthy => tracing::info!(container = %id, "healthy"),
            Status::Starting => tracing::info!(container = %id, said = words, "not healthy yet"),
        }
        let is_other = before.status != health.status;
        let healthy = health.status == Status::Healthy;
        *before = health;
        if is_other {
            self.note_life(id, |life| life.healthy = healthy);
        }
    }

    /// The `post_start` hooks ended. The first that failed makes it a start that failed, and the container is asked to end.
    pub(super) fn hooked(&mut self, id: &ContainerId, result: Result<(), String>, now: Now) {
        let Some(container) = self.observed.containers.get(id).filter(|container| container.in_hooks) else { return };
        let Phase::Starting { since } = container.phase else { return };
        let kill_at = now.mono.after(container.grace.0);
        match result {
            Ok(()) => {
                self.note_life(id, |life| life.hooks_done = true);
                tracing::info!(container = %id, "running, its post_start hooks are through");
                self.runs(id, since);
            }
            Err(error) => {
                tracing::warn!(container = %id, %error, "post_start hook failed; stopping");
                if let Some(history) = self.observed.histories.get_mut(&id.instance)
                    && history.last_start == id.start
                {
                    history.note_start_failure(error, now.mono);
                }
                self.begin_stop(id, kill_at, Vec::new(), now);
            }
        }
    }

    fn note_life(&mut self, id: &ContainerId, change: impl FnOnce(&mut Life)) {
        if let Some(history) = self.observed.histories.get_mut(&id.instance) {
            let mut life = history.life(id);
            change(&mut life);
            history.note_life(id, life);
        }
    }

    /// A container that an earlier agent started is found running: what that one knew of it is still known.
    pub(super) fn found_running(&mut self, id: &ContainerId, started_at: Mono, now: Now) {
        let Some(meta) = self.metas.get(id) else { return };
        let history = self.observed.histories.get(&id.instance);
        let life = history.map(|history| history.life(id)).unwrap_or_default();
        if !meta.post_start.is_empty() && !life.hooks_done {
            // They may have been through, or not have begun: hooks are run at least once.
            return self.begin_hooks(id, started_at);
        }
        let health = match history.filter(|history| history.ended_as_ill(id)) {
            Some(_) => Health { status: Status::Unhealthy, ..Health::starting(now.mono) },
            None if life.healthy => Health::healthy(started_at),
            None => Health::starting(started_at),
        };
        self.ask(id, health, started_at);
    }

    pub(super) fn begin_hooks(&mut self, id: &ContainerId, since: Mono) {
        let hooks = self.metas.get(id).map(|meta| meta.post_start.clone()).unwrap_or_default();
        if let Some(container) = self.observed.containers.get_mut(id) {
            container.phase = Phase::Starting { since };
            container.in_hooks = true;
            self.pending.push(Task::PostStart { container: id.clone(), hooks });
        }
    }

    /// Containers that a newer revision keeps take on what it says of them: how they are asked, stopped, and counted.
    pub(super) fn adopt(&mut self, now: Now) {
        let mut anew: Vec<(ContainerId, ContainerMeta)> = Vec::new();
        for (id, meta) in &self.metas {
            let Some(Target::Run(spec)) = self.desired.get(&id.instance).map(|wanted| &wanted.target) else { continue };
            let Some(image) = self.images.get(&meta.image).filter(|_| spec.fingerprint == meta.fingerprint) else { continue };
            let new = ContainerMeta::new(spec, image);
            if new != *meta {
                anew.push((id.clone(), new));
            }
        }
        for (id, meta) in anew {
            let Some(container) = self.observed.containers.get_mut(&id) else { continue };
            container.grace = meta.grace;
            container.window = meta.window;
            let (health, phase) = (container.health.clone(), container.phase);
            let other_check = self.metas.get(&id).is_some_and(|before| before.check != meta.check);
            self.metas.insert(id.clone(), meta);
            if let Phase::Running { since } = phase
                && other_check
            {
                tracing::info!(container = %id, "asked by another health check from now on");
                // One that was never asked has all the time of one that was just started.
                let started_at = if health.is_some() { since } else { now.mono };
                self.ask(&id, health.unwrap_or_else(|| Health::starting(now.mono)), started_at);
            }
        }
    }
}
