//! Counts the connections of containers that have given way, and tells the loop.
//!
//! Deliberately absent: deciding. Who is asked to end when is decided in `coord_shared::decide::planner::drain`.

use crate::clock;
use crate::event::Event;
use crate::state::Watched;
use coord_shared::decide::Mono;
use coord_shared::names::ContainerId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Between two looks: so much longer than its last connection a container lives.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Between two reports of a number that changes all the time and is not 0: people read it.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// What was told of a container, and when.
struct Told {
    open: Option<u32>,
    at: Mono,
}

/// Runs until nobody is to be watched any more.
pub(crate) async fn run(mut watched: watch::Receiver<Vec<Watched>>, events: mpsc::Sender<Event>) {
    let mut told: BTreeMap<ContainerId, Told> = BTreeMap::new();
    loop {
        let list = watched.borrow_and_update().clone();
        told.retain(|container, _| list.iter().any(|one| one.container == *container));
        if list.is_empty() {
            if watched.changed().await.is_err() {
                return;
            }
            continue;
        }
        for one in list {
            let container = one.container.clone();
            let open = tokio::task::spawn_blocking(move || count(&one)).await.unwrap_or_default();
            let at = clock::now().mono;
            if is_news(told.get(&container), open, at) {
                told.insert(container.clone(), Told { open, at });
                let _ = events.send(Event::Connections { container, open }).await;
            }
        }
        if let Ok(Err(_)) = tokio::time::timeout(LOOK_INTERVAL, watched.changed()).await {
            return;
        }
    }
}

fn count(one: &Watched) -> Option<u32> {
    coord_network::connections(one.pid, &one.ports).unwrap_or_else(|error| {
        tracing::debug!(container = %one.container, %error, "cannot see who is connected");
        None
    })
}

/// The end of the last connection always is.
fn is_news(told: Option<&Told>, open: Option<u32>, now: Mono) -> bool {
    let is_soon = |told: &Told| now.since(told.at) < TELL_INTERVAL;
    told.is_none_or(|told| told.open != open && (open == Some(0) || told.open == Some(0) || !is_soon(told)))
}
