//! What containers use, for Prometheus: cAdvisor's names and labels, so that its dashboards and alerts serve here too.
//!
//! ```text
//!   GET /metrics (control socket, or `[metrics] listen`) ─▶ Metrics::text ─▶ sample: cgroups, /proc/PID/net/dev ─▶ text
//! ```
//! Read when somebody asks, and kept nowhere: a container that is gone is gone from the next answer. Deliberately absent: history,
//! averages, pushing, and figures that would mean walking file trees (`container_fs_usage_bytes`).

mod containers;
mod families;
mod listen;
mod network;
mod process;
mod sample;
#[cfg(test)]
mod tests;
mod text;
mod usage;

pub use listen::{CONTENT_TYPE, serve};
pub use usage::UsageRow;

use crate::clock;
use crate::sync::report::Content;
use coord_runtime::{EmbeddedRuntime, Usage};
use coord_shared::names::HostName;
use sample::{Asked, Sample};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Who knows what a container uses: the runtime, or a test's own.
pub trait Figures: Send + Sync {
    /// What the container with this ID uses now; `None` when it is gone.
    fn usage(&self, id: &str) -> Option<Usage>;
}

impl Figures for EmbeddedRuntime {
    fn usage(&self, id: &str) -> Option<Usage> {
        EmbeddedRuntime::usage(self, id).ok()
    }
}

/// Tells what this host's containers use. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    figures: Arc<dyn Figures>,
    content: watch::Receiver<Content>,
    state_dir: PathBuf,
    host: HostName,
    /// What documents ask for, read anew with each generation. Also sees to it that one collects at a time.
    asked: Mutex<Asked>,
}

impl Metrics {
    /// Of the containers that `content` tells of; what their documents ask for is in the ledger below `state_dir`.
    pub fn new(figures: Arc<dyn Figures>, content: watch::Receiver<Content>, state_dir: PathBuf, host: HostName) -> Self {
        Self(Arc::new(Inner { figures, content, state_dir, host, asked: Mutex::default() }))
    }

    /// Everything, in Prometheus's text format (version 0.0.4).
    pub async fn text(&self) -> String {
        let this = self.clone();
        // A dozen files of each container are read: not on the loop's thread.
        tokio::task::spawn_blocking(move || this.collect()).await.unwrap_or_default()
    }

    /// What each running container uses now, for people.
    pub async fn usage(&self) -> Vec<UsageRow> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.samples().0.iter().filter_map(usage::row).collect()).await.unwrap_or_default()
    }

    fn collect(&self) -> String {
        let (samples, content) = self.samples();
        let mut text = text::Text::new();
        containers::write(&mut text, &samples, clock::now().wall);
        families::write(&mut text, &samples, content.full.as_deref(), &self.0.host);
        process::write(&mut text);
        text.finish()
    }

    fn samples(&self) -> (Vec<Sample>, Content) {
        let content = self.0.content.borrow().clone();
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.refresh(content.generation, &self.0.state_dir);
        let instances = content.full.as_ref().map(|full| full.instances.as_slice()).unwrap_or_default();
        let samples = instances.iter().map(|report| sample::of(report, &asked, self.0.figures.as_ref())).collect();
        (samples, content)
    }
}
