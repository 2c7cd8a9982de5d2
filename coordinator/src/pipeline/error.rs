//! Why a pipeline or a run could not be had or changed.

use crate::records::{RecordError, Source};
use coord_shared::document::Diagnostics;
use coord_shared::names::{PipelineName, RunId};
use coord_shared::wire::RunState;
use coord_store::StoreError;

/// Why a pipeline or a run could not be had or changed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The text breaks the rules of pipelines.
    #[error("pipeline {name} is invalid: {}", .diagnostics.summary(.text))]
    Invalid {
        /// The pipeline.
        name: PipelineName,
        /// Every mistake.
        diagnostics: Diagnostics,
        /// The text.
        text: String,
    },
    /// The name belongs to another source.
    #[error("pipeline {name} belongs to {owner}")]
    Conflict {
        /// The pipeline.
        name: PipelineName,
        /// Whose it is.
        owner: Source,
    },
    /// Another source deleted it, and the text is still the one that was deleted.
    #[error("pipeline {name} was deleted by {by}; change the file to have it again, or remove it")]
    Deleted {
        /// The pipeline.
        name: PipelineName,
        /// Who deleted it.
        by: Source,
    },
    /// There is none of that name.
    #[error("pipeline {0} is not known")]
    Unknown(PipelineName),
    /// There is no such run, or it was so long ago that it is forgotten.
    #[error("run {0} is not known")]
    UnknownRun(RunId),
    /// Nothing is left to cancel.
    #[error("run {run} is {state} and cannot be cancelled any more")]
    TooLate {
        /// Which.
        run: RunId,
        /// How far it is.
        state: RunState,
    },
    /// Others wrote the same record, again and again.
    #[error("pipeline {0} is being changed by others; try again")]
    Busy(PipelineName),
    /// A record could not be had.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
