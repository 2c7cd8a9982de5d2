//! A whole coordinator in process: memory store, table of images, controller and resolver at work.

use super::super::*;
use crate::control::Controller;
use crate::documents::publish::{Submission, Submitted};
use crate::documents::resolve::fake::FakeImages;
use crate::documents::waiting::Resolver;
use crate::notify::{Notifier, NotifyConfig};
use crate::pipeline::fake::FakeLine;
use crate::pipeline::{Parts, PipelineController, RunFiles};
use crate::records::Source;
use crate::secrets::Secrets;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use coord_centre::{Centre, CentreConfig};
use coord_registry::Registry;
use coord_shared::decide::liveness::LivenessLimits;
use coord_shared::names::{ContainerId, HostName};
use coord_shared::wire::{ErrorBody, FullReport, HostFacts, InstanceReport, InstanceState, NewHostAnswer, Report, WIRE_VERSION};
use coord_store::{FaultyStore, MemoryStore};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt as _;

/// Small enough to be exceeded by a test.
pub(super) const ARCHIVE_MAX_BYTES: u64 = 1024 * 1024;

/// The coordinator under test.
pub(super) struct Bench {
    pub(super) app: Arc<App>,
    pub(super) router: Router,
    /// An admin's token.
    pub(super) admin: String,
    pub(super) end: watch::Sender<bool>,
    /// Makes images, and is told of ends.
    pub(super) line: Arc<FakeLine>,
    /// Fails on demand.
    pub(super) store: Arc<FaultyStore>,
    pub(super) dir: tempfile::TempDir,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Bench {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self::over(dir, Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()))), Arc::default()).await
    }

    /// What a process does that starts where this one was killed.
    pub(super) async fn restarted(self) -> Self {
        let Self { dir, store, line, tasks, .. } = self;
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        Self::over(dir, store, line).await
    }

    async fn over(dir: tempfile::TempDir, faulty: Arc<FaultyStore>, line: Arc<FakeLine>) -> Self {
        let store: SharedStore = Arc::clone(&faulty) as _;
        let identity = Arc::new(Identity::load(Arc::clone(&store), dir.path()).await.expect("loads"));
        let admin = std::fs::read_to_string(dir.path().join("admin-token")).expect("the token").trim().to_owned();
        let hosts = Arc::new(Hosts::new(LivenessLimits::default()));
        let files = RunFiles::new(dir.path());
        let loaded = PipelineController::load(Arc::clone(&store), Arc::clone(&hosts), files, ARCHIVE_MAX_BYTES).await;
        let (pipeline_controller, pipelines) = loaded.expect("loads");
        let (controller, board) = Controller::new(Arc::clone(&store), Arc::clone(&hosts), watch::channel(Arc::default()).1);
        let mut controller = controller.with_orders(pipeline_controller.orders());
        controller.pass().await.expect("passes");
        let publisher = Arc::new(Publisher::new(Arc::clone(&store)));
        let images = Arc::<FakeImages>::default();
        images.serve("r.lan/web:1", "one");
        images.serve("r.lan/web:2", "two");
        let resolver =
            Resolver { store: Arc::clone(&store), publisher: Arc::clone(&publisher), images: Arc::clone(&images) as _ };
        let (end, ending) = watch::channel(false);
        let problems = Arc::<crate::documents::problems::Problems>::default();
        let parts = Parts {
            assembler: Arc::clone(&line) as _,
            publisher: Arc::clone(&publisher),
            teller: Arc::clone(&line) as _,
            board: board.clone(),
            problems: Arc::clone(&problems),
        };
        let orders = pipeline_controller.orders();
        let secrets = Arc::new(Secrets::new(&dir.path().join("secrets")));
        let notifier = Notifier::new(Arc::clone(&store), Arc::clone(&secrets), &NotifyConfig::default(), None);
        let notifier = Arc::new(notifier);
        let tasks = vec![spawn(controller.run()), spawn(resolver.run()), spawn(pipeline_controller.run(parts))];
        let centre = Centre::open(&CentreConfig::new(dir.path().join("centre")), Arc::clone(&store)).expect("opens");
        let registry = Registry::new(Vec::new(), []).expect("no entries, no mistakes");
        let assembler = Assembler::new(centre, move || registry.clone(), dir.path().to_owned());
        let app = Arc::new(App {
            store,
            identity,
            hosts,
            sessions: Sessions::default(),
            publisher,
            images,
            centre: None,
            assembler: Some(assembler),
            problems,
            board,
            pipelines,
            orders,
            secrets,
            notifier,
            refused: Refused::default(),
            metrics: Metrics::default(),
            ending,
        });
        Self { router: router(Arc::clone(&app)), app, admin, end, line, store: faulty, dir, tasks }
    }

    /// Writes a secret.
    pub(super) fn secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = self.dir.path().join("secrets");
        std::fs::create_dir_all(&folder).expect("makes");
        std::fs::write(folder.join(name), text).expect("writes");
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600)).expect("sets rights");
    }

    pub(super) fn request(&self, method: &str, path: &str) -> Asked {
        let builder = Request::builder().method(method).uri(path);
        Asked { router: self.router.clone(), builder }
    }

    pub(super) async fn send(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Answer {
        let request = self.request(method, path);
        let request = match token {
            Some(token) => request.token(token),
            None => request,
        };
        request.body(body).await
    }

    /// As an admin.
    pub(super) async fn admin(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, path, Some(&self.admin), body).await
    }

    /// Makes a host known; its token.
    pub(super) async fn add_host(&self, name: &str) -> String {
        let body = format!("{{\"host\":\"{name}\"}}");
        let answer: NewHostAnswer = self.admin("POST", "/v1/hosts", &body).await.is(201).json();
        answer.token
    }

    /// Reports as the agent of the report's host; afterwards the controller has had its turn.
    pub(super) async fn report(&self, token: &str, report: &Report) {
        let path = format!("/v1/hosts/{}/report", report.host);
        let body = serde_json::to_string(report).expect("JSON");
        self.send("POST", &path, Some(token), &body).await.is(200);
        self.settled().await;
    }

    /// Lets every task run until all of them wait; time stands still meanwhile.
    pub(super) async fn settled(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    /// Publishes as the folder source does.
    pub(super) async fn publish_from_folder(&self, name: &str, text: &str) {
        let source = Source::Folder(format!("{name}.toml"));
        let name: coord_shared::names::WorkloadName = name.parse().expect("a workload name");
        let submission = Submission { name: name.clone(), text: text.to_owned(), source, take_over: false };
        if let Submitted::Waiting(at) = self.app.publisher.submit(submission).await.expect("is taken") {
            assert_eq!(self.app.publisher.waiting.outcome(&name, at, Duration::from_secs(5)).await, None);
        }
        self.settled().await;
    }
}

fn spawn(part: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(part))
}

/// A request being put together.
pub(super) struct Asked {
    router: Router,
    builder: axum::http::request::Builder,
}

impl Asked {
    pub(super) fn header(self, name: &str, value: &str) -> Self {
        Self { builder: self.builder.header(name, value), ..self }
    }

    pub(super) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(super) async fn body(self, body: &str) -> Answer {
        self.body_bytes(body.as_bytes().to_vec()).await
    }

    pub(super) async fn body_bytes(self, body: Vec<u8>) -> Answer {
        let request = self.builder.body(Body::from(body)).expect("a request");
        let response = self.router.oneshot(request).await.expect("routers do not fail");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        Answer { status, headers, body: body.to_vec() }
    }
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(super) fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    #[track_caller]
    pub(super) fn is_error(&self, status: u16, code: &str) -> ErrorBody {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        let error: ErrorBody = self.json();
        assert_eq!(error.code, code, "{error:?}");
        assert!(!error.message.is_empty());
        error
    }

    #[track_caller]
    pub(super) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(super) fn header(&self, name: &str) -> String {
        self.headers.get(name).expect("the header").to_str().expect("text").to_owned()
    }
}

pub(super) fn host(name: &str) -> HostName {
    name.parse().expect("a host name")
}

pub(super) fn document(image: &str, extra: &str) -> String {
    format!("image = \"{image}\"\nhosts = [\"*\"]\n{extra}\n")
}

pub(super) fn heartbeat(name: &str, sequence: u64) -> Report {
    Report {
        version: WIRE_VERSION,
        host: host(name),
        agent_version: "1".to_owned(),
        sequence,
        agent_run: "run".to_owned(),
        generation: None,
        full: None,
    }
}

/// A full report with these labels and ready containers.
pub(super) fn report(name: &str, sequence: u64, labels: &[(&str, &str)], containers: &[&str]) -> Report {
    let instances = containers.iter().map(|container| {
        let container: ContainerId = container.parse().expect("a container");
        InstanceReport {
            instance: container.instance.clone(),
            state: InstanceState::Running,
            revision: Some(container.revision),
            ready: true,
            since: jiff::Timestamp::UNIX_EPOCH,
            restarts: 0,
            last_exit: None,
            container: Some(container),
            pid: None,
            reason: None,
            health: None,
            loosened: Vec::new(),
            addresses: Vec::new(),
            nested: None,
        }
    });
    let full = FullReport {
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        facts: HostFacts::default(),
        instances: instances.collect(),
        prefetch: Vec::new(),
        problems: Vec::new(),
        ..FullReport::default()
    };
    Report { full: Some(full), ..heartbeat(name, sequence) }
}
