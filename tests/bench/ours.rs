//! The other end of the start benchmark: our runtime, and our networks, in one process that lives on as the agent does.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use coord_network::Settings;
use coord_runtime::{Connect, ContainerSpec, EmbeddedRuntime, Isolation, LogPolicy, NetworkMode, Runtime as _, RuntimeEvent};
use coord_tests::binaries;
use coord_tests::fleet::unmount_below;
use tokio::sync::mpsc::Receiver;

use crate::start::Times;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    None,
    Bridge,
}

impl Network {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Network::None => "none",
            Network::Bridge => "bridge",
        }
    }

    pub(crate) fn named(word: &str) -> Result<Network> {
        [Network::None, Network::Bridge]
            .into_iter()
            .find(|network| network.name() == word)
            .with_context(|| format!("no network {word:?}"))
    }
}

pub(crate) struct Ours {
    runtime: EmbeddedRuntime,
    events: Receiver<RuntimeEvent>,
    network: Option<coord_network::Network>,
    folder: PathBuf,
}

impl Ours {
    /// Answers a line for every line on standard input, until one says `end`. Leaves nothing behind.
    pub(crate) fn serve(network: Network, folder: &Path) -> Result<()> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = tokio.block_on(async {
            let mut ours = Ours::open(network, folder)?;
            let answer = ours.answer().await;
            if let Some(network) = &ours.network {
                network.remove_all().await?;
            }
            answer
        });
        unmount_below(folder);
        std::fs::remove_dir_all(folder)?;
        result
    }

    fn open(network: Network, folder: &Path) -> Result<Ours> {
        let runtime =
            EmbeddedRuntime::open(&folder.join("state"), &folder.join("run"), &binaries::helpers(), Isolation::default())?;
        runtime.recover()?;
        let events = runtime.events().context("the events of a new runtime")?;
        let network = match network {
            Network::None => None,
            Network::Bridge => Some(coord_network::Network::open(Settings::default(), &folder.join("run"))?),
        };
        Ok(Ours { runtime, events, network, folder: folder.to_owned() })
    }

    async fn answer(&mut self) -> Result<()> {
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            if line == "end" {
                break;
            }
            let answer = match self.run(&line).await {
                Ok(Times { to_exit, to_running, to_gone }) => {
                    let nanos = [Some(to_exit), to_running, to_gone].map(|time| time.unwrap_or_default().as_nanos().to_string());
                    nanos.join(" ")
                }
                Err(error) => format!("{error:#}").replace('\n', "; "),
            };
            let mut out = std::io::stdout();
            writeln!(out, "{answer}")?;
            out.flush()?;
        }
        Ok(())
    }

    async fn run(&mut self, number: &str) -> Result<Times> {
        let (short, long) = (format!("short-{number}"), format!("long-{number}"));
        let start = Instant::now();
        self.start(&short, &["/bin/true"]).await?;
        self.ended(&short).await?;
        let to_exit = start.elapsed();
        self.remove(&short).await?;
        let start = Instant::now();
        self.start(&long, &["/bin/sleep", "1000"]).await?;
        let to_running = start.elapsed();
        let start = Instant::now();
        self.runtime.kill(&long)?;
        self.ended(&long).await?;
        self.remove(&long).await?;
        Ok(Times { to_exit, to_running: Some(to_running), to_gone: Some(start.elapsed()) })
    }

    async fn start(&self, id: &str, args: &[&str]) -> Result<()> {
        let log = LogPolicy {
            path: self.folder.join(format!("log/{id}.jsonl")),
            max_bytes: 1 << 20,
            max_files: 1,
            ..LogPolicy::default()
        };
        let args = args.iter().map(|word| (*word).to_owned()).collect();
        let mut spec = ContainerSpec::new(id, vec![self.folder.join("image")], args, log);
        spec.resources.pids = Some(2048);
        if let Some(network) = &self.network {
            let (network, lease) = (network.clone(), network.lease(id)?);
            spec.network = NetworkMode::Connected(Connect(Arc::new(move |namespace| {
                let (network, lease) = (network.clone(), lease.clone());
                Box::pin(async move {
                    use std::os::fd::AsFd as _;
                    network.attach(&lease, namespace.as_fd()).await.map_err(|error| error.to_string())
                })
            })));
        }
        let running = self.runtime.start(spec).await?;
        if !running.weakened.is_empty() {
            say_once(&running.weakened);
        }
        Ok(())
    }

    async fn ended(&mut self, expected: &str) -> Result<()> {
        let RuntimeEvent::Exited { id, .. } = self.events.recv().await.context("an event of the runtime")?;
        if id != expected {
            bail!("{id} ended, and not {expected}");
        }
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<()> {
        self.runtime.remove(id).await?;
        if let Some(network) = &self.network {
            network.release(id).await?;
        }
        Ok(())
    }
}

/// What this host cannot give of the isolation that is measured: said once, on standard error.
fn say_once(weakened: &[String]) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| coord_tests::say(&format!("weakened here: {}", weakened.join("; "))));
}
