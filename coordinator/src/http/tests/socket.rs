//! What only a real connection shows: deadlines, broken requests, TLS, the end of the process.

use super::*;
use crate::http::serve::Server;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn serve(bench: &Bench, max_connections: usize) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let server = Server { listener, tls: None, app: Arc::clone(&bench.app), max_connections };
    (address, tokio::spawn(server.run(bench.end.subscribe())))
}

/// Sends `request` as it is and reads until the other end closes.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A reset after the answer is an end too.
    let _ = read.expect("the connection is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn requests_over_a_socket() {
    let bench = Bench::new().await;
    let token = bench.add_host("a").await;
    let (address, _server) = serve(&bench, 100).await;
    let answer = raw(address, "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("x-request-id: ") && answer.ends_with("ok\n"), "{answer}");
    // Someone on this machine needs no token for the metrics.
    let answer = raw(address, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("coord_hosts{"), "{answer}");
    let answer = raw(address, "NONSENSE\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let long = "x".repeat(64 * 1024);
    let answer = raw(address, &format!("GET /healthz HTTP/1.1\r\nhost: x\r\nlong: {long}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    // A body that claims to be larger than the limit is refused without being read.
    let claim = coord_shared::wire::REPORT_MAX_BYTES + 1;
    let head = format!(
        "POST /v1/hosts/a/report HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {claim}\r\n\r\n"
    );
    let answer = raw(address, &head).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too_large"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_too_slowly_is_given_up() {
    let bench = Bench::new().await;
    let token = bench.add_host("a").await;
    let request = axum::http::Request::post("/v1/hosts/a/report").header("authorization", format!("Bearer {token}"));
    let drip = futures_util::stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Some((Ok::<_, std::convert::Infallible>(bytes::Bytes::from_static(b" ")), ()))
    });
    let request = request.body(axum::body::Body::from_stream(drip)).expect("a request");
    let started = crate::clock::moment();
    let response = tower::ServiceExt::oneshot(bench.router.clone(), request).await.expect("answers");
    assert_eq!((response.status().as_u16(), started.elapsed().as_secs()), (408, 30));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let bench = Bench::new().await;
    let (address, _server) = serve(&bench, 1).await;
    let first = TcpStream::connect(address).await.expect("connects");
    let ask = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let second = tokio::spawn(raw(address, ask));
    assert!(
        tokio::time::timeout(Duration::from_millis(200), async {
            while !second.is_finished() {
                tokio::task::yield_now().await
            }
        })
        .await
        .is_err()
    );
    drop(first);
    assert!(second.await.expect("no panic").starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn waiting_polls_end_with_the_process() {
    let bench = Bench::new().await;
    let token = bench.add_host("a").await;
    let (address, server) = serve(&bench, 100).await;
    let etag = bench.send("GET", "/v1/hosts/a/state", Some(&token), "").await.header("etag");
    let poll = format!(
        "GET /v1/hosts/a/state?wait=50s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nif-none-match: {etag}\r\n\r\n"
    );
    let poll = tokio::spawn(async move { raw(address, &poll).await });
    let deadline = crate::clock::moment() + PATIENCE;
    while bench.app.hosts.waiting_polls() == 0 {
        assert!(crate::clock::moment() < deadline, "the poll never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.end.send_replace(true);
    assert!(poll.await.expect("no panic").starts_with("HTTP/1.1 304"));
    tokio::time::timeout(PATIENCE, server).await.expect("the server ends").expect("no panic");
}
