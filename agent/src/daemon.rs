//! The service: opens everything, connects the tasks, and runs the one loop.
//!
//! ```text
//!   poll | standalone ──┐                                      ┌─▶ executor ─▶ runtime, images ──┐
//!   runtime (ends) ─────┼─▶ Event ─▶ apply ─▶ plan ─▶ tasks ───┤                                 │
//!   agent.toml, timer ──┘                      └─▶ report ─▶ reporter           Event ◀──────────┘
//! ```
//!
//! Ending the service ends no container: they have monitors of their own, and the next agent finds them.

mod parts;

use crate::builds::Builder;
use crate::clock;
use crate::config::Config;
use crate::containers::happenings::Happenings;
use crate::control::{self, AgentInfo, Control};
use crate::event::Event;
use crate::execute::{Executor, LogSettings};
use crate::images::{Images, Room};
use crate::metrics::{self, Metrics};
use crate::nested;
use crate::network_keeper::Wish;
use crate::programs::Programs;
use crate::sessions::Sessions;
use crate::state::{Agent, Watched};
use crate::sync::ledger::{HistoryFile, Ledger};
use crate::sync::{logins, poll, report};
use crate::volumes::Volumes;
use crate::{drain_keeper, durable, facts, logs_sweep, network_keeper, one_off, watch_config};
use coord_image::{ImageStore, StoreError};
use coord_network::Network;
use coord_registry::{Registry, login_files};
use coord_runtime::{EmbeddedRuntime, Runtime as _, RuntimeEvent};
use coord_shared::decide::planner::{Drain, History, Plan};
use coord_shared::decide::{Mono, Now, told};
use coord_shared::names::InstanceId;
use coord_shared::wire::nested::NestedReport;
use coord_shared::wire::{FullReport, HostState, RegistryLogin};
use parts::{keep_network, running, start_builder, start_doors, who_says_what_runs};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Events that may wait for the loop. Senders wait when it is full: the loop empties it faster than the kernel makes containers.
const EVENTS_MAX: usize = 256;
/// How often the machine is looked at.
const FACTS_INTERVAL: Duration = Duration::from_secs(60);
/// How often the room on the disk is looked at: one system call. It is told at once where it changed by this part of the disk.
const DISK_INTERVAL: Duration = Duration::from_secs(5);
const DISK_NEWS_PART: u64 = 100;
/// Between two writes of what the instances went through: with 500 of them, one is 150 kB and an fsync. What is lost when the agent is
/// killed in between is a count or a hook's end, which then runs once more.
const HISTORY_PAUSE: Duration = Duration::from_millis(200);
/// Writes that are made at once before they are spaced out.
const HISTORY_AT_ONCE_MAX: u32 = 25;
/// How often logs of what is gone are removed.
const LOGS_INTERVAL: Duration = Duration::from_secs(3600);
/// How often images that nothing uses are removed, if there is a reason: more often than a disk usually fills up.
const IMAGES_INTERVAL: Duration = Duration::from_secs(300);

/// How often an image store that is taken is tried again, and how long between: together less than the 90 s that service managers
/// give a start.
const STORE_TRIES: u32 = 300;
const STORE_PAUSE: Duration = Duration::from_millis(200);

/// Why the service did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A folder of ours cannot be made.
    #[error("cannot make {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another agent runs on the same state.
    #[error(
        "another coord-agent runs on {}; stop it first, or give this one a state_dir and a run_dir of its own",
        path.display()
    )]
    Locked {
        /// The folder that both want.
        path: PathBuf,
    },
    /// A part of the agent did not start.
    #[error("cannot start {part}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why, with its cure.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is nobody to say what should run.
    #[error("no coordinator is configured in {}; set coordinator, or run standalone with --state PATH", config.display())]
    Nobody {
        /// The configuration.
        config: PathBuf,
    },
}

fn part<E: std::error::Error + Send + Sync + 'static>(part: &'static str) -> impl FnOnce(E) -> DaemonError {
    move |source| DaemonError::Part { part, source: Box::new(source) }
}

/// The locked state directory and what is opened from it.
pub(crate) struct Opened {
    pub(crate) runtime: EmbeddedRuntime,
    pub(crate) images: ImageStore,
    pub(crate) network: Result<Network, String>,
    pub(crate) logs: LogSettings,
    pub(crate) volumes: Volumes,
    _locks: [std::fs::File; 2],
}

/// Makes and locks the folders, opens runtime and image store.
pub(crate) async fn open(config: &Config) -> Result<Opened, DaemonError> {
    let logs = config.state_dir.join("log");
    for path in [&config.state_dir, &config.run_dir, &logs] {
        std::fs::create_dir_all(path).map_err(|source| DaemonError::Folder { path: path.clone(), source })?;
    }
    // Both: containers are found by their run folder, and two agents would take each other's for their own.
    let locks = [lock(&config.state_dir)?, lock(&config.run_dir)?];
    durable::remove_unfinished(&config.state_dir);
    let runtime =
        EmbeddedRuntime::open(&config.state_dir, &config.run_dir, &config.helpers_dir, config.isolation.of_containers())
            .map_err(part("the runtime"))?;
    let images = open_images(config).await.map_err(part("the image store"))?;
    let logs = LogSettings { dir: logs, max_bytes: config.log_max_bytes, max_files: config.log_max_files };
    let volumes = Volumes::new(&config.state_dir, &config.run_dir);
    let network = Network::open(config.network.clone(), &config.run_dir.join("net")).map_err(|e| crate::chain(&e));
    if let Err(problem) = &network {
        tracing::error!(%problem, "no container can have a network of its own");
    }
    Ok(Opened { runtime, images, network, logs, volumes, _locks: locks })
}

/// A command of ours may hold the store for a moment, or for as long as a pull takes.
async fn open_images(config: &Config) -> Result<ImageStore, StoreError> {
    let dir = config.state_dir.join("images");
    let mut tries = 0;
    loop {
        match ImageStore::open_with(&dir, config.images.options()) {
            Err(StoreError::InUse { .. }) if tries < STORE_TRIES => {
                if tries == 0 {
                    tracing::warn!(dir = %dir.display(), "another process uses the image store; waiting for it");
                }
                tries += 1;
                tokio::time::sleep(STORE_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// Locks a folder of the agent's, so that nobody else works in it while the file is held.
///
/// # Errors
/// `Locked` while somebody else holds it.
pub fn lock(folder: &Path) -> Result<std::fs::File, DaemonError> {
    let path = folder.join("agent.lock");
    let file = std::fs::File::create(&path).map_err(|source| DaemonError::Folder { path, source })?;
    file.try_lock().map_err(|_| DaemonError::Locked { path: folder.to_owned() })?;
    Ok(file)
}

/// Runs the service until it is asked to end. `state` makes the host stand alone.
pub async fn run(config_path: &Path, config: Config, state: Option<PathBuf>) -> Result<(), DaemonError> {
    if state.is_none() && config.coordinators.is_empty() {
        return Err(DaemonError::Nobody { config: config_path.to_owned() });
    }
    let opened = open(&config).await?;
    let registry = Registry::new(config.registries.clone(), login_files(config.docker_config.clone()))
        .map_err(part("the registry client"))?;
    let ledger = Ledger::open(&config.state_dir, &config.host).map_err(part("the ledger"))?;
    let (history_file, histories) = HistoryFile::open(&config.state_dir);
    let accepted = ledger.state().cloned().unwrap_or_else(|| HostState::empty(config.host.clone()));
    let mut agent = Agent::new(config.host.clone(), config.labels.clone(), ledger, histories);
    let listed = opened.images.list().map_err(part("the image store"))?;
    // An image whose record cannot be read is as good as absent: it will be pulled again.
    agent.found_images(listed.into_iter().filter_map(|image| opened.images.get(&image.digest).ok().flatten()));
    let recovered = opened.runtime.recover().map_err(part("from what runs already"))?;
    let running = running(&recovered);
    agent.recover(recovered, clock::now());

    let (events, inbox) = mpsc::channel(EVENTS_MAX);
    let coordinators = who_says_what_runs(&config, state, (&registry, accepted), &events)?;
    let (content, told) = watch::channel(report::Content::default());
    let happenings = Happenings::default();
    let shown = told.clone();
    if let Some(coordinators) = &coordinators {
        tokio::spawn(poll::run(coordinators.clone(), config.host.clone(), events.clone()));
        tokio::spawn(report::run(coordinators.clone(), config.host.clone(), told));
    }
    tokio::spawn(watch_config::run(config_path.to_owned(), events.clone()));
    let (histories, history_changes) = watch::channel(None);
    let writer = tokio::spawn(write_histories(history_file, history_changes));

    let images = Images::new(opened.images.clone(), registry.clone(), &config.run_dir);
    let policy = config.images.policy();
    // Also while containers start: what is swept is no volume.
    let volumes = opened.volumes.clone();
    drop(tokio::task::spawn_blocking(move || volumes.sweep()));
    let programs = Programs::new(Arc::new(opened.runtime.clone()), shown.clone());
    let room = Room::new(images.clone(), policy, events.clone());
    let doors = start_doors(&config, &opened, (&registry, &room), (&happenings, running)).await;
    let builder = match &coordinators {
        Some(coordinators) => start_builder(&config, &opened, (coordinators, &registry, &room), (&doors, &events))?,
        None => None,
    };
    let sessions = coordinators.map(|coordinators| Sessions {
        builder: builder.clone(),
        coordinators,
        host: config.host.clone(),
        log_dir: opened.logs.dir.clone(),
        programs: programs.clone(),
        volumes: opened.volumes.clone(),
    });
    listen(&config, &opened, (images, programs), (events.clone(), shown, happenings.clone()));
    let mut executor = Executor::new(config.host.clone(), &opened, (room, registry), doors.clone(), events.clone());
    executor.default_runtime = config.isolation.runtime;
    let network = keep_network(&opened, &mut agent, events.clone());
    let (draining, watched) = watch::channel(Vec::new());
    tokio::spawn(drain_keeper::run(watched, events));
    let runtime_events = opened.runtime.events();
    let mut service = Service {
        agent,
        executor,
        sessions,
        builder,
        inbox,
        runtime_events,
        content,
        histories,
        state_dir: config.state_dir.clone(),
        told: None,
        logins: Vec::new(),
        wake_at: None,
        happenings,
        network,
        draining,
        nested: doors.reports(),
    };
    tracing::info!(host = %config.host, version = env!("CARGO_PKG_VERSION"), "running");
    service.run().await?;
    drop(service);
    let _ = writer.await;
    tracing::info!("ended; containers go on");
    Ok(())
}

/// Opens the control socket. Without it the host can only be asked through the coordinator; containers are worth more than that.
fn listen(
    config: &Config,
    opened: &Opened,
    (images, programs): (Images, Programs),
    the_loop: (mpsc::Sender<Event>, watch::Receiver<report::Content>, Happenings),
) {
    let (events, content, happenings) = the_loop;
    let info = AgentInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: config.host.clone(),
        state_dir: config.state_dir.clone(),
        pid: std::process::id(),
    };
    tokio::task::spawn_local(sweep_one_offs(config.clone()));
    let figures = Arc::new(opened.runtime.clone());
    let metrics = Metrics::new(figures, content.clone(), config.state_dir.clone(), config.host.clone());
    if let Some(address) = config.metrics_listen {
        tokio::task::spawn_local(serve_metrics(address, metrics.clone()));
    }
    let (policy, run_dir) = (config.images.policy(), config.run_dir.clone());
    let volumes = opened.volumes.clone();
    let control = Control {
        info,
        images,
        policy,
        events,
        content,
        volumes,
        happenings,
        programs,
        metrics,
        network: opened.network.clone(),
        run_dir,
    };
    let path = control::socket_path(&config.run_dir);
    match control::bind(&path) {
        Ok(listener) => drop(tokio::task::spawn_local(control::serve(listener, control))),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "no control socket: coord-agent's commands will not work; choose another run_dir");
        }
    }
}

/// Removes what killed `coord-agent run`s have left.
async fn sweep_one_offs(config: Config) {
    match one_off::sweep(&config.state_dir, &config.run_dir, &config.helpers_dir, config.isolation.of_containers()).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "removed one-off containers that were left"),
        Err(error) => tracing::warn!(error = %crate::chain(&error), "cannot look for one-off containers that were left"),
    }
}

/// Metrics are no reason for containers to wait: an address that is taken is said, and tried no more.
async fn serve_metrics(address: std::net::SocketAddr, metrics: Metrics) {
    match tokio::net::TcpListener::bind(address).await {
        Ok(listener) => metrics::serve(listener, metrics).await,
        Err(error) => tracing::error!(%address, %error, "no metrics: choose another listen in [metrics]"),
    }
}

/// Writes histories down, the newest only: at once on a calm host, a few times a second on one that is full of crash loops.
async fn write_histories(file: HistoryFile, mut changes: watch::Receiver<Option<Arc<BTreeMap<InstanceId, History>>>>) {
    let file = Arc::new(file);
    // When the last of the writes that were made at once would have been due, had they been spaced out.
    let mut due = clock::now().mono;
    while changes.changed().await.is_ok() {
        let Some(histories) = changes.borrow_and_update().clone() else { continue };
        let file = file.clone();
        let written = tokio::task::spawn_blocking(move || file.save(&histories)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(error = %crate::chain(&error), "restart counts are not written down");
        }
        let now = clock::now().mono;
        due = due.max(now).after(HISTORY_PAUSE);
        if due.since(now) > HISTORY_PAUSE * HISTORY_AT_ONCE_MAX {
            tokio::time::sleep(HISTORY_PAUSE).await;
        }
    }
}

struct Service {
    agent: Agent,
    executor: Executor,
    sessions: Option<Sessions>,
    /// Builds, where this host does.
    builder: Option<Builder>,
    inbox: mpsc::Receiver<Event>,
    runtime_events: Option<mpsc::Receiver<RuntimeEvent>>,
    content: watch::Sender<report::Content>,
    histories: watch::Sender<Option<Arc<BTreeMap<InstanceId, History>>>>,
    state_dir: PathBuf,
    told: Option<Arc<FullReport>>,
    /// What the registry client was given.
    logins: Vec<RegistryLogin>,
    wake_at: Option<Mono>,
    /// What the host's network should be like; `None` before the first plan.
    network: watch::Sender<Option<Wish>>,
    draining: watch::Sender<Vec<Watched>>,
    happenings: Happenings,
    /// What containers have within them.
    nested: watch::Receiver<BTreeMap<String, NestedReport>>,
}

impl Service {
    async fn run(&mut self) -> Result<(), DaemonError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(part("signal handling"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(part("signal handling"))?;
        let mut facts = tokio::time::interval(FACTS_INTERVAL);
        let mut disk = tokio::time::interval(DISK_INTERVAL);
        let mut images = tokio::time::interval(IMAGES_INTERVAL);
        let mut logs = tokio::time::interval(LOGS_INTERVAL);
        // The service manager expects a sign of life within its WatchdogSec; half of that is the usual rhythm.
        let mut watchdog = tokio::time::interval(watchdog_interval());
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        self.follow_up();
        loop {
            let event = tokio::select! {
                Some(event) = self.inbox.recv() => event,
                Some(event) = next_of(&mut self.runtime_events) => Event::Runtime(event),
                Ok(()) = self.nested.changed() => Event::Nested,
                () = sleep_until(self.wake_at) => Event::Timer,
                _ = facts.tick() => Event::Facts(Box::new(facts::collect(&self.state_dir, &self.executor.images))),
                _ = disk.tick() => {
                    if self.disk_is_other() {
                        facts.reset_immediately();
                    }
                    continue;
                }
                _ = images.tick() => {
                    let room = self.executor.room.clone();
                    tokio::task::spawn_local(async move { room.tidy().await });
                    continue;
                }
                _ = logs.tick() => {
                    logs_sweep::sweep(&self.executor.logs.dir, &self.agent);
                    logs_sweep::sweep_nested(&nested::log_folder(&self.executor.logs.dir), &self.executor.doors);
                    continue;
                }
                _ = watchdog.tick() => {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                    continue;
                }
                _ = terminate.recv() => Event::Shutdown,
                _ = interrupt.recv() => Event::Shutdown,
            };
            if matches!(event, Event::Shutdown) {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
                return Ok(());
            }
            self.take(event);
            // What happened at the same time is planned for together.
            while let Ok(event) = self.inbox.try_recv() {
                self.take(event);
            }
            self.follow_up();
        }
    }

    fn take(&mut self, event: Event) {
        let now = clock::now();
        self.happenings.note_event(&event, now.wall);
        if let Event::Runtime(RuntimeEvent::Exited { id, .. }) = &event {
            self.executor.close_door(id);
        }
        self.agent.apply(event, now);
    }

    /// Plans, sets the tasks going, and tells what is to be told.
    fn follow_up(&mut self) {
        let now = clock::now();
        self.hand_over_logins();
        self.look_for_listeners(now);
        let (plan, tasks) = self.agent.plan(now);
        self.wish_for_network(&plan);
        self.draining.send_if_modified(|watched| replace(watched, self.agent.watched(&plan)));
        for task in tasks {
            self.happenings.note_task(&task, now.wall);
            self.executor.execute(task);
        }
        self.wake_at = plan.wake_at;
        if let (Some(builder), Some(state)) = (&self.builder, self.agent.accepted()) {
            builder.want(state);
        }
        self.serve_sessions();
        self.write_down();
        self.tell(&plan);
    }

    /// Before anything is pulled.
    fn hand_over_logins(&mut self) {
        let logins = self.agent.registries();
        if self.logins != logins {
            self.logins = logins.to_vec();
            self.executor.registry.set_delivered(logins::delivered(logins));
        }
    }

    /// Before an instance with published ports is started, or anything is stopped for it.
    fn look_for_listeners(&mut self, now: Now) {
        if self.agent.needs_listeners(now.mono) {
            let listeners = network_keeper::listeners(&self.agent);
            self.agent.found_listeners(listeners, now.mono);
        }
    }

    fn wish_for_network(&mut self, plan: &Plan) {
        let [_, run_dir] = self.executor.volumes.own_folders();
        let one_offs = one_off::containers(run_dir);
        let doors = self.agent.doors(plan);
        let mut network = network_keeper::wanted(self.agent.containers().chain(&one_offs), &doors);
        if let Some(builder) = &self.builder {
            network.containers.extend(builder.containers());
        }
        let is_awaited = plan.draining.values().any(|stage| *stage == Drain::MovingDoors);
        let before = self.network.borrow().as_ref().map_or(0, |wish| wish.number);
        self.network.send_if_modified(|wish| {
            let is_news = wish.as_ref().is_none_or(|wish| wish.network != network || wish.is_awaited != is_awaited);
            if is_news {
                *wish = Some(Wish { number: before + 1, network, is_awaited });
            }
            is_news
        });
        let number = self.network.borrow().as_ref().map_or(before, |wish| wish.number);
        self.agent.wished(number, &doors);
    }

    fn serve_sessions(&mut self) {
        let asked = self.agent.take_sessions();
        if let Some(sessions) = &self.sessions {
            for session in asked {
                tokio::task::spawn_local(sessions.clone().serve(session));
            }
        }
    }

    fn write_down(&self) {
        let histories = self.agent.histories();
        self.histories.send_if_modified(|written| {
            let is_news = written.as_deref() != Some(histories);
            if is_news {
                *written = Some(Arc::new(histories.clone()));
            }
            is_news
        });
    }

    fn tell(&mut self, plan: &Plan) {
        let mut report = self.agent.report(plan, clock::now());
        if let Ok(network) = &self.executor.network {
            network_keeper::tell_addresses(network, &mut report);
        }
        if let Some(builder) = &self.builder {
            builder.tell(&mut report);
        }
        let nested = self.nested.borrow();
        for instance in &mut report.instances {
            instance.nested = instance.container.as_ref().and_then(|id| nested.get(&id.to_string()).cloned());
        }
        drop(nested);
        told::fit(&mut report.instances, told::NESTED_MAX_BYTES);
        if self.told.as_deref() != Some(&report) {
            self.told = Some(Arc::new(report));
        }
        let generation = self.agent.generation();
        let full = self.told.clone();
        self.content.send_if_modified(|content| {
            let is_same = content.generation == generation
                && matches!((&content.full, &full), (Some(before), Some(now)) if Arc::ptr_eq(before, now));
            *content = report::Content { generation, full };
            !is_same
        });
    }

    /// Whether the room on the disk is so different from what was told last that a minute is too long to wait.
    fn disk_is_other(&self) -> bool {
        let told = self.agent.facts();
        let free_bytes = facts::disk_free_bytes(&self.state_dir);
        free_bytes.abs_diff(told.disk_free_bytes) > told.disk_total_bytes / DISK_NEWS_PART
    }
}

/// Says whether that is another value.
fn replace<T: PartialEq>(value: &mut T, new: T) -> bool {
    let is_other = *value != new;
    *value = new;
    is_other
}

async fn next_of(events: &mut Option<mpsc::Receiver<RuntimeEvent>>) -> Option<RuntimeEvent> {
    match events {
        Some(events) => events.recv().await,
        None => None,
    }
}

async fn sleep_until(at: Option<Mono>) {
    match at {
        Some(at) => tokio::time::sleep_until(clock::timer_at(at)).await,
        None => std::future::pending().await,
    }
}

fn watchdog_interval() -> Duration {
    sd_notify::watchdog_enabled().map_or(Duration::from_secs(3600), |limit| (limit / 2).max(Duration::from_millis(100)))
}
