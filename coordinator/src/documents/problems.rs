//! Problems: what a person must mend before it can be published. In memory, because every start finds them again.

use coord_shared::wire::ProblemView;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest rendered diagnostics that are kept, in bytes; the first screens say enough.
const DETAIL_MAX_BYTES: usize = 16 * 1024;

/// The current problems, one for each source at most.
#[derive(Default)]
pub struct Problems {
    by_source: Mutex<BTreeMap<String, ProblemView>>,
}

impl Problems {
    /// Notes what is wrong with `source`, in place of what was noted before. Logs it when it is new.
    pub fn set(&self, source: &str, summary: String, detail: Option<String>) {
        let detail = detail.map(|text| cut(text, DETAIL_MAX_BYTES));
        let new = ProblemView { source: source.to_owned(), summary, detail };
        let mut problems = self.lock();
        if problems.get(source) != Some(&new) {
            tracing::warn!(source, "{}", new.summary);
            problems.insert(source.to_owned(), new);
        }
    }

    /// `source` is in order.
    pub fn clear(&self, source: &str) {
        if self.lock().remove(source).is_some() {
            tracing::info!(source, "in order again");
        }
    }

    /// Whether something is wrong with `source`.
    pub fn has(&self, source: &str) -> bool {
        self.lock().contains_key(source)
    }

    /// All of them, by source.
    pub fn list(&self) -> Vec<ProblemView> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, ProblemView>> {
        // Every change is one call on the map: a poisoned lock guards a whole map.
        self.by_source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes));
        text.push_str("\n...");
    }
    text
}
