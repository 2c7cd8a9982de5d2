//! `coord`: starts containers within a container, and hands them files, through the door that coord-agent gives it.

mod cli;
mod clock;
mod commands;
mod door;
mod engine;
mod failure;
mod http;
mod laptop;
mod output;
mod pack;
mod stdio;

use clap::Parser as _;
use failure::{FAILED, Failure, code_of};
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let output = Output::new();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            output.usage(&error);
            return ExitCode::from(if error.use_stderr() { FAILED } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.failure(&failure::local("start the event loop", error));
            return ExitCode::from(FAILED);
        }
    };
    let code = runtime.block_on(async {
        match commands::run(cli, &output).await {
            Ok(code) => code,
            // Whoever read us has read enough: `coord ps | head -1` is no error.
            Err(Failure::BrokenPipe) => 0,
            Err(Failure::Told(error)) => {
                output.failure(&error);
                code_of(&error)
            }
        }
    });
    // Not dropped: a thread may wait for a last key.
    runtime.shutdown_background();
    ExitCode::from(code)
}
