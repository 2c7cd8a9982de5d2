//! The door for Prometheus: plain HTTP, one path, no questions asked. Off unless `agent.toml` names an address.

use super::Metrics;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Of the text format that Prometheus reads.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Connections at a time: a Prometheus or two, and somebody with curl.
const CONNECTIONS_MAX: usize = 8;
/// Longest that a connection may take, its answer included: nobody may hold one for ever.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request's head may take, and how large it may be.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// After a failed accept (out of descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until the future is dropped. To be run inside a `LocalSet`.
pub async fn serve(listener: TcpListener, metrics: Metrics) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = metrics.clone();
                tokio::task::spawn_local(async move {
                    // One that took too long is dropped.
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, metrics)).await;
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "metrics: cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, metrics: Metrics) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let metrics = metrics.clone();
        async move {
            let is_right = request.method() == Method::GET && request.uri().path() == "/metrics";
            let text = if is_right { metrics.text().await } else { "only GET /metrics is answered here\n".to_owned() };
            let mut answer = Response::new(Full::new(Bytes::from(text)));
            if !is_right {
                *answer.status_mut() = StatusCode::NOT_FOUND;
            }
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "metrics: a connection ended early");
    }
}
