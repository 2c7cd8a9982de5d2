//! `coordctl hosts`: shows, adds and removes hosts.
//!
//! The coordinator gives a known host a new token when it is added again, which cuts its running agent off; so a known host is
//! refused here unless that is what was asked for.

use crate::cli::{Format, HostsAddArgs, HostsArgs, HostsCommand, HostsListArgs, HostsRemoveArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Align, Cell, Column, Output, Palette, Shrink, Table, Tone, ago};
use coord_shared::decide::liveness::Liveness;
use coord_shared::quantity::ByteSize;
use coord_shared::wire::{HostView, HostsView};

pub(super) async fn run(args: HostsArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    match args.command {
        None => list(&args.list, client, output).await,
        Some(HostsCommand::List(args)) => list(&args, client, output).await,
        Some(HostsCommand::Add(args)) => add(&args, client, output).await,
        Some(HostsCommand::Remove(args)) => remove(&args, client, output).await,
    }
}

async fn list(args: &HostsListArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let view = output.waiting("reading the hosts", client.hosts()).await?;
    match args.format.format {
        Format::Json => output.json(&view)?,
        Format::Table if view.hosts.is_empty() => {
            output.message("no host is known; add one with `coordctl hosts add HOST`");
        }
        Format::Table => output.data(&render(&view, output.width(), output.palette))?,
    }
    Ok(Exit::Done)
}

async fn add(args: &HostsAddArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let host = &args.host;
    if !args.new_token {
        let known = output.waiting("reading the hosts", client.hosts()).await?;
        if known.hosts.iter().any(|known| known.name == *host) {
            return Err(Failure::new(format!("host {host} is known already"))
                .hint("--new-token gives it a new token; its old one, and its agent's connection with it, ends at once"));
        }
    }
    let answer = output.waiting(&format!("adding {host}"), client.add_host(host)).await?;
    match args.format.format {
        Format::Json => output.json(&answer)?,
        Format::Table => {
            output.message(&format!(
                "host {host} is known now; this is its token, shown this once. In its /etc/coord/agent.toml, write\n  \
                 host = \"{host}\"\n  token = \"...\""
            ));
            output.data(&format!("{}\n", answer.token))?;
        }
    }
    Ok(Exit::Done)
}

async fn remove(args: &HostsRemoveArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let host = &args.host;
    match output.waiting(&format!("removing {host}"), client.remove_host(host)).await {
        Ok(()) => {}
        Err(error) if error.is_not_found() => {
            return Err(Failure::from(error).hint("`coordctl hosts` shows the known ones"));
        }
        Err(error) => return Err(error.into()),
    }
    output.message(&format!("host {host} is forgotten; what runs there goes on until `coord-agent purge` is run on it"));
    Ok(Exit::Done)
}

const COLUMNS: [Column; 9] = [
    Column::left("HOST").shrinks(Shrink::End(12)),
    Column::left("STATE"),
    Column::right("SEEN"),
    Column::right("RUNNING"),
    Column::right("MEMORY"),
    Column::right("DISK FREE"),
    Column::right("IMAGES"),
    Column::left("AGENT"),
    Column { title: "LABELS", align: Align::Left, shrink: Shrink::End(12) },
];

fn render(view: &HostsView, width: Option<usize>, palette: Palette) -> String {
    let mut table = Table::new(&COLUMNS);
    for host in &view.hosts {
        let seen = host.last_seen.map_or_else(|| "never".to_owned(), |at| ago(view.now, at));
        let labels: Vec<String> = host.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.row([
            Cell::new(&host.name),
            Cell::toned(host.liveness.to_string(), tone(host.liveness)),
            Cell::new(seen),
            running(host),
            Cell::new(memory(host)),
            Cell::new(disk(host)),
            Cell::new(images(host)),
            Cell::new(host.agent_version.as_deref().unwrap_or("-")),
            Cell::new(labels.join(" ")),
        ]);
        for problem in &host.problems {
            table.note(Cell::default(), Cell::toned(problem, Tone::Bad), "");
        }
        if let Some(accepted) = host.accepted.filter(|accepted| *accepted != host.generation) {
            let text = format!("has accepted host state {accepted}, and {} is published for it", host.generation);
            table.note(Cell::default(), Cell::toned(text, Tone::Faint), "");
        }
    }
    table.render(width, palette)
}

fn tone(liveness: Liveness) -> Tone {
    match liveness {
        Liveness::Ready => Tone::Good,
        Liveness::Late | Liveness::Unknown => Tone::Warn,
        Liveness::Lost => Tone::Bad,
    }
}

fn running(host: &HostView) -> Cell {
    let tone = if host.running < host.desired { Tone::Warn } else { Tone::Plain };
    Cell::toned(format!("{}/{}", host.running, host.desired), tone)
}

/// `1.46 GiB of 16.0 GiB`; what was never reported is `-`, not 0.
fn memory(host: &HostView) -> String {
    let facts = host.facts.as_ref().filter(|facts| facts.memory_total_bytes > 0);
    facts.map_or_else(
        || "-".to_owned(),
        |facts| format!("{} of {}", ByteSize(facts.memory_used_bytes).human(), ByteSize(facts.memory_total_bytes).human()),
    )
}

fn disk(host: &HostView) -> String {
    let facts = host.facts.as_ref().filter(|facts| facts.disk_total_bytes > 0);
    facts.map_or_else(|| "-".to_owned(), |facts| ByteSize(facts.disk_free_bytes).human())
}

/// What images take; an agent that has none says so by its format.
fn images(host: &HostView) -> String {
    let facts = host.facts.as_ref().filter(|facts| facts.images_bytes > 0 || !facts.image_format.is_empty());
    facts.map_or_else(|| "-".to_owned(), |facts| ByteSize(facts.images_bytes).human())
}

#[cfg(test)]
mod tests;
