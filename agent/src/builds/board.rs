//! What the coordinator is told of heads and runs: written by those who look and build, read by the loop for each report.

use crate::event::Event;
use coord_shared::names::{PipelineName, RunId};
use coord_shared::wire::{BuildReport, HeadReport};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// See the module's description. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Board {
    told: Arc<Mutex<Told>>,
    events: mpsc::Sender<Event>,
}

#[derive(Debug, Default)]
struct Told {
    heads: BTreeMap<PipelineName, HeadReport>,
    builds: BTreeMap<RunId, BuildReport>,
}

impl Board {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self { told: Arc::default(), events }
    }

    pub(super) fn tell_head(&self, head: HeadReport) {
        let is_news = self.told().heads.insert(head.pipeline.clone(), head.clone()).as_ref() != Some(&head);
        if is_news {
            self.wake();
        }
    }

    pub(super) fn tell_build(&self, build: &BuildReport) {
        let is_news = self.told().builds.insert(build.run.clone(), build.clone()).as_ref() != Some(build);
        if is_news {
            self.wake();
        }
    }

    pub(super) fn forget_head(&self, pipeline: &PipelineName) {
        self.told().heads.remove(pipeline);
        self.wake();
    }

    pub(super) fn forget_build(&self, run: &RunId) {
        self.told().builds.remove(run);
        self.wake();
    }

    pub(super) fn head(&self, pipeline: &PipelineName) -> Option<HeadReport> {
        self.told().heads.get(pipeline).cloned()
    }

    pub(super) fn build(&self, run: &RunId) -> Option<BuildReport> {
        self.told().builds.get(run).cloned()
    }

    pub(super) fn all(&self) -> (Vec<HeadReport>, Vec<BuildReport>) {
        let told = self.told();
        (told.heads.values().cloned().collect(), told.builds.values().cloned().collect())
    }

    /// Has the loop look again. When its queue is full, it is about to look anyway.
    pub(super) fn wake(&self) {
        let _ = self.events.try_send(Event::Builds);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
