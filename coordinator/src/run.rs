//! The daemon: everything opened in order, run side by side, and ended cleanly.

use crate::centre::images::CentreImages;
use crate::centre::keeper::Keeper;
use crate::centre::roots::DocumentRoots;
use crate::clock;
use crate::config::{Config, ConfigError};
use crate::control::{ControlError, Controller, Retention};
use crate::documents::folder::{Documents, Folder, Pace};
use crate::documents::problems::Problems;
use crate::documents::publish::Publisher;
use crate::documents::resolve::ResolveImage;
use crate::documents::waiting::Resolver;
use crate::hosts::Hosts;
use crate::http::serve::{self, Server, TlsError};
use crate::http::{App, Refused};
use crate::identity::{Identity, IdentityError};
use crate::images::Assembler;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::open_files;
use crate::pipeline::{Parts, PipelineController, PipelineFolder, Pipelines, RunFiles};
use crate::registries::Registries;
use crate::schedules::Schedules;
use crate::secrets::Secrets;
use crate::sessions::Sessions;
use coord_centre::{Centre, CentreError};
use coord_registry::RegistryError;
use coord_store::{SharedStore, StoreError};
use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Why the coordinator could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder cannot be used.
    #[error("cannot use the data folder {path}")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process works there.
    #[error("the data folder {path} is in use by another coordinator; stop that one, or set another data_dir")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A part ended that never should; the log has its reason.
    #[error("{0} has ended unexpectedly")]
    Ended(&'static str),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Tokens cannot be loaded.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The first decisions could not be made.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The image centre cannot be opened.
    #[error(transparent)]
    Centre(#[from] CentreError),
    /// The registry client cannot be made.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A coordinator that is ready to serve.
pub struct Coordinator {
    address: SocketAddr,
    config: Config,
    registries: Arc<Registries>,
    controller: Controller,
    pipelines: (PipelineController, Parts),
    schedules: Schedules,
    notifier: Arc<Notifier>,
    retention: Retention,
    resolver: Resolver,
    keeper: Arc<Keeper>,
    /// Of documents, and of pipelines.
    folders: [Folder; 2],
    server: Server,
    end: watch::Sender<bool>,
    ending: watch::Receiver<bool>,
    /// Held for as long as the process works in the data folder.
    lock: File,
}

impl Coordinator {
    /// Opens everything. When it answers, every host's state is compiled and the socket listens.
    pub async fn start(config: Config) -> Result<Self, RunError> {
        config.check()?;
        let registries = Arc::new(Registries::new(&config)?);
        let lock = take_data_dir(&config)?;
        let tls = config.tls.as_ref().map(serve::acceptor).transpose()?;
        let store: SharedStore = coord_store::open(&config.data_dir)?;
        let identity = Arc::new(Identity::load(Arc::clone(&store), &config.data_dir).await?);
        let hosts = Arc::new(Hosts::new(config.liveness.limits()));
        let files = RunFiles::new(&config.data_dir);
        let loaded = PipelineController::load(Arc::clone(&store), Arc::clone(&hosts), files, config.archive_max.0);
        let (pipeline_controller, pipelines) = loaded.await?;
        let (controller, board) = Controller::new(Arc::clone(&store), Arc::clone(&hosts), registries.logins());
        let mut controller = controller.with_orders(pipeline_controller.orders());
        controller.pass().await?;
        let publisher = Arc::new(Publisher::new(Arc::clone(&store)));
        let problems = Arc::<Problems>::default();
        let ImageCentre { keeper, assembler, images } = ImageCentre::open(&config, &store, &registries).await?;
        let resolver = Resolver { store: Arc::clone(&store), publisher: Arc::clone(&publisher), images: Arc::clone(&images) };
        let folders = folders(&config, &store, &publisher, &pipelines, &problems);
        let secrets = Arc::new(Secrets::new(&config.secrets));
        let notifier = Notifier::new(Arc::clone(&store), Arc::clone(&secrets), &config.notify, config.smtp.clone());
        let notifier = Arc::new(notifier);
        let schedules = Schedules::new(Arc::clone(&store), Arc::clone(&pipelines));
        let parts = Parts {
            assembler: Arc::new(assembler.clone()),
            publisher: Arc::clone(&publisher),
            teller: Arc::clone(&notifier) as _,
            board: board.clone(),
            problems: Arc::clone(&problems),
        };
        let retention = Retention::new(Arc::clone(&store), Arc::clone(&hosts));
        let (end, ending) = watch::channel(false);
        let app = App {
            store,
            identity,
            hosts,
            sessions: Sessions::default(),
            publisher,
            images,
            centre: Some(Arc::clone(&keeper)),
            assembler: Some(assembler),
            problems,
            board,
            pipelines,
            orders: pipeline_controller.orders(),
            secrets,
            notifier: Arc::clone(&notifier),
            refused: Refused::default(),
            metrics: Metrics::default(),
            ending: ending.clone(),
        };
        let fail = |source| RunError::Listen { address: config.listen, source };
        let listener = serve::listen(config.listen).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let server = Server { listener, tls, app: Arc::new(app), max_connections: open_files::make_room(config.max_connections) };
        let pipelines = (pipeline_controller, parts);
        Ok(Self {
            address,
            config,
            registries,
            controller,
            pipelines,
            schedules,
            notifier,
            retention,
            resolver,
            folders,
            keeper,
            server,
            end,
            ending,
            lock,
        })
    }

    /// Where it listens; of interest where the port was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `stop` completes, then ends cleanly. An error if a part of it ended by itself.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        clock::mark_process_start();
        let Self {
            config,
            registries,
            controller,
            pipelines,
            schedules,
            notifier,
            retention,
            resolver,
            folders,
            keeper,
            server,
            end,
            ending,
            lock,
            ..
        } = self;
        let [documents, of_pipelines] = folders;
        let (pipelines, parts) = pipelines;
        let mut serving = tokio::spawn(server.run(ending));
        let ended = tokio::select! {
            () = stop => None,
            () = spawned(controller.run()) => Some("the controller"),
            () = spawned(retention.run()) => Some("the tidying of the store"),
            () = spawned(resolver.run()) => Some("the resolver"),
            () = spawned(registries.run(config)) => Some("the reader of the configuration"),
            () = spawned(keeper.run()) => Some("the keeper of the image centre"),
            () = spawned(documents.run()) => Some("the folder source"),
            () = spawned(of_pipelines.run()) => Some("the folder source of pipelines"),
            () = spawned(pipelines.run(parts)) => Some("the controller of pipelines"),
            () = spawned(schedules.run()) => Some("the reader of schedules"),
            () = spawned(notifier.run()) => Some("the teller of runs"),
            _ = &mut serving => Some("the server"),
        };
        end.send_replace(true);
        if !serving.is_finished() && serving.await.is_err() {
            tracing::error!("the server has panicked");
        }
        drop(lock);
        ended.map_or(Ok(()), |part| Err(RunError::Ended(part)))
    }
}

/// The image centre, and who uses it here.
struct ImageCentre {
    keeper: Arc<Keeper>,
    assembler: Assembler,
    images: Arc<dyn ResolveImage>,
}

impl ImageCentre {
    async fn open(config: &Config, store: &SharedStore, registries: &Arc<Registries>) -> Result<Self, RunError> {
        let client = || {
            let registries = Arc::clone(registries);
            move || registries.client()
        };
        let centre = Centre::open(&config.centre.centre(&config.data_dir), Arc::clone(store))?;
        centre.count_stored().await?;
        let roots = Arc::new(DocumentRoots::new(Arc::clone(store), config.centre.through.clone()));
        let keeper = Arc::new(Keeper::new(centre.clone(), roots, &config.centre, Arc::new(client())));
        let assembler = Assembler::new(centre.clone(), client(), work_dir(config)?);
        let others: Arc<dyn ResolveImage> = registries.clone();
        let images = Arc::new(CentreImages::new(centre, keeper.through(), others));
        Ok(Self { keeper, assembler, images })
    }
}

/// The watched folders: of documents, and of pipelines.
fn folders(
    config: &Config,
    store: &SharedStore,
    publisher: &Arc<Publisher>,
    pipelines: &Arc<Pipelines>,
    problems: &Arc<Problems>,
) -> [Folder; 2] {
    let documents = Documents { store: Arc::clone(store), publisher: Arc::clone(publisher) };
    let documents = Folder::new(config.documents.clone(), Arc::new(documents), Arc::clone(problems), Pace::default());
    let of_pipelines = PipelineFolder { pipelines: Arc::clone(pipelines), store: Arc::clone(store) };
    let of_pipelines = Folder::new(config.pipelines_folder(), Arc::new(of_pipelines), Arc::clone(problems), Pace::default());
    [documents, of_pipelines]
}

/// Runs a part as a task of its own, so that parts do not wait for each other; it ends with the waiting for it.
async fn spawned(part: impl Future<Output = ()> + Send + 'static) {
    // An error is a panic in the part; whoever waits learns that it has ended, and the panic is on stderr.
    let _ = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(part)).await;
}

/// Where archives are unpacked that become images: on the disk of the data folder, not in memory. Nothing in it has a name for longer than
/// one request, so what is there is left of a process that was killed.
fn work_dir(config: &Config) -> Result<PathBuf, RunError> {
    let path = config.data_dir.join("images");
    let fail = |source| RunError::DataDir { path: path.clone(), source };
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    std::fs::create_dir(&path).map_err(fail)?;
    Ok(path)
}

/// Makes the data folder, and takes it for this process alone: two coordinators would tell the same agents different things. It
/// holds who may command the fleet, so nobody else may read it.
fn take_data_dir(config: &Config) -> Result<File, RunError> {
    let path = &config.data_dir;
    let fail = |source| RunError::DataDir { path: path.clone(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
    let lock = File::create(path.join("lock")).map_err(fail)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(RunError::InUse { path: path.clone() }),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}
