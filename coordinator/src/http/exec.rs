//! A program in a container, run by an admin: the admin's socket and the agent's, joined message by message.
//!
//! ```text
//!  admin -- text: ExecRequest -->        then binary messages both ways, each a `coord_shared::wire::Frame`,
//!        <-- binary: Frame ---->         until either side closes
//! ```
//! What can be refused before the socket stands is an ordinary error answer; after that it is an error frame.

use super::auth::{Admin, Agent};
use super::error::ApiError;
use super::places::{Place, places, reachable};
use super::{App, Shared};
use crate::sessions::Duplex;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use coord_shared::names::{HostName, WorkloadName};
use coord_shared::wire::{ErrorBody, ExecRequest, FRAME_MAX_BYTES, Frame};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long an admin may take to say what to run.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request: a command line and its environment.
const REQUEST_MAX_BYTES: usize = 256 * 1024;
/// How long a socket may take to hear the last word and hang up.
const LAST_WORD: Duration = Duration::from_secs(5);
/// While nothing is said, a sign of life for whatever sits between; also finds out that the other end is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
pub(super) struct ExecQuery {
    host: Option<HostName>,
    index: Option<u32>,
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// `GET /v1/workloads/{name}/exec`: the admin's end.
pub(super) async fn exec(
    State(app): Shared,
    Admin { name: admin }: Admin,
    Path(name): Path<String>,
    query: Result<Query<ExecQuery>, QueryRejection>,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let name: WorkloadName = name.parse()?;
    let Query(query) = query.map_err(ApiError::bad_request)?;
    let place = the_place(&app, &name, &query)?;
    reachable(&app, &place.0)?;
    let upgrade = upgrade.map_err(ApiError::bad_request)?.max_message_size(REQUEST_MAX_BYTES).max_frame_size(REQUEST_MAX_BYTES);
    Ok(upgrade.on_upgrade(move |socket| run(app, admin, place, socket)))
}

/// The one instance that is meant.
fn the_place(app: &App, name: &WorkloadName, query: &ExecQuery) -> Result<Place, ApiError> {
    let mut places = places(app, name, query.host.as_ref(), query.index)?;
    if places.len() > 1 {
        let hosts: Vec<String> = places.iter().take(5).map(|(host, instance)| format!("{instance}@{host}")).collect();
        let message = format!("workload {name} has {} instances: {}", places.len(), hosts.join(", "));
        return Err(ApiError::bad_request(message).hint("say which: --host HOST, --index NUMBER"));
    }
    places.pop().ok_or_else(|| ApiError::not_found(format!("workload {name} has no instance")))
}

async fn run(app: Arc<App>, admin: String, (host, instance): Place, mut socket: WebSocket) {
    let asked = match tokio::time::timeout(REQUEST_TIMEOUT, first_text(&mut socket)).await {
        Ok(Some(asked)) => asked,
        Ok(None) | Err(_) => return refuse(socket, "invalid_request", "the first message must be the request, as JSON").await,
    };
    let asked = ExecRequest { container: instance.to_string(), ..asked };
    tracing::info!(%admin, %host, %instance, command = ?asked.command.first(), "exec");
    match app.sessions.exec(&app.hosts, &host, asked).await {
        Ok(agent) => join(socket, agent, app.ending.clone()).await,
        Err(error) => {
            let error = ApiError::from(error);
            refuse(socket, &error.body.code, &error.body.message).await;
        }
    }
}

async fn first_text(socket: &mut WebSocket) -> Option<ExecRequest> {
    loop {
        match socket.recv().await? {
            Ok(Message::Text(text)) => return serde_json::from_str(&text).ok(),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Binary(_) | Message::Close(_)) | Err(_) => return None,
        }
    }
}

async fn refuse(mut socket: WebSocket, code: &str, message: &str) {
    let error = ErrorBody { code: code.to_owned(), message: message.to_owned(), hint: None, detail: None };
    // Nobody may be there any more.
    let _ = socket.send(Message::Binary(Frame::Error(error).encode().into())).await;
    let _ = socket.close().await;
}

/// `GET /v1/hosts/{host}/sessions/{id}`: the agent's end.
pub(super) async fn session(
    State(app): Shared,
    Agent { host }: Agent,
    Path((_, id)): Path<(String, String)>,
    upgrade: Upgrade,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(ApiError::bad_request)?.max_message_size(FRAME_MAX_BYTES).max_frame_size(FRAME_MAX_BYTES);
    let admin = app.sessions.join(&host, &id);
    let admin = admin.ok_or_else(|| ApiError::not_found(format!("session {id} of host {host} is not waited for (any more)")))?;
    let ending = app.ending.clone();
    Ok(upgrade.on_upgrade(move |socket| join(socket, admin, ending)))
}

/// Carries messages between a socket and the other end of its session, until one of them is gone or the coordinator ends.
async fn join(socket: WebSocket, other: Duplex, mut ending: tokio::sync::watch::Receiver<bool>) {
    let (sink, stream) = socket.split();
    let inwards = inwards(stream, other.sender);
    let joined = async {
        tokio::pin!(inwards);
        let is_all_sent = tokio::select! {
            () = &mut inwards => return,
            is_all_sent = outwards(other.receiver, sink) => is_all_sent,
        };
        if is_all_sent {
            // A socket that is closed with something unread in it loses what was said last: it is to be heard first.
            let _ = tokio::time::timeout(LAST_WORD, inwards).await;
        } else {
            // Who reads no more may have left a last word, which is still on its way.
            inwards.await;
        }
    };
    tokio::select! {
        () = joined => {}
        _ = ending.wait_for(|ending| *ending) => {}
    }
}

/// What the socket says, towards the other end.
async fn inwards(mut socket: SplitStream<WebSocket>, other: mpsc::Sender<axum::body::Bytes>) {
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(frame) => {
                if frame.len() > FRAME_MAX_BYTES {
                    return;
                }
                // An end that is gone may have left its last word, which is still on its way out.
                let _ = other.send(frame).await;
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Text(_) | Message::Close(_) => return,
        }
    }
}

/// What the other end says, towards the socket. Returns when that end is gone and all it said is sent; or `false`, when nothing can be
/// sent any more.
async fn outwards(mut other: mpsc::Receiver<axum::body::Bytes>, mut socket: SplitSink<WebSocket, Message>) -> bool {
    loop {
        let message = match tokio::time::timeout(HEARTBEAT, other.recv()).await {
            Ok(Some(frame)) => Message::Binary(frame),
            Ok(None) => break,
            Err(_) => Message::Ping(axum::body::Bytes::new()),
        };
        if socket.send(message).await.is_err() {
            return false;
        }
    }
    let _ = socket.close().await;
    true
}
