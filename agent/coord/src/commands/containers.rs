//! Second containers that there are: listed, read, waited for, ended.

use crate::cli::Form;
use crate::clock;
use crate::engine::Engine;
use crate::failure::{FAILED, Failure, code_of_exit};
use crate::http::Trouble;
use crate::output::Output;
use coord_shared::names::ChildName;
use coord_shared::quantity::{ByteSize, Signal, Span};
use coord_shared::text::{Cell, Column, Shrink, Table, Tone, age, printable_log_line};
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::{ChildState, ChildView, Info, Stop};
use serde::Deserialize;
use std::io;

pub(super) async fn ps(engine: &Engine, all: bool, form: Form, output: &Output) -> Result<u8, Failure> {
    let mut children = engine.children().await?;
    if !all {
        children.retain(|child| !has_ended(child));
    }
    if form.json {
        output.json(&children)?;
    } else {
        output.data(&table(&children).render(output.width(), output.palette))?;
    }
    Ok(0)
}

/// Whether nothing more will come of it.
pub(super) fn has_ended(child: &ChildView) -> bool {
    match child.state {
        ChildState::Exited | ChildState::Failed => true,
        ChildState::Starting | ChildState::Running | ChildState::Unknown => false,
    }
}

/// The exit code by which its end is told; one that never ran counts as a refusal.
pub(super) fn exit_code(child: &ChildView) -> u8 {
    match (&child.exit, child.state) {
        (Some(exit), _) => code_of_exit(exit),
        (None, ChildState::Failed) => FAILED,
        (None, ChildState::Exited | ChildState::Starting | ChildState::Running | ChildState::Unknown) => u8::MAX,
    }
}

fn table(children: &[ChildView]) -> Table {
    let mut table = Table::new(&[
        Column::left("CONTAINER"),
        Column::left("STATE").shrinks(Shrink::End(20)),
        Column::right("AGE"),
        Column::left("CACHES").shrinks(Shrink::End(12)),
        Column::left("IMAGE").shrinks(Shrink::Start(20)),
    ]);
    let now = clock::now();
    for child in children {
        let caches: Vec<String> =
            child.caches.iter().map(|at| format!("{}{}", at.name, if at.read_only { ":ro" } else { "" })).collect();
        table.row([
            Cell::new(child.name.as_str()),
            state(child),
            Cell::new(age(now, child.started_at.unwrap_or(child.created_at))),
            Cell::new(if caches.is_empty() { "-".to_owned() } else { caches.join(", ") }),
            Cell::new(&child.image),
        ]);
    }
    table
}

fn state(child: &ChildView) -> Cell {
    let text = match (&child.exit, &child.reason) {
        (Some(exit), None) => exit.to_string(),
        (Some(exit), Some(reason)) => format!("{exit}: {reason}"),
        (None, Some(reason)) => format!("{}: {reason}", child.state),
        (None, None) => child.state.to_string(),
    };
    let tone = match child.state {
        ChildState::Running => Tone::Good,
        ChildState::Exited if exit_code(child) == 0 => Tone::Faint,
        ChildState::Exited | ChildState::Failed => Tone::Bad,
        ChildState::Starting | ChildState::Unknown => Tone::Warn,
    };
    Cell::toned(text, tone)
}

/// A line of a log, as the agent has them.
#[derive(Debug, Deserialize)]
struct LogLine {
    /// Where it was written to: `out` or `err`.
    #[serde(rename = "s")]
    stream: String,
    #[serde(rename = "m")]
    message: String,
    /// The line goes on in the next one.
    #[serde(rename = "p", default)]
    partial: bool,
}

pub(super) async fn logs(
    engine: &Engine,
    name: &ChildName,
    follow: bool,
    tail: Option<u32>,
    output: &Output,
) -> Result<u8, Failure> {
    let mut written: io::Result<()> = Ok(());
    let on_line = |line: &[u8]| {
        let line: LogLine = serde_json::from_slice(line).map_err(|e| Trouble::NotUnderstood(e.to_string()))?;
        written = write(output, &line);
        Ok(written.is_ok())
    };
    match engine {
        Engine::Door(door) => door.logs(name, follow, tail, on_line).await?,
        Engine::Laptop(laptop) => laptop.logs(name, follow, tail, |is_error, bytes| output.copy(is_error, bytes)).await?,
    }
    written?;
    Ok(0)
}

/// As it was written; to a person's terminal, without what would steer it.
fn write(output: &Output, line: &LogLine) -> io::Result<()> {
    let message = if output.is_terminal() { printable_log_line(&line.message) } else { line.message.clone() };
    let text = format!("{message}{}", if line.partial { "" } else { "\n" });
    if line.stream == "err" { output.error_data(&text) } else { output.data(&text) }
}

pub(super) async fn wait(engine: &Engine, names: &[ChildName], output: &Output) -> Result<u8, Failure> {
    for name in names {
        let child = engine.wait(name).await?;
        output.data(&format!("{}\n", exit_code(&child)))?;
    }
    Ok(0)
}

pub(super) async fn stop(
    engine: &Engine,
    grace: Option<Span>,
    signal: Option<Signal>,
    names: &[ChildName],
    output: &Output,
) -> Result<u8, Failure> {
    let mut failed = None;
    for name in names {
        match engine.stop(name, &Stop { signal, grace }).await {
            Ok(_) => output.data(&format!("{name}\n"))?,
            Err(error) => told(&mut failed, error, output),
        }
    }
    end(failed)
}

pub(super) async fn kill(engine: &Engine, signal: Signal, names: &[ChildName], output: &Output) -> Result<u8, Failure> {
    let mut failed = None;
    for name in names {
        match engine.signal(name, signal).await {
            Ok(_) => output.data(&format!("{name}\n"))?,
            Err(error) => told(&mut failed, error, output),
        }
    }
    end(failed)
}

/// One of several did not work: the others are tried all the same. The last one is told at the end.
fn told(failed: &mut Option<ErrorBody>, error: ErrorBody, output: &Output) {
    if let Some(before) = failed.replace(error) {
        output.failure(&before);
    }
}

fn end(failed: Option<ErrorBody>) -> Result<u8, Failure> {
    failed.map_or(Ok(0), |error| Err(error.into()))
}

pub(super) async fn inspect(engine: &Engine, name: &ChildName, output: &Output) -> Result<u8, Failure> {
    output.json(&engine.child(name).await?)?;
    Ok(0)
}

pub(super) async fn info(engine: &Engine, form: Form, output: &Output) -> Result<u8, Failure> {
    match engine {
        Engine::Door(door) => {
            let info = door.info().await?;
            if form.json { output.json(&info)? } else { output.data(&words(&info))? }
        }
        Engine::Laptop(laptop) => {
            let info = laptop.info();
            let line = || format!("{} {} at {}: no limits but its own\n", info.engine, info.version, info.socket.display());
            if form.json { output.json(&info)? } else { output.data(&line())? }
        }
    }
    Ok(0)
}

fn words(info: &Info) -> String {
    let images: Vec<&str> = info.images.iter().map(AsRef::as_ref).chain([info.own_image.as_str()]).collect();
    let or = |limit: Option<String>| limit.unwrap_or_else(|| "that of this container".to_owned());
    let network = match info.network {
        coord_shared::document::NestedNetwork::Parent => "parent",
        coord_shared::document::NestedNetwork::None => "none",
    };
    let rows = [
        ("container", info.parent.to_string()),
        ("agent", info.version.clone()),
        ("containers", format!("{} of {}", info.containers.1, info.containers.0)),
        ("caches", format!("{} of {}", ByteSize(info.caches.1).human(), ByteSize(info.caches.0).human())),
        ("memory", or(info.memory.map(ByteSize::human))),
        ("cpus", or(info.cpus.map(|cpus| cpus.to_string()))),
        ("pids", info.pids.to_string()),
        ("network", network.to_owned()),
        ("images", images.join(", ")),
    ];
    rows.iter().map(|(name, value)| format!("{name:<11} {value}\n")).collect()
}
