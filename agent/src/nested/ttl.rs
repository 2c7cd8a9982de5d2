//! Watches over the times of caches: one whose time is over is deleted, and whoever mounts it is ended before.

use super::child;
use super::door::Door;
use crate::clock;
use crate::containers::happenings::What;
use coord_shared::wire::nested::Stop;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// After that it is looked at all the same: a timer that was missed is late, not lost.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Between two looks, whatever happens: some look at files that are being written.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs until the future is dropped.
pub(super) async fn keep(door: Arc<Door>) {
    let mut ending = BTreeSet::new();
    loop {
        let before = door.caches.list();
        let (over, next) = door.caches.sweep(clock::now()).await;
        // One without a time is gone because somebody wanted that, and told so.
        let gone = before.iter().filter(|cache| cache.expires_at.is_some() && door.caches.view(&cache.name).is_err());
        gone.for_each(|cache| door.note_cache(What::CacheDeleted, &cache.name, "its time to live is over"));
        for one in &over {
            for name in &one.children {
                let Ok(child) = door.child(name) else { continue };
                // Whatever somebody else has asked it meanwhile, and however much time that leaves it.
                if !ending.insert(child.record.borrow().number) {
                    continue;
                }
                let (door, reason) = (door.clone(), one.reason.clone());
                tokio::task::spawn_local(async move { child::stop(&door, &child, &Stop::default(), reason).await });
            }
        }
        // What was deleted is no longer told.
        door.changed();
        tokio::time::sleep(PAUSE).await;
        let now = clock::now().mono;
        let pause = next.map_or(LOOK_INTERVAL, |at| at.since(now)).min(LOOK_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = door.caches_changed.notified() => {}
        }
    }
}
