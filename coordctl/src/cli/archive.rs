//! `coordctl image build` and `coordctl deploy`: what can be typed.

use super::{FormatArgs, WaitArgs};
use clap::{Args, ValueHint};
use coord_shared::names::{Commit, Repository, WorkloadName};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct ImageBuildArgs {
    /// What becomes an image: a tar.gz, tar.zst, tar or zip, or a folder, which is packed here
    #[arg(value_name = "ARCHIVE|FOLDER", value_hint = ValueHint::AnyPath)]
    pub(crate) archive: PathBuf,
    /// Where in the image centre it goes
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) repository: Repository,
    #[command(flatten)]
    pub(crate) image: ImageOfArchiveArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// What becomes an image: a tar.gz, tar.zst, tar or zip, or a folder, which is packed here
    #[arg(long, value_name = "ARCHIVE|FOLDER", value_hint = ValueHint::AnyPath)]
    pub(crate) archive: PathBuf,
    /// The document that is published; the new image takes the place of the one in it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) document: PathBuf,
    /// The workload's name [default: the document's, web for web.toml]
    #[arg(long, value_name = "WORKLOAD")]
    pub(crate) workload: Option<WorkloadName>,
    /// Where in the image centre the image goes [default: the workload's name]
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) repository: Option<Repository>,
    #[command(flatten)]
    pub(crate) image: ImageOfArchiveArgs,
    /// Publish even if the workload's document comes from another source, which loses it
    #[arg(long)]
    pub(crate) take_over: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// How an archive becomes an image.
#[derive(Debug, Args)]
pub(crate) struct ImageOfArchiveArgs {
    /// How it becomes an image: base, entrypoint, user and so on (docs/recipe.md)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) recipe: PathBuf,
    /// A tag that moves to the image; may be repeated [default: the commit, else latest]
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// OS/ARCHITECTURE[/VARIANT] instead of the recipe's
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// The commit that it was built of, for the image and the status
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: Option<Commit>,
    /// Where its source is, for the image; leave out passwords
    #[arg(long, value_name = "URL")]
    pub(crate) source: Option<String>,
    /// The time of the image and its files, in seconds since 1970 or as 2026-11-22T20:00:00Z [env: SOURCE_DATE_EPOCH] [default: 1970]
    ///
    /// The same archive, recipe, base and time give the same digest.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// Of a folder, leave out what matches (`*` within a component, `**` over several); may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
}
