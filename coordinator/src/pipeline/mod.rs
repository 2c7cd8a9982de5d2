//! Pipelines: from a commit to a published revision.
//!
//! ```text
//!   folder, API ─▶ pipeline/NAME ─┐                       ┌─▶ orders ─▶ control/ ─▶ host states ─▶ builders
//!   look_now, start, cancel ──────┼─▶ decide ─▶ records ──┤
//!   reports: heads, builds ───────┘      ▲                └─▶ effects: image, document, word to people
//!   archive, log ─▶ runs/NAME/NUMBER/ ───┘                        │
//!                                        └────────────────────────┘ what came of them
//! ```
//!
//! Everything that a restart needs is in the store and in the folder of the run: killed at any point, the controller goes on where the
//! records stand. An image is made again from the archive, which gives the same image; a document is published again, which changes
//! nothing. Deliberately absent: builds. No step runs in this process.

mod apply;
mod control;
mod effects;
mod error;
mod facts;
#[cfg(test)]
pub(crate) mod fake;
mod files;
mod folder;
mod image_key;
mod logs;
mod model;
mod orders;
pub mod records;
#[cfg(test)]
mod tests;
mod uploads;
mod views;

pub use control::{Parts, PipelineController};
pub use effects::{Assemble, AssembleFailure, Assembly, Tell, Told};
pub use error::PipelineError;
pub use files::RunFiles;
pub use folder::PipelineFolder;
pub use image_key::{ImageKeyError, with_image};
pub use logs::KeptLog;
pub(crate) use logs::own_line;
pub use orders::{HostOrders, Orders};
pub use uploads::{Piece, Pieces, Received, UploadError, Uploads};
pub use views::{Findings, pipeline_view, run_view};

use self::records::{Cancel, PipelineRecord, RunRecord, pipeline_key, run_key};
use crate::clock;
use crate::records::{Source, encode, load};
use coord_shared::decide::pipeline::{Cause, Wanted};
use coord_shared::names::{Commit, PipelineName, RunId};
use coord_shared::wire::RunState;
use coord_store::{Committed, SharedStore, StoreRevision, Txn};
use std::sync::Arc;
use tokio::sync::watch;

/// Attempts at a compare-and-set; each loses only to another writer's success on the same record.
const TXN_ATTEMPTS_MAX: u32 = 10;

/// What the API, the folder, schedules and webhooks use.
pub struct Pipelines {
    store: SharedStore,
    /// Where runs keep archives and logs.
    pub files: RunFiles,
    /// Receives what builders send.
    pub uploads: Uploads,
    findings: watch::Receiver<Arc<Findings>>,
}

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It is what is there already.
    Unchanged,
    /// It is in force; the number of the transaction that wrote it.
    Taken(StoreRevision),
}

impl Pipelines {
    /// Where a pipeline stands. `None`: there never was one of that name.
    pub async fn record(&self, name: &PipelineName) -> Result<Option<PipelineRecord>, PipelineError> {
        Ok(load::<PipelineRecord>(&*self.store, &pipeline_key(name)).await?.map(|(record, _)| record))
    }

    /// One run.
    pub async fn run(&self, run: &RunId) -> Result<RunRecord, PipelineError> {
        let found = load::<RunRecord>(&*self.store, &run_key(run)).await?;
        found.map(|(record, _)| record).ok_or_else(|| PipelineError::UnknownRun(run.clone()))
    }

    /// Takes a text; one that breaks the rules of pipelines changes nothing.
    pub async fn submit(
        &self,
        name: &PipelineName,
        text: &str,
        source: Source,
        take_over: bool,
    ) -> Result<Submitted, PipelineError> {
        coord_shared::pipeline::parse(text).map_err(|diagnostics| PipelineError::Invalid {
            name: name.clone(),
            diagnostics,
            text: text.to_owned(),
        })?;
        let taken = self.change(name, |record| {
            let old = record.filter(|old| !old.deleted);
            if let Some(old) = old {
                if !take_over && !old.source.is_same_owner(&source) {
                    return Err(PipelineError::Conflict { name: name.clone(), owner: old.source.clone() });
                }
                if old.text == text && old.source.is_same_owner(&source) {
                    return Ok(None);
                }
            }
            // A file that stays where it was must not bring back what an admin deleted on purpose.
            let deleted = record.filter(|record| record.deleted && !record.source.is_same_owner(&source));
            if let Some(deleted) = deleted.filter(|deleted| matches!(source, Source::Folder(_)) && deleted.text == text) {
                return Err(PipelineError::Deleted { name: name.clone(), by: deleted.source.clone() });
            }
            let base = record.cloned().unwrap_or_else(|| PipelineRecord::new(text.to_owned(), source.clone()));
            // What was seen so far may be another source's.
            let is_new_text = old.is_none_or(|old| old.text != text);
            let asked = if is_new_text { base.asked + 1 } else { base.asked };
            let fresh = if is_new_text { asked } else { base.fresh };
            let (text, source, at) = (text.to_owned(), source.clone(), clock::wall());
            Ok(Some(PipelineRecord { text, source, at, deleted: false, asked, fresh, ..base }))
        });
        Ok(match taken.await? {
            Some(at) => {
                tracing::info!(pipeline = %name, "pipeline taken");
                Submitted::Taken(at)
            }
            None => Submitted::Unchanged,
        })
    }

    /// Deletes a pipeline: runs that are not published end; its number goes on from here if it returns.
    pub async fn remove(&self, name: &PipelineName, source: &Source, take_over: bool) -> Result<StoreRevision, PipelineError> {
        let removed = self.change(name, |record| {
            let old = record.filter(|old| !old.deleted).ok_or_else(|| PipelineError::Unknown(name.clone()))?;
            if !take_over && !old.source.is_same_owner(source) {
                return Err(PipelineError::Conflict { name: name.clone(), owner: old.source.clone() });
            }
            let (source, at) = (source.clone(), clock::wall());
            Ok(Some(PipelineRecord { deleted: true, source, at, wanted: None, seen: None, built: None, ..old.clone() }))
        });
        let at = removed.await?.unwrap_or_default();
        tracing::info!(pipeline = %name, "pipeline deleted");
        Ok(at)
    }

    /// Has the source looked at now. A run follows if there is something new.
    pub async fn look_now(&self, name: &PipelineName) -> Result<StoreRevision, PipelineError> {
        let asked = self.change(name, |record| {
            let old = record.filter(|old| !old.deleted).ok_or_else(|| PipelineError::Unknown(name.clone()))?;
            Ok(Some(PipelineRecord { asked: old.asked + 1, ..old.clone() }))
        });
        Ok(asked.await?.unwrap_or_default())
    }

    /// Wants a run of what the source holds now, whether or not that is new; or of `commit`. `take_over`: its workload may be taken from
    /// another source of documents. Answers the number that the run will have at least.
    pub async fn start_at(
        &self,
        name: &PipelineName,
        cause: Cause,
        commit: Option<Commit>,
        take_over: bool,
    ) -> Result<u64, PipelineError> {
        let mut first = 0;
        let wanted = self.change(name, |record| {
            let old = record.filter(|old| !old.deleted).ok_or_else(|| PipelineError::Unknown(name.clone()))?;
            first = old.newest + 1;
            let asked = old.asked + 1;
            // A person's wish is not forgotten because it is also time.
            let before = old.wanted.clone().filter(|before| cause == Cause::Schedule && before.cause != Cause::Schedule);
            let new = || Wanted { asked, cause: cause.clone(), commit: commit.clone(), take_over };
            let wanted = before.map_or_else(new, |before| Wanted { asked, ..before });
            Ok(Some(PipelineRecord { asked, wanted: Some(wanted), ..old.clone() }))
        });
        wanted.await?;
        Ok(first)
    }

    /// As [`Self::start_at`], of what the source holds.
    pub async fn start(&self, name: &PipelineName, cause: Cause, take_over: bool) -> Result<u64, PipelineError> {
        self.start_at(name, cause, None, take_over).await
    }

    /// Wants a run to end. What is being published, or is over, is not undone.
    pub async fn cancel(&self, run: &RunId, by: &str) -> Result<StoreRevision, PipelineError> {
        for _ in 0..TXN_ATTEMPTS_MAX {
            let found = load::<RunRecord>(&*self.store, &run_key(run)).await?;
            let (record, revision) = found.ok_or_else(|| PipelineError::UnknownRun(run.clone()))?;
            if record.state.is_over() || record.state == RunState::Deploying {
                return Err(PipelineError::TooLate { run: run.clone(), state: record.state });
            }
            if record.cancel.is_some() {
                return Ok(revision);
            }
            let cancel = Some(Cancel { by: by.to_owned(), at: clock::wall() });
            let record = RunRecord { cancel, ..record };
            let txn = Txn::default().expect(run_key(run), Some(revision)).put(run_key(run), encode(&record));
            if let Committed::Yes(at) = self.store.txn(txn).await? {
                tracing::info!(run = %run, by, "run cancelled");
                return Ok(at);
            }
        }
        Err(PipelineError::Busy(run.pipeline.clone()))
    }

    /// Waits until the controller has seen transaction `at`; not for ever, because a store may fail.
    pub async fn seen(&self, at: StoreRevision) -> Arc<Findings> {
        let mut findings = self.findings.clone();
        let seen = tokio::time::timeout(views::PATIENCE, findings.wait_for(|findings| findings.at >= at)).await;
        match seen {
            Ok(Ok(findings)) => Arc::clone(&findings),
            Ok(Err(_)) | Err(_) => self.findings(),
        }
    }

    /// What the controller found last.
    pub fn findings(&self) -> Arc<Findings> {
        Arc::clone(&self.findings.borrow())
    }

    /// To wait for what the controller finds next.
    pub fn watch(&self) -> watch::Receiver<Arc<Findings>> {
        self.findings.clone()
    }

    /// One compare-and-set of a pipeline's record. `None`: `change` wanted nothing.
    async fn change(
        &self,
        name: &PipelineName,
        mut change: impl FnMut(Option<&PipelineRecord>) -> Result<Option<PipelineRecord>, PipelineError>,
    ) -> Result<Option<StoreRevision>, PipelineError> {
        let key = pipeline_key(name);
        for _ in 0..TXN_ATTEMPTS_MAX {
            let found = load::<PipelineRecord>(&*self.store, &key).await?;
            let Some(new) = change(found.as_ref().map(|(record, _)| record))? else { return Ok(None) };
            let txn = Txn::default().expect(&*key, found.map(|(_, revision)| revision)).put(&*key, encode(&new));
            if let Committed::Yes(at) = self.store.txn(txn).await? {
                return Ok(Some(at));
            }
        }
        Err(PipelineError::Busy(name.clone()))
    }
}
