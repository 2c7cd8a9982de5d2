//! `coord-agent volumes ...`.

use super::{CommandError, Outcome, failure};
use crate::cli::{Format, VolumesCommand};
use crate::output::Output;
use coord_agent::config::Config;
use coord_agent::control::{Client, encode_name};
use coord_agent::volumes::{RemoveAsked, VolumeDetails, Volumes};
use coord_agent::{chain, clock, daemon};
use coord_shared::names::VolumeName;
use coord_shared::quantity::ByteSize;
use coord_shared::text::{Cell, Column, Shrink, Table, Tone, age};
use coord_shared::wire::{ErrorBody, VolumesView};
use jiff::Timestamp;
use std::path::Path;

/// Does one of them and shows what came of it.
pub(super) async fn run(
    command: VolumesCommand,
    config: &Config,
    format: Format,
    output: &Output,
) -> Result<Outcome, CommandError> {
    let access = Access::open(config).await?;
    match command {
        VolumesCommand::Ls => {
            let view = access.list().await?;
            match format {
                Format::Json => output.json(&view)?,
                Format::Table => output.data(&table(&view, clock::now().wall).render(output.width(), output.palette))?,
            }
        }
        VolumesCommand::Inspect { name } => output.json(&access.inspect(&name).await?)?,
        VolumesCommand::Rm { names } => {
            let mut outcome = Outcome::Done;
            for name in names {
                // One that is in use keeps none of the others.
                match access.remove(&name).await {
                    Ok(()) => output.data(&format!("{name}\n"))?,
                    Err(error) => {
                        output.failure(&error);
                        outcome = Outcome::Bad;
                    }
                }
            }
            return Ok(outcome);
        }
    }
    Ok(Outcome::Done)
}

/// Through whom: the running agent, which knows what is about to start, else the folders themselves.
enum Access<'a> {
    Agent(Client),
    Folders(Volumes, &'a Path),
}

impl<'a> Access<'a> {
    async fn open(config: &'a Config) -> Result<Access<'a>, ErrorBody> {
        let client = Client::new(&config.run_dir);
        match client.info().await {
            Ok(info) if info.state_dir == config.state_dir => Ok(Access::Agent(client)),
            Err(error) if error.code != "unreachable" => Err(error),
            Ok(_) | Err(_) => Ok(Access::Folders(Volumes::new(&config.state_dir, &config.run_dir), &config.state_dir)),
        }
    }

    async fn list(&self) -> Result<VolumesView, ErrorBody> {
        match self {
            Access::Agent(client) => client.get("/v1/volumes").await,
            Access::Folders(volumes, _) => Ok(volumes.list().await?),
        }
    }

    async fn inspect(&self, name: &VolumeName) -> Result<VolumeDetails, ErrorBody> {
        match self {
            Access::Agent(client) => client.get(&format!("/v1/volumes/{}", encode_name(name.as_str()))).await,
            Access::Folders(volumes, _) => Ok(volumes.inspect(name).await?),
        }
    }

    async fn remove(&self, name: &VolumeName) -> Result<(), ErrorBody> {
        match self {
            Access::Agent(client) => {
                let done: serde_json::Value = client.post("/v1/volumes/remove", &RemoveAsked { name: name.clone() }).await?;
                drop(done);
                Ok(())
            }
            Access::Folders(volumes, state_dir) => {
                // So that no agent starts a container with it meanwhile.
                let _lock = daemon::lock(state_dir).map_err(|error| failure("state_in_use", chain(&error)))?;
                Ok(volumes.remove(name).await?)
            }
        }
    }
}

fn table(view: &VolumesView, now: Timestamp) -> Table {
    let mut table = Table::new(&[
        Column::left("VOLUME").shrinks(Shrink::End(16)),
        Column::right("SIZE"),
        Column::right("AGE"),
        Column::left("MADE FOR").shrinks(Shrink::End(12)),
        Column::left("USED BY").shrinks(Shrink::End(12)),
    ]);
    let or_dash = |text: Option<String>| text.map_or_else(|| Cell::toned("-", Tone::Faint), Cell::new);
    for volume in &view.volumes {
        let users: Vec<String> = volume.used_by.iter().map(ToString::to_string).collect();
        table.row([
            Cell::new(&volume.name),
            or_dash(volume.disk_bytes.map(|bytes| ByteSize(bytes).human())),
            or_dash(volume.created.map(|at| age(now, at))),
            or_dash(volume.instance.as_ref().map(ToString::to_string)),
            or_dash((!users.is_empty()).then(|| users.join(", "))),
        ]);
    }
    table
}
