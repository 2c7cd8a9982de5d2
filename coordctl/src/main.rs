//! `coordctl`: steers the fleet from an admin box.
//!
//! The way of a command: `cli` says what can be typed, `config` where the coordinator is, `client` speaks to it, one file of
//! `commands` does the work, and `output` is the only place that prints. Deliberately absent: decisions about the fleet; those are
//! the coordinator's.

mod cli;
mod client;
mod clock;
mod commands;
mod config;
#[cfg(test)]
mod expect;
mod failure;
mod output;

use clap::Parser;
use failure::Exit;
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let output = Output::new();
    // The one TLS provider of this process; it can only be set already if something above had set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.failure(&failure::Failure::of(&error).hint("the system refuses new file descriptors; see `ulimit -n`"));
            return Exit::Error.into();
        }
    };
    match runtime.block_on(commands::run(cli, &output)) {
        Ok(exit) => exit.into(),
        // Whoever read us has read enough: `coordctl status | head -1` is no error.
        Err(failure) if failure.is_broken_pipe() => Exit::Done.into(),
        Err(failure) => {
            output.failure(&failure);
            Exit::Error.into()
        }
    }
}
