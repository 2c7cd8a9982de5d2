//! The runtime that runs steps: as the agent's own, in folders and with users of its own, so that neither takes the other's containers for
//! its own. It is opened for the first run, because a host that builds nothing should not pay for it.

use super::error::BuildError;
use super::places::Places;
use crate::config::Config;
use coord_runtime::{EmbeddedRuntime, Exit, Isolation, RecoveredState, Runtime as _, RuntimeEvent};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Numbers of 16 bits, as images use them.
const USERS_PER_CONTAINER: u32 = 65_536;
/// Ranges of users for steps: one for each that runs at a time.
const RANGES: u32 = 64;

/// Runs containers, and tells how they ended to whoever waits for them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Engine {
    pub(super) runtime: EmbeddedRuntime,
    ends: Arc<Ends>,
}

#[derive(Default)]
struct Ends {
    ended: Mutex<BTreeMap<String, Exit>>,
    /// Those of earlier agents that were found.
    found: Mutex<BTreeSet<String>>,
    news: Notify,
}

impl Engine {
    /// Opens the runtime and finds what earlier agents have left.
    pub(super) fn open(places: &Places, config: &Config) -> Result<Self, BuildError> {
        let isolation = own_users(config.isolation.of_containers());
        let runtime =
            EmbeddedRuntime::open(&places.state, &places.run, &config.helpers_dir, isolation).map_err(BuildError::Runtime)?;
        let ends = Arc::new(Ends::default());
        for container in runtime.recover().map_err(BuildError::Runtime)? {
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
        Ok(Self { runtime, ends })
    }

    /// Whether an earlier agent has started this container.
    pub(super) fn has_found(&self, container: &str) -> bool {
        self.ends.found().contains(container)
    }

    /// Those of earlier agents whose names begin so.
    pub(super) fn found(&self, prefix: &str) -> Vec<String> {
        self.ends.found().iter().filter(|container| container.starts_with(prefix)).cloned().collect()
    }

    /// Waits for a container's end. To be asked for again where it was not waited for.
    pub(super) async fn ended(&self, container: &str) -> Exit {
        loop {
            let news = self.ends.news.notified();
            if let Some(exit) = self.ends.ended().get(container) {
                return exit.clone();
            }
            news.await;
        }
    }

    /// Removes a container, and kills it before if it runs.
    pub(super) async fn remove(&self, container: &str) -> Result<(), BuildError> {
        self.runtime.remove(container).await.map_err(BuildError::Runtime)?;
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

/// From the middle of the pool: the agent gives its ranges out from the beginning, and containers in somebody's foreground have theirs from
/// the end. Where the pool is too small for that, they meet.
fn own_users(isolation: Isolation) -> Isolation {
    let ranges = isolation.user_count / USERS_PER_CONTAINER;
    let first = ranges / 2;
    let count = RANGES.min(ranges - first);
    Isolation {
        first_user: isolation.first_user.saturating_add(first.saturating_mul(USERS_PER_CONTAINER)),
        user_count: count.saturating_mul(USERS_PER_CONTAINER),
        ..isolation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_users_of_their_own() {
        let check = |ranges: u32, first: u32, count: u32| {
            let pool = Isolation { first_user: 1_000_000, user_count: ranges * USERS_PER_CONTAINER, ..Isolation::default() };
            let own = own_users(pool);
            let expect = (1_000_000 + first * USERS_PER_CONTAINER, count * USERS_PER_CONTAINER);
            assert_eq!((own.first_user, own.user_count), expect);
        };
        check(4000, 2000, 64);
        check(10, 5, 5);
        check(1, 0, 1);
    }
}
