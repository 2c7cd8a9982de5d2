//! `coordctl pipeline`: what can be typed.

use super::FormatArgs;
use clap::{Args, Subcommand, ValueHint};
use coord_shared::names::{Commit, PipelineName};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct PipelineArgs {
    #[command(subcommand)]
    pub(crate) command: Option<PipelineCommand>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PipelineCommand {
    /// List pipelines and their newest runs (what `coordctl pipeline` does)
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Show where a pipeline stands: its newest run with stages, steps, and the last lines of one that failed
    Show {
        /// The pipeline
        #[arg(value_name = "PIPELINE")]
        name: PipelineName,
        /// The number of another run
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        run: Option<u64>,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// List the runs of a pipeline, newest first
    Runs {
        /// The pipeline
        #[arg(value_name = "PIPELINE")]
        name: PipelineName,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Show the log of a run
    #[command(
        long_about = "Show the log of a run: of the newest one, unless another is named. With --follow, wait for a run if there is none, go on \
with new lines until it is over, and exit with its result: 0 if it succeeded or had nothing to do, else 1.",
        after_help = "Examples:\n  coordctl pipeline logs shop 12\n  git push && coordctl pipeline logs shop --follow --next"
    )]
    Logs(PipelineLogsArgs),
    /// Build now, whether or not there is a new commit
    #[command(long_about = "Build now, whether or not there is a new commit: the newest commit of the source, or another one.")]
    Run(PipelineRunArgs),
    /// End a run that is not over
    Cancel {
        /// The pipeline
        #[arg(value_name = "PIPELINE")]
        name: PipelineName,
        /// The number of the run; the newest that is not over, unless given
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        run: Option<u64>,
    },
    /// Give pipelines to the coordinator
    #[command(
        long_about = "Give pipelines to the coordinator. All files are checked first: if one is bad, none is sent. A file's stem is the \
pipeline's name: shop.toml is shop."
    )]
    Apply {
        /// Pipelines (PIPELINE.toml), or folders of pipelines
        #[arg(required = true, value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
        /// Apply even if the pipeline comes from another source, which loses it
        #[arg(long)]
        take_over: bool,
    },
    /// Delete pipelines; what they deployed goes on running
    Delete {
        /// The pipelines
        #[arg(required = true, value_name = "PIPELINE")]
        names: Vec<PipelineName>,
        /// Delete even if the pipeline comes from another source
        #[arg(long)]
        take_over: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PipelineLogsArgs {
    /// The pipeline
    #[arg(value_name = "PIPELINE")]
    pub(crate) name: PipelineName,
    /// The number of the run
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) run: Option<u64>,
    /// Go on with new lines until the run is over
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Wait for a run that is newer than those there are
    #[arg(long, requires = "follow", conflicts_with = "run")]
    pub(crate) next: bool,
    /// Begin each line with the time at which it was written
    #[arg(long)]
    pub(crate) timestamps: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PipelineRunArgs {
    /// The pipeline
    #[arg(value_name = "PIPELINE")]
    pub(crate) name: PipelineName,
    /// The commit: all 40 digits of a git commit, or a Subversion revision such as r1234
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: Option<Commit>,
    /// Publish even if the workload's document comes from another source, which loses it
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Show the log as it grows, and exit with the run's result
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}
