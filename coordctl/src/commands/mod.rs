//! The commands: one file each, all of the same shape. Arguments in, an [`Exit`] or a [`Failure`] out.

mod apply;
mod archive;
mod changes;
mod check;
mod completions;
mod delete;
mod diff;
mod exec;
mod files;
mod history;
mod hosts;
mod image;
mod logs;
mod pipeline;
mod secret;
mod status;
mod tokens;
mod volume;
mod words;

use crate::cli::{Cli, Command, ConnectionArgs};
use crate::client::Client;
use crate::config;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Runs the command that was typed.
pub(crate) async fn run(cli: Cli, output: &Output) -> Result<Exit, Failure> {
    let client = || connect(&cli.connection, output);
    match cli.command {
        Command::Check(args) => check::run(&args, output),
        Command::Diff(args) => diff::run(&args, &client()?, output).await,
        Command::Apply(args) => apply::run(&args, &client()?, output).await,
        Command::Deploy(args) => archive::deploy(*args, &client()?, output).await,
        Command::Delete(args) => delete::run(&args, &client()?, output).await,
        Command::Status(args) => status::run(&args, &client()?, output).await,
        Command::Hosts(args) => hosts::run(args, &client()?, output).await,
        Command::History(args) => history::run(&args, &client()?, output).await,
        Command::Logs(args) => logs::run(&args, &client()?, output).await,
        Command::Exec(args) => exec::run(&args, &client()?, output).await,
        Command::Pipeline(args) => pipeline::run(args, &client()?, output).await,
        Command::Volume(args) => volume::run(args, &client()?, output).await,
        Command::Secret(args) => secret::run(args, &client()?, output).await,
        Command::Image(args) => image::run(args, &client()?, output).await,
        Command::Tokens(args) => tokens::run(args, &client()?, output).await,
        Command::Completions(args) => completions::run(&args, output),
    }
}

fn connect(flags: &ConnectionArgs, output: &Output) -> Result<Client, Failure> {
    let (settings, warning) = config::load(flags)?;
    if let Some(warning) = warning {
        output.warning(&warning);
    }
    Ok(Client::new(settings)?)
}
