//! Logs: from the agent's body to the admin's answer.

use super::*;
use crate::clock;
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use coord_shared::wire::Session;
use http_body_util::BodyExt as _;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

/// A coordinator with the workload `web` on these hosts, all of them heard of; and their tokens.
async fn with_web_on(hosts: &[&str]) -> (Arc<Bench>, Vec<String>) {
    let bench = Bench::new().await;
    let mut tokens = Vec::new();
    for name in hosts {
        let token = bench.add_host(name).await;
        bench.report(&token, &report(name, 1, &[], &[])).await;
        tokens.push(token);
    }
    bench.admin("PUT", "/v1/documents/web", &document("r.lan/web:1", "")).await.is(200);
    (Arc::new(bench), tokens)
}

/// The agent's side: waits in the long poll for a session, as a real one does.
async fn next_session(bench: &Bench, name: &str, token: &str) -> Session {
    let path = format!("/v1/hosts/{name}/state");
    let first = bench.send("GET", &path, Some(token), "").await.is(200);
    let state = HostState::from_toml(&first.text()).expect("a host state");
    if let Some(session) = state.sessions.into_iter().next() {
        return session;
    }
    let etag = first.header("etag");
    let request = bench.request("GET", &format!("{path}?wait=50s")).token(token).header("if-none-match", &etag);
    let state = HostState::from_toml(&request.body("").await.is(200).text()).expect("a host state");
    assert_eq!(state.instances.len(), 1, "the state is whole");
    state.sessions.into_iter().next().expect("a session")
}

fn logs(bench: &Arc<Bench>, query: &'static str) -> tokio::task::JoinHandle<Answer> {
    let bench = Arc::clone(bench);
    tokio::spawn(async move { bench.admin("GET", &format!("/v1/workloads/web/logs{query}"), "").await })
}

#[tokio::test(start_paused = true)]
async fn lines_of_all_instances_arrive_with_their_places() {
    let (bench, tokens) = with_web_on(&["a", "b"]).await;
    let answer = logs(&bench, "?tail=7");
    for (name, token) in ["a", "b"].into_iter().zip(&tokens) {
        let session = next_session(&bench, name, token).await;
        let wanted = session.logs.expect("asks for logs");
        assert_eq!((wanted.instance.to_string().as_str(), wanted.tail, wanted.follow), ("web.0", 7, false));
        let path = format!("/v1/hosts/{name}/sessions/{}", session.id);
        let lines = format!("{{\"t\":\"x\",\"s\":\"out\",\"m\":\"hello from {name}\"}}\n\nnot json");
        bench.send("POST", &path, Some(token), &lines).await.is(204);
        bench.send("POST", &path, Some(token), &lines).await.is_error(404, "not_found");
    }
    let answer = answer.await.expect("no panic").is(200);
    let mut lines: Vec<String> = answer.text().lines().map(str::to_owned).collect();
    lines.sort();
    let expect = [
        r#"{"host":"a","instance":"web.0","m":"not json"}"#,
        r#"{"host":"a","instance":"web.0","t":"x","s":"out","m":"hello from a"}"#,
        r#"{"host":"b","instance":"web.0","m":"not json"}"#,
        r#"{"host":"b","instance":"web.0","t":"x","s":"out","m":"hello from b"}"#,
    ];
    assert_eq!(lines, expect);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_cannot_answer_or_does_not_is_an_error() {
    let (bench, tokens) = with_web_on(&["a"]).await;
    let answer = logs(&bench, "");
    let session = next_session(&bench, "a", &tokens[0]).await;
    let path = format!("/v1/hosts/a/sessions/{}", session.id);
    let refusal = bench.request("POST", &path).token(&tokens[0]).header("x-coord-error", "no such log");
    refusal.body("").await.is(204);
    let error = answer.await.expect("no panic").is_error(404, "not_found");
    assert!(error.message.contains("no such log") && error.message.contains("host a"), "{error:?}");
    // Polls, but does not dial in.
    let answer = logs(&bench, "");
    let session = next_session(&bench, "a", &tokens[0]).await;
    answer.await.expect("no panic").is_error(503, "host_unreachable");
    let path = format!("/v1/hosts/a/sessions/{}", session.id);
    bench.send("POST", &path, Some(&tokens[0]), "late\n").await.is_error(404, "not_found");
    // Not heard of for long: nobody waits for it.
    tokio::time::advance(Duration::from_secs(61)).await;
    let started = clock::moment();
    logs(&bench, "").await.expect("no panic").is_error(503, "host_unreachable");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn one_host_that_is_away_does_not_keep_the_lines_of_another() {
    let (bench, tokens) = with_web_on(&["a", "b"]).await;
    tokio::time::advance(Duration::from_secs(61)).await;
    bench.report(&tokens[0], &report("a", 2, &[], &[])).await;
    let answer = logs(&bench, "");
    let session = next_session(&bench, "a", &tokens[0]).await;
    let path = format!("/v1/hosts/a/sessions/{}", session.id);
    bench.send("POST", &path, Some(&tokens[0]), "{\"m\":\"here\"}\n").await.is(204);
    let text = answer.await.expect("no panic").is(200).text();
    assert!(text.contains(r#"{"host":"a","instance":"web.0","m":"here"}"#), "{text}");
    assert!(text.contains(r#"{"host":"b","instance":"web.0","error":"host b is lost"}"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_query_chooses_host_and_index() {
    let (bench, _) = with_web_on(&["a", "b"]).await;
    let check = async |query: &'static str, status, code| {
        logs(&bench, query).await.expect("no panic").is_error(status, code);
    };
    check("?host=nobody", 404, "not_found").await;
    check("?index=1", 404, "not_found").await;
    check("?host=a", 503, "host_unreachable").await;
    check("?tail=many", 400, "bad_request").await;
}

#[tokio::test(start_paused = true)]
async fn a_session_of_another_host_cannot_be_answered() {
    let (bench, tokens) = with_web_on(&["a", "b"]).await;
    let answer = logs(&bench, "?host=a");
    let session = next_session(&bench, "a", &tokens[0]).await;
    let stolen = format!("/v1/hosts/b/sessions/{}", session.id);
    bench.send("POST", &stolen, Some(&tokens[1]), "forged\n").await.is_error(404, "not_found");
    let own = format!("/v1/hosts/a/sessions/{}", session.id);
    bench.send("POST", &own, Some(&tokens[0]), "{\"m\":\"true\"}\n").await.is(204);
    assert!(answer.await.expect("no panic").is(200).text().contains("true"));
}

#[tokio::test(start_paused = true)]
async fn following_passes_lines_on_as_they_come_and_ends_with_the_reader() {
    let (bench, tokens) = with_web_on(&["a"]).await;
    let router = bench.router.clone();
    let request = Request::get("/v1/workloads/web/logs?follow=true").header("authorization", format!("Bearer {}", bench.admin));
    let request = request.body(Body::empty()).expect("a request");
    let reading = tokio::spawn(async move { router.oneshot(request).await.expect("routers do not fail") });
    let session = next_session(&bench, "a", &tokens[0]).await;
    let (lines, body) = mpsc::channel::<&'static str>(8);
    let body = futures_util::stream::unfold(body, async |mut body| {
        body.recv().await.map(|line| (Ok::<_, Infallible>(Bytes::from(line)), body))
    });
    let dial_in = Request::post(format!("/v1/hosts/a/sessions/{}", session.id));
    let dial_in = dial_in.header("authorization", format!("Bearer {}", tokens[0])).body(Body::from_stream(body));
    let agent = tokio::spawn(bench.router.clone().oneshot(dial_in.expect("a request")));
    let mut answer = reading.await.expect("no panic").into_body();
    let mut next = async || {
        let frame = answer.frame().await.expect("goes on").expect("a frame");
        String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
    };
    lines.send("{\"m\":\"one\"}\n{\"m\":").await.expect("is read");
    assert!(next().await.contains("\"m\":\"one\""));
    lines.send("\"two\"}\n").await.expect("is read");
    assert!(next().await.contains("\"m\":\"two\""));
    assert_eq!(next().await, "\n", "a sign of life while nothing comes");
    drop(answer);
    let ended = tokio::time::timeout(Duration::from_secs(5), agent).await.expect("the agent's stream ends too");
    assert_eq!(ended.expect("no panic").expect("answers").status().as_u16(), 204);
}
