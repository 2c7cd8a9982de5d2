//! What the store holds of pipelines and their runs. JSON; a field is only ever added.
//!
//! A run's record has everything that outlives its builder's memory, bounded so that it always fits into one value of the store.

use crate::records::Source;
use coord_shared::decide::pipeline::{Cause, Wanted};
use coord_shared::names::{Commit, HostName, PipelineName, RunId};
use coord_shared::wire::{
    ArchiveReport, BuildReport, CommitView, Deployed, Head, ImageMade, LAST_LINES_MAX, RunState, StepReport,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Prefix of pipelines.
pub const PIPELINE: &str = "pipeline/";
/// Prefix of runs.
pub const RUN: &str = "run/";
/// Longest line of a step's last lines, in bytes, and of any other sentence that a builder sends.
const LINE_MAX_BYTES: usize = 1024;
/// Steps of one run that are kept: more than anybody writes by hand.
const STEPS_MAX: usize = 100;
/// Longest command of a step that is kept, in bytes.
const COMMAND_MAX_BYTES: usize = 1024;
/// Largest record of a run, in bytes; what grows a little afterwards still fits into the store's values.
const RECORD_MAX_BYTES: usize = coord_store::VALUE_MAX_BYTES - 64 * 1024;

/// Where a pipeline's record lies.
pub fn pipeline_key(name: &PipelineName) -> String {
    format!("{PIPELINE}{name}")
}

/// Where a pipeline's runs lie.
pub fn run_prefix(name: &PipelineName) -> String {
    format!("{RUN}{name}/")
}

/// Where one run's record lies. Numbers are padded, so that keys sort as numbers do.
pub fn run_key(run: &RunId) -> String {
    format!("{}{:020}", run_prefix(&run.pipeline), run.number)
}

/// The run whose record lies there.
pub fn run_of(key: &str) -> Option<RunId> {
    let (pipeline, number) = key.strip_prefix(RUN)?.split_once('/')?;
    Some(RunId { pipeline: pipeline.parse().ok()?, number: number.parse().ok()? })
}

/// One pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineRecord {
    /// As its author wrote it.
    pub text: String,
    /// Where it comes from.
    pub source: Source,
    /// When the text was taken.
    pub at: Timestamp,
    /// Whether it is deleted; the numbers stay.
    #[serde(default)]
    pub deleted: bool,
    /// The number of its newest run; 0 before the first.
    #[serde(default)]
    pub newest: u64,
    /// Looks that were asked for.
    #[serde(default)]
    pub asked: u64,
    /// Looks made after this many were asked for are of the present watcher and the present text.
    #[serde(default)]
    pub fresh: u64,
    /// Who looks at its source.
    #[serde(default)]
    pub watcher: Option<HostName>,
    /// What was seen and acted on last.
    #[serde(default)]
    pub seen: Option<Commit>,
    /// A run that somebody wants.
    #[serde(default)]
    pub wanted: Option<Wanted>,
    /// The commit of the newest run that succeeded: what changed since then counts for `source.paths`.
    #[serde(default)]
    pub built: Option<Commit>,
    /// The newest run that succeeded.
    #[serde(default)]
    pub last_success: Option<u64>,
    /// Who built last.
    #[serde(default)]
    pub last_builder: Option<HostName>,
}

impl PipelineRecord {
    /// A pipeline that is new.
    pub fn new(text: String, source: Source) -> Self {
        Self {
            text,
            source,
            at: Timestamp::UNIX_EPOCH,
            deleted: false,
            newest: 0,
            asked: 0,
            fresh: 0,
            watcher: None,
            seen: None,
            wanted: None,
            built: None,
            last_success: None,
            last_builder: None,
        }
    }
}

/// Who wants a run to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The name of the token.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
}

/// One run of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The pipeline's text when the run was made.
    pub text: String,
    /// What is built.
    pub head: Head,
    /// Why.
    pub cause: Cause,
    /// Whether its workload may be taken from another source of documents.
    #[serde(default)]
    pub take_over: bool,
    /// The commit that was built last with success, where it matters what changed since.
    #[serde(default)]
    pub since: Option<Commit>,
    /// When the run was made.
    pub made_at: Timestamp,
    /// How far it is.
    pub state: RunState,
    /// When it came into that state.
    pub at: Timestamp,
    /// When it was first given to a builder, or last where that one was lost.
    #[serde(default)]
    pub building_at: Option<Timestamp>,
    /// When its archive was there.
    #[serde(default)]
    pub assembling_at: Option<Timestamp>,
    /// When its image was there.
    #[serde(default)]
    pub deploying_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Who builds it, or built it.
    #[serde(default)]
    pub builder: Option<HostName>,
    /// How often it was given to a builder.
    #[serde(default)]
    pub attempt: u32,
    /// Who wants it to end.
    #[serde(default)]
    pub cancel: Option<Cancel>,
    /// The archive that is here.
    #[serde(default)]
    pub archive: Option<ArchiveReport>,
    /// What the commit says of itself.
    #[serde(default)]
    pub about: Option<CommitView>,
    /// As its builder told last.
    #[serde(default)]
    pub steps: Vec<StepReport>,
    /// The deploy requirement, as it lies in the repository.
    #[serde(default)]
    pub deploy: Option<String>,
    /// Why it failed or was replaced.
    #[serde(default)]
    pub problem: Option<String>,
    /// The image that it made.
    #[serde(default)]
    pub image: Option<ImageMade>,
    /// What it published.
    #[serde(default)]
    pub deployed: Option<Deployed>,
    /// Whether those who want to know of its end were told, or nobody wants to.
    #[serde(default)]
    pub told: bool,
}

impl RunRecord {
    /// A run that waits for a builder.
    pub fn new(text: String, head: Head, cause: Cause, at: Timestamp) -> Self {
        Self {
            text,
            head,
            cause,
            take_over: false,
            since: None,
            made_at: at,
            state: RunState::Queued,
            at,
            building_at: None,
            assembling_at: None,
            deploying_at: None,
            ended_at: None,
            builder: None,
            attempt: 0,
            cancel: None,
            archive: None,
            about: None,
            steps: Vec::new(),
            deploy: None,
            problem: None,
            image: None,
            deployed: None,
            told: false,
        }
    }

    /// Brings it into `state` and notes when that was.
    pub fn enter(&mut self, state: RunState, at: Timestamp) {
        self.state = state;
        self.at = at;
        match state {
            RunState::Building => self.building_at = Some(at),
            RunState::Assembling => self.assembling_at = Some(at),
            RunState::Deploying => self.deploying_at = Some(at),
            RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::Superseded | RunState::Skipped => {
                self.ended_at = Some(at);
            }
            RunState::Queued | RunState::Unknown => {}
        }
    }

    /// Takes from its builder's report what is to outlive it.
    pub fn take(&mut self, report: &BuildReport) {
        if let Some(about) = &report.commit {
            let cut = |text: &str| cut(text, LINE_MAX_BYTES);
            self.about = Some(CommitView { author: cut(&about.author), subject: cut(&about.subject), ..about.clone() });
        }
        self.steps = report.steps.iter().take(STEPS_MAX).map(kept).collect();
        let fits = |text: &&String| text.len() <= coord_shared::document::DOCUMENT_MAX_BYTES;
        self.deploy = report.deploy.as_ref().filter(fits).cloned();
        // What a builder sends must not stop the records of others: the least important goes first.
        if self.is_too_large() {
            self.steps.iter_mut().for_each(|step| step.last_lines.clear());
        }
        if self.is_too_large() {
            self.steps.clear();
        }
        if self.is_too_large() {
            self.deploy = None;
        }
    }

    fn is_too_large(&self) -> bool {
        crate::records::encode(self).len() > RECORD_MAX_BYTES
    }
}

/// A step as it is kept.
fn kept(step: &StepReport) -> StepReport {
    let last = step.last_lines.len().saturating_sub(LAST_LINES_MAX);
    StepReport {
        command: cut(&step.command, COMMAND_MAX_BYTES),
        problem: step.problem.as_deref().map(|problem| cut(problem, LINE_MAX_BYTES)),
        last_lines: step.last_lines[last..].iter().map(|line| cut(line, LINE_MAX_BYTES)).collect(),
        ..step.clone()
    }
}

/// At most so much of a text.
pub(super) fn cut(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(max_bytes)])
}
