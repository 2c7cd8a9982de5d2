//! `coord-agent`: the service, and the commands for whoever is logged in to the host.

mod cli;
mod commands;
mod output;

use clap::Parser as _;
use cli::{Cli, Command};
use commands::{CommandError, Outcome};
use coord_agent::{chain, config, daemon, purge};
use output::Output;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_service = matches!(cli.command, Command::Daemon { .. } | Command::Purge { .. });
    // A command says itself what matters.
    init_tracing(if is_service { "info" } else { "warn" });
    // Fails only if another provider is installed already, and there is none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Hashing, inflating, syncing: more threads than this only contend for the disk.
        .max_blocking_threads(16)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start the event loop: {error}");
            return ExitCode::FAILURE;
        }
    };
    tokio::task::LocalSet::new().block_on(&runtime, run(cli.command))
}

async fn run(command: Command) -> ExitCode {
    let output = Output::new();
    let done = match command {
        Command::Daemon { config, state } => return logged(run_daemon(&config, state).await),
        Command::Purge { config } => return logged(run_purge(&config).await),
        Command::Ps(args) => commands::ps(args, &output).await,
        Command::Logs(args) => commands::logs(args, &output).await,
        Command::Exec(args) => commands::exec(args, &output).await,
        Command::Top(args) => commands::top(args, &output).await,
        Command::Run(args) => commands::run(args, &output).await,
        Command::Inspect(args) => commands::inspect(args, &output).await,
        Command::Events(args) => commands::events(args, &output).await,
        Command::Image(args) => commands::image(args, &output).await,
        Command::Volumes(args) => commands::volumes(args, &output).await,
        Command::Doctor(args) => commands::doctor(args, &output).await,
    };
    match done {
        // Whoever read us has read enough: `coord-agent image ls | head -1` is no error.
        Ok(Outcome::Done) | Err(CommandError::BrokenPipe) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::FAILURE,
        Ok(Outcome::Code(code)) => ExitCode::from(code),
        Err(CommandError::Failed(error)) => {
            output.failure(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run_daemon(path: &Path, state: Option<PathBuf>) -> Result<(), String> {
    let config = config::load(path).map_err(|e| chain(&e))?;
    daemon::run(path, config, state).await.map_err(|e| chain(&e))
}

async fn run_purge(path: &Path) -> Result<(), String> {
    let config = config::load(path).map_err(|e| chain(&e))?;
    let purged = purge::run(&config).await.map_err(|e| chain(&e))?;
    tracing::info!(containers = purged.containers, "removed");
    if purged.left.is_empty() {
        return Ok(());
    }
    Err(format!("not everything could be removed:\n  {}", purged.left.join("\n  ")))
}

fn logged(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// To standard error, where the service manager or the person in front of it reads; `RUST_LOG` chooses how much. The journal
/// adds the time itself.
fn init_tracing(default: &str) {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if stderr_is_journal() {
        log.without_time().with_ansi(false).init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
}

/// Whether standard error is what systemd says the journal is (`JOURNAL_STREAM`, systemd.exec(5)). That the variable is there
/// is not enough: terminals that were started by a service hand it on.
fn stderr_is_journal() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    std::env::var("JOURNAL_STREAM").is_ok_and(|journal| journal == format!("{}:{}", stderr.dev(), stderr.ino()))
}
