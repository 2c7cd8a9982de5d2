//! The commands: each asks for what was typed, and says what came of it.

mod cache;
mod containers;
mod exec;
mod run;

use crate::cli::{Cli, Command};
use crate::door::Door;
use crate::failure::{Failure, failure};
use crate::output::Output;
use coord_shared::wire::nested::SOCKET;
use std::path::PathBuf;

/// Where the door is, if not where it usually is.
const SOCKET_VARIABLE: &str = "COORD_SOCKET";

/// Does what was typed; the exit code.
///
/// # Errors
/// A refusal, or whatever does not work here.
pub(crate) async fn run(cli: Cli, output: &Output) -> Result<u8, Failure> {
    let door = &door(output)?;
    match cli.command {
        Command::Cache { command } => cache::run(door, command, output).await,
        Command::Run(args) => run::run(door, *args, output).await,
        Command::Ps { all, form } => containers::ps(door, all, form, output).await,
        Command::Logs { name, follow, tail } => containers::logs(door, &name, follow, tail, output).await,
        Command::Wait { names } => containers::wait(door, &names, output).await,
        Command::Stop { time, signal, names } => containers::stop(door, time, signal, &names, output).await,
        Command::Kill { signal, names } => containers::kill(door, signal, &names, output).await,
        Command::Exec(args) => exec::run(door, args, output).await,
        Command::Inspect { name } => containers::inspect(door, &name, output).await,
        Command::Info { form } => containers::info(door, form, output).await,
    }
}

fn door(output: &Output) -> Result<Door, Failure> {
    if let Some(socket) = std::env::var_os(SOCKET_VARIABLE).filter(|socket| !socket.is_empty()) {
        return Ok(Door::new(socket.into(), *output));
    }
    let socket = PathBuf::from(SOCKET);
    if socket.exists() {
        return Ok(Door::new(socket, *output));
    }
    let message = format!("this container has no door: there is no {SOCKET}");
    let hint = "under coord-agent, the document needs the key `nested`";
    Err(failure("no_door", message, Some(hint)).into())
}
