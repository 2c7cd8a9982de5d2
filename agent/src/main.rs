//! `coord-agent`: the command line.

use clap::{Parser, Subcommand};
use coord_agent::{chain, config, daemon, purge};
use std::path::PathBuf;
use std::process::ExitCode;

/// Keeps this host's containers as the coordinator's documents say.
#[derive(Parser)]
#[command(name = "coord-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service in the foreground.
    Daemon {
        /// The configuration.
        #[arg(long, default_value = "/etc/coord/agent.toml", env = "COORD_AGENT_CONFIG")]
        config: PathBuf,
        /// Stand alone: take what to run from this host state, document, or folder of documents, and ask no coordinator.
        #[arg(long, value_name = "PATH")]
        state: Option<PathBuf>,
    },
    /// Stop and remove every container of ours, and all that the agent keeps on this host. For uninstalling.
    Purge {
        /// The configuration.
        #[arg(long, default_value = "/etc/coord/agent.toml", env = "COORD_AGENT_CONFIG")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    init_tracing();
    // Fails only if another provider is installed already, and there is none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Hashing, inflating, syncing: more threads than this only contend for the disk.
        .max_blocking_threads(16)
        .build();
    let done = match runtime {
        Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, run(cli.command)),
        Err(error) => Err(format!("cannot start the event loop: {error}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Daemon { config: path, state } => {
            let config = config::load(&path).map_err(|e| chain(&e))?;
            daemon::run(&path, config, state).await.map_err(|e| chain(&e))
        }
        Command::Purge { config: path } => {
            let config = config::load(&path).map_err(|e| chain(&e))?;
            let purged = purge::run(&config).await.map_err(|e| chain(&e))?;
            tracing::info!(containers = purged.containers, "removed");
            if purged.left.is_empty() {
                Ok(())
            } else {
                Err(format!("not everything could be removed:\n  {}", purged.left.join("\n  ")))
            }
        }
    }
}

/// To standard error, where the service manager or the person in front of it reads; `RUST_LOG` chooses how much. The journal
/// adds the time itself.
fn init_tracing() {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
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
