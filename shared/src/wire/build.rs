//! Building: what a builder host is asked to watch and to build, and what it says of that. Parts of the host state and of the report.
//!
//! ```text
//!   host state: watch (pipeline text, asked)      -> report: head (commit, or why it cannot be seen)
//!   host state: build (run, pipeline text, commit) -> report: build (phase, steps), archive and log uploaded
//! ```
//! As with documents, the pipeline's own text travels, and the agent checks it itself.

use super::Exit;
use crate::names::{Commit, Digest, PipelineName, RunId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Last lines of a failed step that travel with the report, to be told to people.
pub const LAST_LINES_MAX: usize = 40;

/// A source that the host looks at, so that the coordinator learns of new commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceWatch {
    /// Whose source.
    pub pipeline: PipelineName,
    /// Grows whenever somebody asks for a look at once (a webhook, a person).
    #[serde(default)]
    pub asked: u64,
    /// The pipeline's own text.
    pub document: String,
}

/// A run that the host should build, until it is not listed any more. A host goes on with it while the coordinator is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOrder {
    /// Which run.
    pub run: RunId,
    /// What is built.
    pub commit: Commit,
    /// The commit that was built last with success, for `source.paths`; absent where everything counts as changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Commit>,
    /// Whether somebody wants it to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// The pipeline's own text, as it was when the run was made.
    pub document: String,
}

/// What a watched source holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadReport {
    /// Whose source.
    pub pipeline: PipelineName,
    /// The look was made after this was asked.
    pub asked: u64,
    /// What it holds, as far as it was ever seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Why the last look failed, with its cure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The newest commit of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which.
    pub commit: Commit,
    /// The branch, tag or path that it was found at.
    pub reference: String,
}

/// What a commit says of itself, cut to a length that people read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitView {
    /// Which.
    pub commit: Commit,
    /// `Name <address>` or a Subversion user.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
    /// When it was made: the time of everything in the image.
    pub at: Timestamp,
}

/// A run, as its builder sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildReport {
    /// Which run.
    pub run: RunId,
    /// How far it is.
    pub phase: BuildPhase,
    /// When it came there.
    pub since: Timestamp,
    /// Known once the source was fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitView>,
    /// In the order in which they run; those to come included once the run has begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Why it failed or waits, with its cure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The archive, once the coordinator has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveReport>,
    /// The deploy requirement, as it lies in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<String>,
}

/// How far a run is on its builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildPhase {
    /// Other runs come first, or something is missing: `problem` says what.
    Waiting,
    /// The source is fetched.
    Fetching,
    /// Steps of `build` run, or their image is fetched.
    Building,
    /// Steps of `test` run.
    Testing,
    /// The archive is packed.
    Packaging,
    /// The archive travels to the coordinator.
    Uploading,
    /// Over: the coordinator has the archive.
    Done,
    /// Over: nothing of interest changed (`source.paths`).
    Skipped,
    /// Over: a step failed, or took too long, or the source could not be had.
    Failed,
    /// Over: somebody wanted that.
    Cancelled,
    /// A phase of a newer agent.
    #[serde(other)]
    Unknown,
}

impl BuildPhase {
    /// Whether the builder does no more for it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Skipped | Self::Failed | Self::Cancelled)
    }
}

/// One step of a run: a command of `build` or `test`, or one of the builder's own (`fetch`, `package`, `upload`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// `fetch`, `build`, `test`, `package` or `upload`.
    pub stage: String,
    /// Its number within the stage, from 0.
    pub index: u32,
    /// The command as written; a few words for the builder's own.
    pub command: String,
    /// When it began; absent: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Why it failed, where the exit alone does not say: `took longer than 10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Of a failed step: the last lines of its log, at most [`LAST_LINES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

impl StepReport {
    /// As people name it: `build.0`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.stage, self.index)
    }

    /// Whether it ended, and not well.
    pub fn has_failed(&self) -> bool {
        self.problem.is_some() || self.exit.as_ref().is_some_and(|exit| !exit.is_success())
    }
}

/// An archive that the coordinator received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveReport {
    /// Of its bytes.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

/// One line of a run's log, as it travels and is kept (one JSON object a line).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLogLine {
    /// When it was printed.
    pub time: Timestamp,
    /// [`StepReport::name`].
    pub step: String,
    /// `stdout`, `stderr`, or `coord` for the builder's own words.
    pub stream: String,
    /// The line, without its end.
    pub line: String,
}

/// Asks a builder for the log of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLogsRequest {
    /// Whose.
    pub run: RunId,
    /// Whether to go on with new lines until the run is over.
    #[serde(default)]
    pub follow: bool,
}
