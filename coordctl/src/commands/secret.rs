//! `coordctl secret`: which secrets pipelines can name. Deliberately absent: their values, and a way to set them from afar.

use crate::cli::{Format, SecretArgs, SecretCommand};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::Output;

pub(super) async fn run(args: SecretArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let SecretCommand::Ls { format } = args.command;
    let view = output.waiting("reading the secrets", client.secrets()).await?;
    match format.format {
        Format::Json => output.json(&view)?,
        Format::Table => output.data(&view.secrets.iter().map(|name| format!("{name}\n")).collect::<String>())?,
    }
    Ok(Exit::Done)
}
