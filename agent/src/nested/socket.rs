//! The first socket: HTTP/1.1, for whoever is in the container. How many connections at a time, and how much each may send.
//!
//! What is asked is somebody else's: nothing of it is believed, and no door takes more of the agent than its share.

use super::body::refused;
use super::door::Door;
use super::refusal::refuse;
use super::routes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at a time, beside one for each second container that may run: whoever waits for its end holds one.
const CONNECTIONS_MAX: usize = 32;
/// Largest head of a request. The program sends some hundred bytes.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// How long a request's head may take, and a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept (out of descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A place among the connections; work that goes on when its connection is gone keeps it.
pub(super) type Turn = Arc<OwnedSemaphorePermit>;

/// Between two looks whether the start of the container is known here.
const START_PAUSE: Duration = Duration::from_millis(2);

/// Serves connections until the future is dropped.
pub(super) async fn serve(listener: UnixListener, door: Arc<Door>) {
    // It may knock with its first instruction, and has to wait until what is asked can be done: nobody is told that he is not there.
    while !door.parent_lives() {
        tokio::time::sleep(START_PAUSE).await;
    }
    let count = CONNECTIONS_MAX.saturating_add(door.about.permission.containers as usize);
    let turns = Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match Arc::clone(&turns).try_acquire_owned() {
                Ok(turn) => drop(tokio::task::spawn_local(connection(stream, door.clone(), Arc::new(turn)))),
                Err(_) => turn_away(&stream, count),
            },
            Err(error) => {
                tracing::warn!(container = %door.about.container, %error, "its door cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// In one breath: nobody waits for whoever comes when there are too many.
fn turn_away(stream: &UnixStream, count: usize) {
    let error = refuse("too_many_connections", format!("{count} connections are open; close some, or ask again later"));
    let text = serde_json::to_string(&error).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    // Whoever does not read it sees the connection close.
    let _ = stream.try_write(format!("{head}{text}").as_bytes());
}

async fn connection(stream: UnixStream, door: Arc<Door>, turn: Turn) {
    let service = service_fn(|request| {
        let (door, turn) = (door.clone(), turn.clone());
        async move {
            Ok::<_, Infallible>(match door.check_open() {
                Ok(()) => routes::answer(request, &door, &turn).await,
                Err(error) => refused(&error),
            })
        }
    });
    let mut stage = door.stage.subscribe();
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::debug!(container = %door.about.container, %error, "its door: a connection ended early");
        },
        _ = stage.wait_for(|stage| *stage == super::door::Stage::Closed) => {}
    }
}
