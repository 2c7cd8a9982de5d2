//! Whose time is over.

use super::{Caches, Over, words};
use coord_shared::decide::{Mono, Now, nested};

impl Caches {
    /// Deletes those whose time is over at `now` and which nobody mounts. Returns those that are over and mounted (whoever mounts them is to
    /// be ended, and this called again), and when to come again.
    pub async fn sweep(&self, now: Now) -> (Vec<Over>, Option<Mono>) {
        let (mut over, mut next) = (Vec::new(), None);
        for one in self.all() {
            let record = one.record();
            let Some(at) = nested::expires(&record.life()) else { continue };
            if at > now.mono {
                next = Some(next.map_or(at, |next: Mono| next.min(at)));
                continue;
            }
            let children = record.children();
            if !children.is_empty() {
                over.push(Over { cache: one.name.clone(), children, reason: words::time_is_over(&one.name, record.ttl) });
                continue;
            }
            let Ok(turn) = one.turn().await else { continue };
            // It may have been used while this waited for its turn.
            let record = one.record();
            let is_over = nested::expires(&record.life()).is_some_and(|at| at <= now.mono);
            if !is_over || !record.mounts.is_empty() {
                continue;
            }
            let name = one.name.clone();
            match self.delete(one, turn).await {
                Ok(()) => tracing::info!(cache = %name, "time to live is over: deleted"),
                Err(error) => {
                    tracing::warn!(cache = %name, error = %error.message, "a file cache whose time is over is left behind")
                }
            }
        }
        (over, next)
    }
}
