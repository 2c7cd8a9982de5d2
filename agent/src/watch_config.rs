//! Notices when `agent.toml` changes, so that new labels take effect without a restart.

use crate::config;
use crate::event::Event;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Quiet time after a change before the file is read.
const SETTLE: Duration = Duration::from_millis(50);

/// Whether something may be different after this. Reading makes events too, our own included: who followed them would read for ever.
pub(crate) fn may_be_change(event: &notify::Result<notify::Event>) -> bool {
    let Ok(event) = event else { return true };
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// Watches until the receiver is gone.
pub(crate) async fn run(path: PathBuf, events: mpsc::Sender<Event>) {
    let (changed, mut changes) = mpsc::channel::<()>(1);
    let notified = move |event: notify::Result<notify::Event>| {
        if may_be_change(&event) {
            let _ = changed.try_send(());
        }
    };
    // The folder, not the file: editors replace files.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let watching = notify::recommended_watcher(notified).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    let _watcher = match watching {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(path = %folder.display(), %error, "cannot watch the configuration; restart the agent to change labels");
            return;
        }
    };
    let mut labels = config::load(&path).ok().map(|config| config.labels);
    while changes.recv().await.is_some() {
        tokio::time::sleep(SETTLE).await;
        while changes.try_recv().is_ok() {}
        match config::load(&path) {
            Ok(config) if labels.as_ref() != Some(&config.labels) => {
                tracing::info!(labels = ?config.labels, "labels changed");
                labels = Some(config.labels.clone());
                if events.send(Event::Labels(config.labels)).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %crate::chain(&error), "the changed configuration is not used"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// How many changes are told of what `act` does with a file.
    async fn changes_told(act: impl Fn(&Path)) -> usize {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("agent.toml");
        std::fs::write(&file, "a").expect("written");
        let (told, mut changes) = mpsc::channel(1024);
        let (seen, mut events) = mpsc::channel(1024);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if may_be_change(&event) {
                told.blocking_send(()).expect("room");
            }
            seen.blocking_send(event.is_ok_and(|event| event.kind.is_remove())).expect("room");
        })
        .expect("a watcher");
        watcher.watch(dir.path(), RecursiveMode::NonRecursive).expect("watched");
        act(&file);
        // Every event of what was done before is told before that of this.
        std::fs::remove_file(&file).expect("removed");
        while !events.recv().await.expect("the watcher goes on") {}
        let mut count = 0;
        while changes.try_recv().is_ok() {
            count += 1;
        }
        count - 1
    }

    #[tokio::test]
    async fn reading_is_no_change() {
        assert_eq!(changes_told(|file| drop(std::fs::read(file).expect("read"))).await, 0);
        assert!(changes_told(|file| std::fs::write(file, "b").expect("written")).await > 0);
    }
}
