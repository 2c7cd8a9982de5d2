//! The last things that happened to containers, for whoever asks what went on here a while ago.
//!
//! A ring in memory, filled by the loop: what it is told, and what it sets going. Deliberately absent: keeping it across a restart of
//! the agent (the log of the service has it), and deciding anything by it.

use crate::builds;
use crate::event::Event;
use crate::state::Task;
use coord_runtime::RuntimeEvent;
use coord_shared::decide::health::{Status, brief};
use coord_shared::names::{ContainerId, InstanceId};
use coord_shared::wire::Exit;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Things that are remembered.
pub const HAPPENINGS_MAX: usize = 1000;
/// Of an error, so much is remembered: the log of the service has the whole of it.
const WORDS_MAX_CHARS: usize = 300;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// Counts from 1, per agent process.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
    /// To which instance; absent for images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// To which container of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerId>,
    /// More about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
}

/// What happened, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An image is being fetched.
    Pulling,
    /// An image is here.
    Pulled,
    /// An image could not be fetched.
    PullFailed,
    /// A container is being made.
    Starting,
    /// Its command was executed.
    Started,
    /// It could not be started.
    StartFailed,
    /// It was asked to end.
    Stopping,
    /// Its health check says that it is well.
    Healthy,
    /// Its health check says that it is ill.
    Unhealthy,
    /// What it wants to be run once it has started failed.
    HookFailed,
    /// It did not end in time.
    Killing,
    /// It has ended.
    Exited,
    /// The last of it is gone.
    Removed,
    /// It cannot be removed.
    RemoveFailed,
    /// A file cache was made within it.
    CacheMade,
    /// One was deleted.
    CacheDeleted,
    /// Something that a newer agent tells of.
    #[serde(other)]
    Other,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pulling => "pulling",
            Self::Pulled => "pulled",
            Self::PullFailed => "pull failed",
            Self::Starting => "starting",
            Self::Started => "started",
            Self::StartFailed => "start failed",
            Self::Stopping => "stopping",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::HookFailed => "hook failed",
            Self::Killing => "killing",
            Self::Exited => "exited",
            Self::Removed => "removed",
            Self::RemoveFailed => "remove failed",
            Self::CacheMade => "cache made",
            Self::CacheDeleted => "cache deleted",
            Self::Other => "other",
        })
    }
}

/// The ring. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Happenings {
    ring: Arc<Mutex<VecDeque<Happening>>>,
    /// The number of the newest one.
    newest: watch::Sender<u64>,
}

impl Default for Happenings {
    fn default() -> Self {
        Self { ring: Arc::default(), newest: watch::Sender::new(0) }
    }
}

impl Happenings {
    /// Notes what the loop was told, if that is of a container.
    #[allow(clippy::wildcard_enum_match_arm, reason = "the others are not of containers")]
    pub fn note_event(&self, event: &Event, now: Timestamp) {
        match event {
            Event::Pulled { digest, result } => match result {
                Ok(_) => self.note(What::Pulled, None, digest.short().to_owned(), now),
                Err(error) => self.note(What::PullFailed, None, format!("{}: {error}", digest.short()), now),
            },
            Event::Started { container, result } => match result {
                Ok(running) => self.note(What::Started, Some(container), format!("pid {}", running.pid), now),
                Err(error) => self.note(What::StartFailed, Some(container), error.clone(), now),
            },
            Event::Health { container, health } => match health.status {
                Status::Healthy => self.note(What::Healthy, Some(container), String::new(), now),
                Status::Unhealthy => self.note(What::Unhealthy, Some(container), brief(&health.output), now),
                Status::Starting => {}
            },
            Event::Hooked { container, result: Err(error) } => {
                self.note(What::HookFailed, Some(container), error.clone(), now);
            }
            Event::Removed { container, result } => match result {
                Ok(()) => self.note(What::Removed, Some(container), String::new(), now),
                Err(error) => self.note(What::RemoveFailed, Some(container), error.clone(), now),
            },
            Event::Runtime(RuntimeEvent::Exited { id, exit }) => {
                let exit =
                    Exit { code: exit.code, signal: exit.signal, oom_killed: exit.oom_killed, memory_limit: None, at: exit.at };
                self.note(What::Exited, id.parse().ok().as_ref(), exit.to_string(), now);
            }
            _ => {}
        }
    }

    /// Notes what is set going.
    #[allow(clippy::wildcard_enum_match_arm, reason = "of the others, their end tells")]
    pub fn note_task(&self, task: &Task, now: Timestamp) {
        match task {
            Task::Pull { image, .. } => self.note(What::Pulling, None, image.to_string(), now),
            Task::Start { container, spec, .. } => self.note(What::Starting, Some(container), spec.image.to_string(), now),
            Task::Stop { container, signal, .. } => self.note(What::Stopping, Some(container), signal.to_string(), now),
            Task::Kill { container } => {
                self.note(What::Killing, Some(container), "it did not end within its grace period".to_owned(), now);
            }
            _ => {}
        }
    }

    /// Notes what happened to a second container or a cache, `name`, within `parent`: the ID of a container, or of a step's.
    pub fn note_within(&self, what: What, parent: &str, name: &impl Display, words: &str, now: Timestamp) {
        let words = if words.is_empty() { name.to_string() } else { format!("{name}: {words}") };
        self.note(what, parent.parse().ok().or_else(|| builds::shown_as(parent)).as_ref(), words, now);
    }

    fn note(&self, what: What, container: Option<&ContainerId>, words: String, at: Timestamp) {
        let mut ring = self.ring();
        let sequence = ring.back().map_or(1, |last| last.sequence + 1);
        if ring.len() == HAPPENINGS_MAX {
            ring.pop_front();
        }
        let words = if words.len() > WORDS_MAX_CHARS { words.chars().take(WORDS_MAX_CHARS).collect() } else { words };
        let instance = container.map(|container| container.instance.clone());
        ring.push_back(Happening { sequence, at, what, instance, container: container.cloned(), words });
        drop(ring);
        self.newest.send_replace(sequence);
    }

    /// What is remembered of all that came after number `sequence`, the oldest first.
    pub fn after(&self, sequence: u64) -> Vec<Happening> {
        self.ring().iter().filter(|one| one.sequence > sequence).cloned().collect()
    }

    /// Waits until there is something after number `sequence`.
    pub async fn wait_after(&self, sequence: u64) {
        // The sender is ours: it is not gone while we wait.
        let _ = self.newest.subscribe().wait_for(|newest| *newest > sequence).await;
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Happening>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
