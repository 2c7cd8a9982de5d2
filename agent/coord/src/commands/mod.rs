//! The commands: each asks for what was typed, and says what came of it.

mod cache;
mod containers;
mod exec;
mod run;

use crate::cli::{Cli, Command};
use crate::engine::Engine;
use crate::failure::Failure;
use crate::output::Output;

/// Does what was typed; the exit code.
///
/// # Errors
/// A refusal, or whatever does not work here.
pub(crate) async fn run(cli: Cli, output: &Output) -> Result<u8, Failure> {
    let engine = &Engine::find(output).await?;
    match cli.command {
        Command::Cache { command } => cache::run(engine, command, output).await,
        Command::Run(args) => run::run(engine, *args, output).await,
        Command::Ps { all, form } => containers::ps(engine, all, form, output).await,
        Command::Logs { name, follow, tail } => containers::logs(engine, &name, follow, tail, output).await,
        Command::Wait { names } => containers::wait(engine, &names, output).await,
        Command::Stop { time, signal, names } => containers::stop(engine, time, signal, &names, output).await,
        Command::Kill { signal, names } => containers::kill(engine, signal, &names, output).await,
        Command::Exec(args) => exec::run(engine, args, output).await,
        Command::Inspect { name } => containers::inspect(engine, &name, output).await,
        Command::Info { form } => containers::info(engine, form, output).await,
    }
}
