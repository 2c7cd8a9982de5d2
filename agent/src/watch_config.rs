//! Notices when `agent.toml` changes, so that new labels take effect without a restart.

use crate::config;
use crate::event::Event;
use notify::{RecursiveMode, Watcher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Quiet time after a change before the file is read.
const SETTLE: Duration = Duration::from_millis(50);

/// Watches until the receiver is gone.
pub(crate) async fn run(path: PathBuf, events: mpsc::Sender<Event>) {
    let (changed, mut changes) = mpsc::channel::<()>(1);
    let notified = move |_: notify::Result<notify::Event>| {
        let _ = changed.try_send(());
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
