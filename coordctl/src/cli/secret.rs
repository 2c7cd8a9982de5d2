//! `coordctl secret`: what can be typed.

use super::FormatArgs;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    #[command(subcommand)]
    pub(crate) command: SecretCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// List the names of the coordinator's secrets; nothing shows their values
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        format: FormatArgs,
    },
}
