//! What is told of what runs within containers: anew when it has changed, and not more often than people can read.

use super::door::Door;
use super::record::has_ended;
use super::tools::Tools;
use coord_shared::wire::nested::{ChildView, NestedReport};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What changes within this time is told together.
const PAUSE: Duration = Duration::from_millis(200);
/// Ended second containers of a parent that are told.
const ENDED_TOLD_MAX: usize = 8;

/// Takes note of changes, and has the reports. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reporter {
    pub(super) reports: watch::Sender<BTreeMap<String, NestedReport>>,
    changed: Arc<Mutex<BTreeSet<String>>>,
    news: Arc<Notify>,
}

impl Reporter {
    pub(super) fn new() -> Self {
        Self { reports: watch::Sender::new(BTreeMap::new()), changed: Arc::default(), news: Arc::default() }
    }

    /// Something within this container is other than before.
    pub(super) fn changed(&self, parent: &str) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if !changed.contains(parent) {
            changed.insert(parent.to_owned());
        }
        self.news.notify_one();
    }

    /// There is nothing within it any more.
    pub(super) fn closed(&self, parent: &str) {
        self.reports.send_if_modified(|reports| reports.remove(parent).is_some());
    }
}

/// Tells until there are no doors any more.
pub(super) async fn tell(tools: Weak<Tools>, reporter: Reporter) {
    loop {
        reporter.news.notified().await;
        tokio::time::sleep(PAUSE).await;
        let Some(tools) = tools.upgrade() else { return };
        let changed = std::mem::take(&mut *reporter.changed.lock().unwrap_or_else(PoisonError::into_inner));
        let news: Vec<_> = changed.into_iter().filter_map(|parent| Some((tools.door(&parent)?, parent))).collect();
        let news: Vec<_> = news.into_iter().map(|(door, parent)| (parent, report(&door))).collect();
        reporter.reports.send_if_modified(|reports| {
            let mut is_news = false;
            for (parent, report) in news {
                if reports.get(&parent) != Some(&report) && report != NestedReport::default() {
                    reports.insert(parent, report);
                    is_news = true;
                } else if report == NestedReport::default() {
                    is_news |= reports.remove(&parent).is_some();
                }
            }
            is_news
        });
    }
}

fn report(door: &Door) -> NestedReport {
    NestedReport { containers: told(door.views()), caches: door.caches.list(), ..NestedReport::default() }
}

/// Those that live, and the last that ended.
fn told(views: Vec<ChildView>) -> Vec<ChildView> {
    let mut unseen = views.iter().filter(|view| has_ended(view)).count().saturating_sub(ENDED_TOLD_MAX);
    let mut is_told = |view: &ChildView| {
        let skip = has_ended(view) && unseen > 0;
        unseen -= usize::from(skip);
        !skip
    };
    views.into_iter().filter(|view| is_told(view)).collect()
}
