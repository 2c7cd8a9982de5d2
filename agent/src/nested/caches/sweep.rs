//! Whose time is over, and who has written more than fits.

use super::one::One;
use super::{Caches, Over, on_thread, words};
use coord_cache::CacheError;
use coord_shared::decide::{Mono, Now, nested};
use coord_shared::wire::nested::CacheKind;
use std::sync::Arc;
use std::time::Duration;

/// How often caches that somebody writes into are measured: 1,000 files take 2 ms.
const MEASURE_INTERVAL: Duration = Duration::from_secs(2);

impl Caches {
    /// Deletes those whose time is over at `now` and which nobody mounts. Returns those that are over and mounted, or hold more than they
    /// may (whoever is named is to be ended, and this called again), and when to come again.
    pub async fn sweep(&self, now: Now) -> (Vec<Over>, Option<Mono>) {
        let (mut over, mut next) = (Vec::new(), None);
        let mut come_again = |at: Mono| next = Some(next.map_or(at, |next: Mono| next.min(at)));
        for one in self.all() {
            let record = one.record();
            if record.kind == CacheKind::Store && !record.writers().is_empty() {
                come_again(now.mono.after(MEASURE_INTERVAL));
                over.extend(self.measure(&one).await);
            }
            let Some(at) = nested::expires(&record.life()) else { continue };
            if at > now.mono {
                come_again(at);
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

    /// Whether those that write into a cache have written more than fits. They are found out a moment later: no file system of the host's
    /// has to know of quotas.
    async fn measure(&self, one: &Arc<One>) -> Option<Over> {
        let _slot = self.inner.looks.acquire().await.ok()?;
        let measured = Arc::clone(one);
        let limit = on_thread(move || match measured.store.measured() {
            Ok(amount) => {
                measured.settle_as(amount);
                measured.is_over()
            }
            Err(CacheError::TooMuch { limit }) => Some(limit),
            Err(error) => {
                tracing::warn!(cache = %measured.name, %error, "a file cache cannot be measured");
                None
            }
        });
        let limit = limit.await.ok()??;
        let children = one.record().writers();
        (!children.is_empty()).then(|| Over {
            cache: one.name.clone(),
            children,
            reason: words::holds_too_much(&one.name, &limit),
        })
    }
}
