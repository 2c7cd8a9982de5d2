//! The HTTP API, version 1. Thin: it checks who asks and what, and leaves every decision to the modules behind it.
//!
//! Every answer carries `x-request-id`; every error is an `ErrorBody`. HTTP/1.1 only: a waiting poll costs one connection with small
//! buffers, and HTTP/2 would only make it dearer.

mod admin;
mod agent;
mod auth;
mod body;
mod builds;
mod centre;
mod documents;
mod error;
mod exec;
mod images;
mod logs;
mod observe;
mod pipelines;
mod places;
mod request;
mod run_logs;
mod secrets;
pub mod serve;
#[cfg(test)]
mod tests;
mod tokens;
mod volumes;
mod webhook;

pub use webhook::Refused;

use crate::centre::access::CentreAccess;
use crate::centre::keeper::Keeper;
use crate::control::Board;
use crate::documents::problems::Problems;
use crate::documents::publish::Publisher;
use crate::documents::resolve::ResolveImage;
use crate::hosts::Hosts;
use crate::identity::Identity;
use crate::images::Assembler;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::pipeline::{Orders, Pipelines};
use crate::secrets::Secrets;
use crate::sessions::Sessions;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use coord_store::{SharedStore, StoreRevision};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long an answer about a change waits for the controller to have seen it; it needs milliseconds, unless the store fails.
const BOARD_PATIENCE: Duration = Duration::from_secs(5);

/// Everything that handlers use.
pub struct App {
    /// The store.
    pub store: SharedStore,
    /// Who may do what.
    pub identity: Arc<Identity>,
    /// What agents say, and what they are told.
    pub hosts: Arc<Hosts>,
    /// Sessions between admins and agents.
    pub sessions: Sessions,
    /// Publishes documents.
    pub publisher: Arc<Publisher>,
    /// Knows what images stand for.
    pub images: Arc<dyn ResolveImage>,
    /// The image centre; absent in tests that need none.
    pub centre: Option<Arc<Keeper>>,
    /// Makes images of archives; absent in tests that need none.
    pub assembler: Option<Assembler>,
    /// What people must mend.
    pub problems: Arc<Problems>,
    /// The controller's findings.
    pub board: watch::Receiver<Arc<Board>>,
    /// Pipelines and their runs.
    pub pipelines: Arc<Pipelines>,
    /// What hosts look at and build, and may have the secrets of.
    pub orders: watch::Receiver<Arc<Orders>>,
    /// The folder of secrets.
    pub secrets: Arc<Secrets>,
    /// Tells people of runs.
    pub notifier: Arc<Notifier>,
    /// Whose webhooks were refused lately.
    pub refused: Refused,
    /// Counts.
    pub metrics: Metrics,
    /// Turns true when the process is to end: long polls end with it.
    pub ending: watch::Receiver<bool>,
}

type Shared = axum::extract::State<Arc<App>>;

impl App {
    /// Waits until the controller has seen transaction `at`, so that whoever made the change sees it in the status at once.
    async fn seen(&self, at: StoreRevision) -> Arc<Board> {
        let mut board = self.board.clone();
        let seen = tokio::time::timeout(BOARD_PATIENCE, board.wait_for(|board| board.at >= at)).await;
        match seen {
            Ok(Ok(board)) => Arc::clone(&board),
            Ok(Err(_)) | Err(_) => Arc::clone(&self.board.borrow()),
        }
    }
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let access = Arc::new(CentreAccess::new(Arc::clone(&app.identity)));
    let registry = app.centre.as_ref().map(|keeper| keeper.centre().router_through(access, keeper.through()).with_state(()));
    Router::new()
        .route("/healthz", get(observe::healthz))
        .route("/metrics", get(observe::metrics))
        .route("/v1/hosts/{host}/state", get(agent::state))
        .route("/v1/hosts/{host}/report", post(agent::report))
        .route("/v1/hosts/{host}/sessions/{id}", post(agent::session).get(exec::session))
        .route("/v1/hosts/{host}/builds/{run}/archive", axum::routing::put(builds::archive))
        .route("/v1/hosts/{host}/builds/{run}/log", post(builds::log))
        .route("/v1/hosts/{host}/secrets/{name}", get(secrets::value))
        .route("/v1/secrets", get(secrets::list))
        .route("/v1/pipelines/{name}/webhook", post(webhook::webhook))
        .route("/v1/pipelines", get(pipelines::list))
        .route("/v1/pipelines/{name}", get(pipelines::read).put(pipelines::put).delete(pipelines::delete))
        .route("/v1/pipelines/{name}/look", post(pipelines::look))
        .route("/v1/pipelines/{name}/runs", get(pipelines::runs).post(pipelines::start))
        .route("/v1/pipelines/{name}/runs/{number}", get(pipelines::run))
        .route("/v1/pipelines/{name}/runs/{number}/cancel", post(pipelines::cancel))
        .route("/v1/pipelines/{name}/runs/{number}/logs", get(run_logs::logs))
        .route("/v1/status", get(admin::status))
        .route("/v1/hosts", get(admin::hosts).post(admin::add_host))
        .route("/v1/hosts/{host}", axum::routing::delete(admin::remove_host))
        .route("/v1/images", get(centre::list).post(images::make).delete(centre::remove).layer(DefaultBodyLimit::disable()))
        .route("/v1/deployments", post(images::deploy).layer(DefaultBodyLimit::disable()))
        .route("/v1/images/collect", post(centre::collect))
        .route("/v1/tokens", get(tokens::list).post(tokens::add))
        .route("/v1/tokens/{name}", axum::routing::delete(tokens::remove))
        .route("/v1/workloads/{name}/history", get(admin::history))
        .route("/v1/hosts/{host}/volumes", get(volumes::list))
        .route("/v1/hosts/{host}/volumes/{name}", axum::routing::delete(volumes::remove))
        .route("/v1/workloads/{name}/logs", get(logs::logs))
        .route("/v1/workloads/{name}/exec", get(exec::exec))
        .route("/v1/documents/{name}", get(documents::read).put(documents::put).delete(documents::delete))
        .route("/v1/diff/{name}", post(documents::diff))
        .fallback(request::no_route)
        .method_not_allowed_fallback(request::no_method)
        .merge(registry.unwrap_or_default())
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), request::around))
        .with_state(app)
}
