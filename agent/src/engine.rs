//! A runtime beside the agent's own, for containers that are no instances: in folders and with users of its own, so that none takes
//! another's containers for its own. Whoever needs one opens it for the first of its containers: a host that needs none should not pay.
//!
//! Used by [`crate::builds`] for steps, and by [`crate::nested`] for second containers.

use crate::volumes;
use coord_runtime::{EmbeddedRuntime, Exit, Isolation, RecoveredState, Runtime as _, RuntimeError, RuntimeEvent};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// How long a container that was killed may take to be gone: the kernel is as quick as its processes have memory.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs containers, and tells how they ended to whoever waits for them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) runtime: EmbeddedRuntime,
    ends: Arc<Ends>,
    state: PathBuf,
}

#[derive(Default)]
struct Ends {
    ended: Mutex<BTreeMap<String, Exit>>,
    /// Those of earlier agents that were found.
    found: Mutex<BTreeSet<String>>,
    news: Notify,
}

impl Engine {
    /// Opens the runtime on these folders and finds what earlier agents have left.
    ///
    /// # Errors
    /// When the folders or the helpers cannot be used.
    pub(crate) fn open(state: &Path, run: &Path, helpers_dir: &Path, isolation: Isolation) -> Result<Self, RuntimeError> {
        let runtime = EmbeddedRuntime::open(state, run, helpers_dir, isolation)?;
        let ends = Arc::new(Ends::default());
        for container in runtime.recover()? {
            let exit = match container.state {
                RecoveredState::Running(_) => None,
                RecoveredState::Exited(exit) => Some(exit),
                RecoveredState::Unknown => {
                    Some(Exit { code: None, signal: None, oom_killed: false, at: crate::clock::now().wall, unknown: true })
                }
            };
            ends.found().insert(container.id.clone());
            if let Some(exit) = exit {
                ends.ended().insert(container.id, exit);
            }
        }
        if let Some(events) = runtime.events() {
            tokio::spawn(listen(ends.clone(), events));
        }
        Ok(Self { runtime, ends, state: state.to_owned() })
    }

    /// Whether an earlier agent has started this container.
    pub(crate) fn has_found(&self, container: &str) -> bool {
        self.ends.found().contains(container)
    }

    /// Those of earlier agents that have not ended yet.
    pub(crate) fn running(&self) -> BTreeSet<String> {
        let ended = self.ends.ended();
        self.ends.found().iter().filter(|container| !ended.contains_key(*container)).cloned().collect()
    }

    /// Those of earlier agents whose names begin so.
    pub(crate) fn found(&self, prefix: &str) -> Vec<String> {
        self.ends.found().iter().filter(|container| container.starts_with(prefix)).cloned().collect()
    }

    /// Waits for a container's end. To be asked for again where it was not waited for.
    pub(crate) async fn ended(&self, container: &str) -> Exit {
        loop {
            let news = self.ends.news.notified();
            if let Some(exit) = self.ends.ended().get(container) {
                return exit.clone();
            }
            news.await;
        }
    }

    /// Removes a container, and kills it before if it runs. What it has changed of its root may have been made with malice.
    ///
    /// # Errors
    /// When something of it is left.
    pub(crate) async fn remove(&self, container: &str) -> Result<(), RuntimeError> {
        // One that has ended already, or is not there.
        let _ = self.runtime.kill(container);
        let upper = self.state.join("c").join(container).join("upper");
        if upper.exists() {
            // Once nothing runs in it any more: what cannot be removed is left to the runtime, which says so.
            let ended = tokio::time::timeout(END_TIMEOUT, self.ended(container)).await;
            if ended.is_ok() {
                let _ = tokio::task::spawn_blocking(move || volumes::delete(&upper)).await;
            }
        }
        self.runtime.remove(container).await?;
        self.ends.ended().remove(container);
        self.ends.found().remove(container);
        Ok(())
    }
}

impl Ends {
    fn ended(&self) -> MutexGuard<'_, BTreeMap<String, Exit>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen(ends: Arc<Ends>, mut events: mpsc::Receiver<RuntimeEvent>) {
    while let Some(RuntimeEvent::Exited { id, exit }) = events.recv().await {
        ends.ended().insert(id, exit);
        ends.news.notify_waiters();
    }
}
