//! The kernel's word that something changed, sorted by what it means.
//!
//! Events collect as sets of names, so a storm of them costs no more than the names that it is about.

use super::scan::{self, FolderId};
use crate::clock;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Names that are kept one by one; beyond, everything is looked at.
const NAMES_MAX: usize = 1000;

/// What changed since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dirty {
    /// Files that were closed by a writer, moved, or deleted: to be read now.
    pub(super) closed: BTreeSet<String>,
    /// Files that appeared or whose attributes changed, and which may still have a writer.
    pub(super) touched: BTreeSet<String>,
    /// The kernel lost count.
    pub(super) everything: bool,
    /// Something happened to the folder itself.
    pub(super) folder: bool,
}

impl Dirty {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Watches one folder.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    /// Ends the watch when dropped.
    _inotify: RecommendedWatcher,
}

#[derive(Default)]
struct Shared {
    dirty: Mutex<Dirty>,
    bell: Notify,
}

impl Watcher {
    /// Begins to watch the folder at `path`; tells which one that is.
    pub(super) fn start(path: &Path) -> notify::Result<(Self, FolderId)> {
        let shared = Arc::<Shared>::default();
        let (sink, folder) = (Arc::clone(&shared), path.to_owned());
        let mut inotify = notify::recommended_watcher(move |event| sink.take(&folder, event))?;
        inotify.watch(path, RecursiveMode::NonRecursive)?;
        // Looked up after the watch began: if the folder was replaced in between, the next look sees another one.
        let id = scan::identity(path).ok_or_else(|| notify::Error::generic("it is not a folder"))?;
        Ok((Self { shared, _inotify: inotify }, id))
    }

    /// Waits until something changed.
    pub(super) async fn changed(&mut self) {
        self.shared.bell.notified().await;
    }

    /// Waits until nothing more has changed for `quiet`, but not longer than `max`; then tells what did.
    pub(super) async fn settled(&mut self, quiet: Duration, max: Duration) -> Dirty {
        let end = clock::moment() + max;
        while tokio::time::timeout_at(end.min(clock::moment() + quiet), self.shared.bell.notified()).await.is_ok() {}
        std::mem::take(&mut *self.shared.dirty.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn take(&self, folder: &Path, event: notify::Result<Event>) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(event) if !event.need_rescan() => dirty.note(folder, &event),
            Ok(_) | Err(_) => dirty.everything = true,
        }
        let is_news = !dirty.is_empty();
        drop(dirty);
        if is_news {
            self.bell.notify_one();
        }
    }
}

impl Dirty {
    pub(super) fn note(&mut self, folder: &Path, event: &Event) {
        let is_closed = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_) => true,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Metadata(_)) => false,
            // Reading makes events too, our own included; and what a writer writes counts when he closes.
            EventKind::Any | EventKind::Access(_) | EventKind::Modify(_) | EventKind::Other => return,
        };
        for path in &event.paths {
            if path == folder {
                self.folder = true;
            } else if let Some(name) = path.file_name().and_then(OsStr::to_str) {
                let names = if is_closed { &mut self.closed } else { &mut self.touched };
                names.insert(name.to_owned());
                self.everything |= names.len() > NAMES_MAX;
            }
        }
    }
}
