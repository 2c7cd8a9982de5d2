//! `coordinator`: the daemon's command line, its log, its signals.

use clap::Parser;
use coord_registry::chain;
use coordinator::Coordinator;
use coordinator::config::{Config, Tls};
use sd_notify::NotifyState;
use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Threads of the event loop: it waits more than it works, and each thread costs memory.
const WORKERS_MAX: usize = 4;

/// Publishes documents to the fleet and remembers what it reports.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// The configuration file [without it: the defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where agents and admins dial in
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where the store lies
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// The watched folder of documents
    #[arg(long, value_name = "FOLDER")]
    documents: Option<PathBuf>,
    /// The certificate for TLS, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Print the configuration that applies, without registries, and end
    #[arg(long)]
    print_config: bool,
    /// How much to log, as for RUST_LOG
    #[arg(long, value_name = "FILTER", default_value = "info", env = "COORD_LOG")]
    log: String,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    match start(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be open yet; and nobody can be told if stderr is gone.
            let _ = writeln!(std::io::stderr(), "coordinator: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn start(flags: Flags) -> Result<(), Box<dyn Error>> {
    let config = config(&flags)?;
    if flags.print_config {
        return Ok(std::io::stdout().write_all(config.to_toml().as_bytes())?);
    }
    config.check()?;
    log(&flags.log)?;
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "cannot set up TLS")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cores.min(WORKERS_MAX)).enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // What can be re-read is read whenever it changes; whoever sends it out of habit must not end the process.
    let mut hang_up = signal(SignalKind::hangup())?;
    let data_dir = config.data_dir.clone();
    let coordinator = Coordinator::start(config).await?;
    tracing::info!(address = %coordinator.address(), data_dir = %data_dir.display(), version = env!("CARGO_PKG_VERSION"), "ready");
    notify(NotifyState::Ready);
    let watchdog = tokio::spawn(watchdog());
    let stop = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => tracing::info!("SIGHUP has no meaning here: registries are read again when the file changes, everything else at a restart"),
            }
        }
        tracing::info!("stopping");
        notify(NotifyState::Stopping);
    };
    // All parts in one: too large to be carried about.
    let ended = Box::pin(coordinator.run(stop)).await;
    watchdog.abort();
    Ok(ended?)
}

/// Tells systemd that the event loop turns, where systemd asked for it.
async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut beat = tokio::time::interval(limit / 2);
    loop {
        beat.tick().await;
        notify(NotifyState::Watchdog);
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(error = %error, "cannot tell systemd");
    }
}

fn config(flags: &Flags) -> Result<Config, Box<dyn Error>> {
    let mut config = match &flags.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    if let Some(listen) = flags.listen {
        config.listen = listen;
    }
    if let Some(data_dir) = &flags.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    if let Some(documents) = &flags.documents {
        config.documents.clone_from(documents);
    }
    if let (Some(cert), Some(key)) = (&flags.tls_cert, &flags.tls_key) {
        config.tls = Some(Tls { cert: cert.clone(), key: key.clone() });
    }
    Ok(config)
}

/// To stderr. The journal adds the time itself.
fn log(filter: &str) -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_new(filter).map_err(|e| format!("--log {filter:?}: {e}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if stderr_is_journal() {
        log.without_time().with_ansi(false).init();
    } else {
        use std::io::IsTerminal as _;
        log.with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).init();
    }
    Ok(())
}

/// Whether standard error is what systemd says the journal is (`JOURNAL_STREAM`, systemd.exec(5)). That the variable is there
/// is not enough: terminals that were started by a service hand it on.
fn stderr_is_journal() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    std::env::var("JOURNAL_STREAM").is_ok_and(|journal| journal == format!("{}:{}", stderr.dev(), stderr.ino()))
}
