//! Exec and volumes: two sockets joined, and what happens when one of them goes away.

use super::socket::serve;
use super::*;
use coord_attach::{DialError, FrameReader, FrameWriter, dial};
use coord_shared::wire::{ExecRequest, Exit, FRAME_DATA_MAX_BYTES, Frame, Session};
use std::net::SocketAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A coordinator on a real socket, whose one host runs `web`.
struct Line {
    bench: Bench,
    address: SocketAddr,
    token: String,
    http: reqwest::Client,
    _server: tokio::task::JoinHandle<()>,
}

impl Line {
    async fn new() -> Line {
        let bench = Bench::new().await;
        let token = bench.add_host("a").await;
        bench.report(&token, &report("a", 1, &[], &[])).await;
        bench.admin("PUT", "/v1/documents/web", &document("r.lan/web:1", "")).await.is(200);
        let (address, server) = serve(&bench, 100).await;
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        Line { bench, address, token, http, _server: server }
    }

    fn get(&self, path: &str, token: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("http://{}{path}", self.address)).bearer_auth(token)
    }

    async fn admin(&self) -> (FrameReader, FrameWriter) {
        dial(self.get("/v1/workloads/web/exec", &self.bench.admin)).await.expect("a socket")
    }

    /// The agent's long poll.
    async fn session(&self) -> Session {
        let found = async {
            loop {
                let answer = self.get("/v1/hosts/a/state", &self.token).send().await.expect("answers");
                let state = HostState::from_toml(&answer.text().await.expect("a body")).expect("a host state");
                if let Some(session) = state.sessions.into_iter().next() {
                    return session;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("a session")
    }

    async fn agent(&self, session: &Session) -> (FrameReader, FrameWriter) {
        dial(self.get(&format!("/v1/hosts/a/sessions/{}", session.id), &self.token)).await.expect("a socket")
    }
}

fn asked() -> ExecRequest {
    ExecRequest { command: vec!["cat".to_owned()], stdin: true, ..ExecRequest::default() }
}

async fn next(reader: &mut FrameReader) -> Option<Frame> {
    tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time").expect("a frame")
}

#[tokio::test]
async fn frames_travel_both_ways_and_in_order() {
    let line = Line::new().await;
    let (mut from_agent, mut to_agent) = line.admin().await;
    to_agent.request(&asked()).await.expect("sent");
    let session = line.session().await;
    let exec = session.exec.clone().expect("asks for exec");
    assert_eq!((exec.container.as_str(), exec.command.as_slice(), exec.stdin), ("web.0", &["cat".to_owned()][..], true));
    let (mut from_admin, mut to_admin) = line.agent(&session).await;
    for number in 0..100_u8 {
        let data = vec![number; FRAME_DATA_MAX_BYTES];
        to_agent.send(&Frame::Stdin(data.clone())).await.expect("sent");
        assert_eq!(next(&mut from_admin).await, Some(Frame::Stdin(data.clone())));
        to_admin.send(&Frame::Stdout(data.clone())).await.expect("sent");
        assert_eq!(next(&mut from_agent).await, Some(Frame::Stdout(data)));
    }
    to_agent.send(&Frame::Stdin(Vec::new())).await.expect("half-closed");
    assert_eq!(next(&mut from_admin).await, Some(Frame::Stdin(Vec::new())));
    let exit = Exit { code: Some(3), signal: None, oom_killed: false, memory_limit: None, at: jiff::Timestamp::UNIX_EPOCH };
    to_admin.send(&Frame::Exit(exit)).await.expect("sent");
    to_admin.close().await;
    assert_eq!(next(&mut from_agent).await, Some(Frame::Exit(exit)));
    assert_eq!(next(&mut from_agent).await, None);
    // The session is over: nobody else can take it up.
    let again = dial(line.get(&format!("/v1/hosts/a/sessions/{}", session.id), &line.token)).await;
    assert!(matches!(again, Err(DialError::Refused(response)) if response.status() == StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn an_end_that_goes_away_ends_the_other() {
    let line = Line::new().await;
    for admin_goes in [true, false] {
        let (mut from_agent, mut to_agent) = line.admin().await;
        to_agent.request(&asked()).await.expect("sent");
        let session = line.session().await;
        let (mut from_admin, to_admin) = line.agent(&session).await;
        let gone = |end: Result<Option<Frame>, DialError>| matches!(end, Ok(None) | Err(DialError::Broken(_)));
        if admin_goes {
            drop((from_agent, to_agent));
            assert!(gone(tokio::time::timeout(PATIENCE, from_admin.next()).await.expect("in time")));
        } else {
            drop((from_admin, to_admin));
            assert!(gone(tokio::time::timeout(PATIENCE, from_agent.next()).await.expect("in time")));
        }
    }
}

/// Nothing between the ends holds more than a few messages and what the kernel's buffers take.
#[tokio::test]
async fn a_reader_who_stands_still_stops_the_writer() {
    let line = Line::new().await;
    let (mut from_agent, mut to_agent) = line.admin().await;
    to_agent.request(&asked()).await.expect("sent");
    let session = line.session().await;
    let (_from_admin, mut to_admin) = line.agent(&session).await;
    let data = Frame::Stdout(vec![7; FRAME_DATA_MAX_BYTES]);
    let mut sent = 0_usize;
    while tokio::time::timeout(Duration::from_millis(500), to_admin.send(&data)).await.is_ok_and(|sent| sent.is_ok()) {
        sent += 1;
        assert!(sent < 4096, "128 MiB went somewhere");
    }
    for _ in 0..sent {
        assert_eq!(next(&mut from_agent).await.as_ref(), Some(&data));
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let line = Line::new().await;
    let refused = |path: &'static str, token: String, status: u16| {
        let request = line.get(path, &token);
        async move {
            match dial(request).await {
                Err(DialError::Refused(response)) => assert_eq!(response.status().as_u16(), status, "{path}"),
                other => panic!("{path}: {:?}", other.map(drop)),
            }
        }
    };
    let admin = line.bench.admin.clone();
    refused("/v1/workloads/none/exec", admin.clone(), 404).await;
    refused("/v1/workloads/web/exec?index=9", admin.clone(), 404).await;
    refused("/v1/workloads/web/exec?host=b", admin.clone(), 404).await;
    refused("/v1/workloads/web/exec", line.token.clone(), 403).await;
    refused("/v1/hosts/a/sessions/made-up", line.token.clone(), 404).await;
    refused("/v1/hosts/a/sessions/made-up", admin.clone(), 403).await;
    // No WebSocket.
    let plain = line.get("/v1/workloads/web/exec", &admin).send().await.expect("answers");
    assert_eq!(plain.status().as_u16(), 400);
    // A first message that is no request.
    let (mut reader, mut writer) = line.admin().await;
    writer.send(&Frame::Stdin(vec![1])).await.expect("sent");
    assert!(matches!(next(&mut reader).await, Some(Frame::Error(error)) if error.code == "invalid_request"));
    // The agent cannot.
    let (mut reader, mut writer) = line.admin().await;
    writer.request(&asked()).await.expect("sent");
    let session = line.session().await;
    let url = format!("http://{}/v1/hosts/a/sessions/{}", line.address, session.id);
    let refusal = line.http.post(url).bearer_auth(&line.token).header("x-coord-error", "web.0 does not run");
    assert_eq!(refusal.send().await.expect("answers").status().as_u16(), 204);
    assert!(matches!(next(&mut reader).await, Some(Frame::Error(error)) if error.message.contains("web.0 does not run")));
    assert_eq!(next(&mut reader).await, None);
}

#[tokio::test]
async fn a_hosts_volumes_are_its_agents_to_tell() {
    let line = Line::new().await;
    line.bench.admin("GET", "/v1/hosts/none/volumes", "").await.is_error(404, "unknown_host");
    line.bench.admin("DELETE", "/v1/hosts/a/volumes/..", "").await.is_error(400, "bad_request");
    let url = format!("http://{}/v1/hosts/a/volumes/data", line.address);
    let asking = tokio::spawn(line.http.delete(url).bearer_auth(&line.bench.admin).send());
    let session = line.session().await;
    let Some(coord_shared::wire::VolumesRequest::Remove { name }) = session.volumes.clone() else { panic!("{session:?}") };
    assert_eq!(name.as_str(), "data");
    let path = format!("/v1/hosts/a/sessions/{}", session.id);
    line.bench.send("POST", &path, Some(&line.token), "{\"removed\":\"data\"}").await.is(204);
    let answer = asking.await.expect("no panic").expect("answers");
    assert_eq!(answer.text().await.expect("a body").trim(), "{\"removed\":\"data\"}");
}
