//! `volumes`: what a person can type.

use super::{FormatArgs, HostArgs};
use clap::{Args, Subcommand};
use coord_shared::names::VolumeName;

#[derive(Debug, Args)]
pub(crate) struct VolumesArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(subcommand)]
    pub(crate) command: VolumesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumesCommand {
    /// List the volumes: sizes, for whom they were made, and which containers use them
    #[command(visible_alias = "list")]
    Ls,
    /// Show everything about a volume; JSON
    Inspect {
        /// The volume
        #[arg(value_name = "NAME")]
        name: VolumeName,
    },
    /// Delete volumes, and all that is in them; one that a container uses is refused
    #[command(visible_alias = "remove")]
    Rm {
        /// The volumes
        #[arg(value_name = "NAME", required = true)]
        names: Vec<VolumeName>,
    },
}
