//! The API, route by route: who may, what comes back, and every error by its code. Most of it in process; what depends on
//! connections (deadlines, broken bodies, streams) is in `socket.rs`.

mod bench;
mod builds;
mod exec;
mod images;
mod line;
mod logs;
mod pipelines;
mod run_logs;
mod socket;
mod webhook;

use super::*;
use axum::http::StatusCode;
use bench::{Answer, Bench, document, heartbeat, host, report};
use coord_shared::decide::liveness::Liveness;
use coord_shared::decide::reason::Reason;
use coord_shared::names::Revision;
use coord_shared::wire::{DiffView, HistoryAction, HistoryView, HostState, HostsView, NewHostAnswer, ReportAnswer, StatusView};

#[tokio::test(start_paused = true)]
async fn every_route_says_who_may_use_it() {
    let bench = Bench::new().await;
    let agent = bench.add_host("a").await;
    bench.add_host("b").await;
    let admin = bench.admin.clone();
    let admin_routes = [
        ("GET", "/v1/status"),
        ("GET", "/v1/hosts"),
        ("POST", "/v1/hosts"),
        ("DELETE", "/v1/hosts/a"),
        ("GET", "/v1/workloads/web/history"),
        ("GET", "/v1/workloads/web/logs"),
        ("GET", "/v1/workloads/web/exec"),
        ("GET", "/v1/hosts/a/volumes"),
        ("DELETE", "/v1/hosts/a/volumes/data"),
        ("GET", "/v1/documents/web"),
        ("PUT", "/v1/documents/web"),
        ("DELETE", "/v1/documents/web"),
        ("POST", "/v1/diff/web"),
        ("GET", "/v1/pipelines"),
        ("GET", "/v1/pipelines/shop"),
        ("PUT", "/v1/pipelines/shop"),
        ("DELETE", "/v1/pipelines/shop"),
        ("POST", "/v1/pipelines/shop/look"),
        ("GET", "/v1/pipelines/shop/runs"),
        ("POST", "/v1/pipelines/shop/runs"),
        ("GET", "/v1/pipelines/shop/runs/1"),
        ("POST", "/v1/pipelines/shop/runs/1/cancel"),
        ("GET", "/v1/pipelines/shop/runs/1/logs"),
    ];
    for (method, path) in admin_routes {
        bench.send(method, path, None, "").await.is_error(401, "unauthorized");
        bench.send(method, path, Some("coord-admin-made-up"), "").await.is_error(401, "unauthorized");
        bench.send(method, path, Some(&agent), "").await.is_error(403, "forbidden");
    }
    let agent_routes = [
        ("GET", "/v1/hosts/b/state"),
        ("POST", "/v1/hosts/b/report"),
        ("POST", "/v1/hosts/b/sessions/x"),
        ("PUT", "/v1/hosts/b/builds/shop.1/archive"),
        ("POST", "/v1/hosts/b/builds/shop.1/log"),
    ];
    for (method, path) in agent_routes {
        bench.send(method, path, None, "").await.is_error(401, "unauthorized");
        bench.send(method, path, Some(&agent), "").await.is_error(403, "forbidden");
    }
    bench.send("POST", "/v1/hosts/a/report", Some(&admin), "").await.is_error(403, "forbidden");
    bench.send("GET", "/v1/hosts/a/state", Some(&admin), "").await.is(200);
    bench.send("GET", "/v1/hosts/nobody/state", Some(&admin), "").await.is_error(404, "unknown_host");
    bench.send("GET", "/v1/hosts/NOT%20A%20NAME/state", Some(&admin), "").await.is_error(400, "bad_request");
    bench.send("GET", "/healthz", None, "").await.is(200);
    bench.send("GET", "/metrics", None, "").await.is_error(401, "unauthorized");
    bench.send("GET", "/metrics", Some(&admin), "").await.is(200);
    let odd = bench.request("GET", "/v1/status").header("authorization", "Basic abc").body("").await;
    odd.is_error(401, "unauthorized");
    assert_eq!(odd.header("www-authenticate"), "Bearer");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_said_in_the_same_shape() {
    let bench = Bench::new().await;
    bench.admin("GET", "/v2/status", "").await.is_error(404, "not_found");
    bench.admin("DELETE", "/v1/status", "").await.is_error(405, "method_not_allowed");
    bench.admin("GET", "/v1/documents/web", "").await.is_error(404, "not_found");
    bench.admin("GET", "/v1/documents/Not_A_Name", "").await.is_error(400, "bad_request");
    bench.admin("GET", "/v1/workloads/web/history", "").await.is_error(404, "not_found");
    bench.admin("GET", "/v1/workloads/web/logs", "").await.is_error(404, "not_found");
    bench.admin("DELETE", "/v1/documents/web", "").await.is_error(404, "not_found");
    bench.admin("POST", "/v1/diff/web", "").await.is_error(404, "not_found");
    bench.admin("DELETE", "/v1/hosts/web-1", "").await.is_error(404, "unknown_host");
}

#[tokio::test(start_paused = true)]
async fn bad_bodies_and_parameters_are_refused_by_name() {
    let bench = Bench::new().await;
    let token = bench.add_host("a").await;
    let report_path = "/v1/hosts/a/report";
    bench.admin("POST", "/v1/hosts", "{").await.is_error(400, "bad_request");
    bench.admin("POST", "/v1/hosts", "{\"host\":\"UPPER\"}").await.is_error(400, "bad_request");
    bench.send("POST", report_path, Some(&token), "garbage").await.is_error(400, "bad_request");
    let huge = " ".repeat(coord_shared::wire::REPORT_MAX_BYTES + 1);
    bench.send("POST", report_path, Some(&token), &huge).await.is_error(413, "too_large");
    let typed = bench.request("POST", report_path).token(&token).header("content-type", "text/html").body("{}").await;
    typed.is_error(415, "unsupported_media_type");
    let mut newer = heartbeat("a", 1);
    newer.version += 1;
    bench
        .send("POST", report_path, Some(&token), &serde_json::to_string(&newer).expect("JSON"))
        .await
        .is_error(400, "bad_request");
    let other = serde_json::to_string(&heartbeat("b", 1)).expect("JSON");
    bench.send("POST", report_path, Some(&token), &other).await.is_error(403, "forbidden");
    let labels = serde_json::to_string(&report("a", 1, &[("bad key", "x")], &[])).expect("JSON");
    bench.send("POST", report_path, Some(&token), &labels).await.is_error(400, "bad_request");
    bench.send("GET", "/v1/hosts/a/state?wait=soon", Some(&token), "").await.is_error(400, "bad_request");
    bench.send("POST", "/v1/hosts/a/sessions/none", Some(&token), "").await.is_error(404, "not_found");

    bench.admin("PUT", "/v1/documents/web", "").await.is_error(400, "bad_request");
    bench.admin("PUT", "/v1/documents/web?take_over=perhaps", &document("r.lan/web:1", "")).await.is_error(400, "bad_request");
    let huge = "#".repeat(coord_shared::document::DOCUMENT_MAX_BYTES + 1);
    bench.admin("PUT", "/v1/documents/web", &huge).await.is_error(413, "too_large");
    let bytes = bench.request("PUT", "/v1/documents/web").token(&bench.admin).body_bytes(b"image = \"\xff\"".to_vec()).await;
    bytes.is_error(422, "invalid_document");
    let json = bench.request("PUT", "/v1/documents/web").token(&bench.admin).header("content-type", "application/json");
    json.body("{}").await.is_error(415, "unsupported_media_type");
    let invalid = bench.admin("PUT", "/v1/documents/web", "image = 1\nhosts = []\n").await;
    let error = invalid.is_error(422, "invalid_document");
    let detail = error.detail.expect("rendered diagnostics");
    assert!(detail.contains("web.toml:1:9") && detail.contains("hosts"), "{detail}");
    bench.admin("POST", "/v1/diff/web", "image = 1").await.is_error(422, "invalid_document");
}

#[tokio::test(start_paused = true)]
async fn a_request_id_is_kept_if_it_is_one_and_made_if_not() {
    let bench = Bench::new().await;
    let with = |id: &'static str| bench.request("GET", "/healthz").header("x-request-id", id).body("");
    assert_eq!(with("abc-1_2.3").await.header("x-request-id"), "abc-1_2.3");
    for bad in ["", "two words", "semi;colon", &"x".repeat(65)] {
        let answer = bench.request("GET", "/healthz").header("x-request-id", bad).body("").await;
        assert_eq!(answer.header("x-request-id").len(), 16, "{bad:?}");
    }
    assert_eq!(bench.send("GET", "/v2", None, "").await.header("x-request-id").len(), 16);
}

#[tokio::test(start_paused = true)]
async fn hosts_come_report_and_go() {
    let bench = Bench::new().await;
    let answer = bench.admin("POST", "/v1/hosts", "{\"host\":\"a\"}").await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let first: NewHostAnswer = answer.json();
    assert!(first.token.starts_with("coord-agent-"));
    let path = "/v1/hosts/a/report";
    let beat = serde_json::to_string(&heartbeat("a", 1)).expect("JSON");
    let said: ReportAnswer = bench.send("POST", path, Some(&first.token), &beat).await.is(200).json();
    assert!(said.send_full);
    let full = serde_json::to_string(&report("a", 2, &[("role", "web")], &[])).expect("JSON");
    let said: ReportAnswer = bench.send("POST", path, Some(&first.token), &full).await.is(200).json();
    assert!(!said.send_full);
    bench.settled().await;
    let hosts: HostsView = bench.admin("GET", "/v1/hosts", "").await.is(200).json();
    let view = &hosts.hosts[0];
    assert_eq!((view.name.as_str(), view.liveness, view.labels["role"].as_str()), ("a", Liveness::Ready, "web"));
    // A new token ends the old one; removing the host ends both.
    let second = bench.add_host("a").await;
    bench.send("POST", path, Some(&first.token), &beat).await.is_error(401, "unauthorized");
    let hosts: HostsView = bench.admin("GET", "/v1/hosts", "").await.is(200).json();
    assert_eq!(hosts.hosts[0].labels["role"], "web", "its labels stay");
    bench.admin("DELETE", "/v1/hosts/a", "").await.is(204);
    bench.send("POST", path, Some(&second), &beat).await.is_error(401, "unauthorized");
    let hosts: HostsView = bench.admin("GET", "/v1/hosts", "").await.is(200).json();
    assert!(hosts.hosts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn documents_are_put_read_changed_and_deleted() {
    let bench = Bench::new().await;
    let token = bench.add_host("a").await;
    let path = "/v1/documents/web";
    let text = document("r.lan/web:1", "");
    let made: DiffView = bench.admin("PUT", path, &text).await.is(200).json();
    assert_eq!((made.current, made.published, made.starts_on), (None, Some(Revision(1)), vec![host("a")]));
    assert!(made.changes.iter().any(|c| c.key == "image"), "{:?}", made.changes);
    assert_eq!(bench.admin("GET", path, "").await.is(200).text(), text);
    // Whoever published sees it in the status at once.
    let status: StatusView = bench.admin("GET", "/v1/status", "").await.is(200).json();
    let view = &status.workloads[0];
    assert_eq!((view.revision, view.targets, view.ready, view.source.as_str()), (Some(Revision(1)), 1, 0, "api:admin"));
    assert_eq!(view.instances[0].assigned, Some(Revision(1)));
    let state = HostState::from_toml(&bench.send("GET", "/v1/hosts/a/state", Some(&token), "").await.is(200).text());
    assert_eq!(state.expect("a host state").instances[0].document, text);
    // The same again is no change.
    let same: DiffView = bench.admin("PUT", path, &text).await.is(200).json();
    assert_eq!((same.current, same.published, same.changes.len(), same.replaces_on.len()), (Some(Revision(1)), None, 0, 0));
    // A diff publishes nothing.
    let changed = document("r.lan/web:2", "");
    let diff: DiffView = bench.admin("POST", "/v1/diff/web", &changed).await.is(200).json();
    assert_eq!((diff.current, diff.published, diff.replaces_on.clone()), (Some(Revision(1)), None, vec![host("a")]));
    assert!(diff.changes.iter().all(|c| c.key == "image" && c.replaces), "{:?}", diff.changes);
    let gone: DiffView = bench.admin("POST", "/v1/diff/web", "").await.is(200).json();
    assert_eq!(gone.stops_on, [host("a")]);
    let put: DiffView = bench.admin("PUT", path, &changed).await.is(200).json();
    assert_eq!((put.published, put.replaces_on, put.changes), (Some(Revision(2)), vec![host("a")], diff.changes));
    let deleted: DiffView = bench.admin("DELETE", path, "").await.is(200).json();
    assert_eq!((deleted.published, deleted.stops_on), (Some(Revision(3)), vec![host("a")]));
    bench.admin("GET", path, "").await.is_error(404, "not_found");
    let status: StatusView = bench.admin("GET", "/v1/status", "").await.is(200).json();
    assert!(status.workloads.is_empty(), "nothing of it runs anywhere");
    let history: HistoryView = bench.admin("GET", "/v1/workloads/web/history", "").await.is(200).json();
    let actions: Vec<_> = history.entries.iter().map(|e| (e.revision.0, e.action)).collect();
    assert_eq!(actions, [(3, HistoryAction::Delete), (2, HistoryAction::Update), (1, HistoryAction::Create)]);
    assert!(history.entries.iter().all(|e| e.who == "admin" && e.source == "api:admin"));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_workload_is_shown_until_its_hosts_are_rid_of_it() {
    let bench = Bench::new().await;
    let token = bench.add_host("a").await;
    bench.admin("PUT", "/v1/documents/web", &document("r.lan/web:1", "")).await.is(200);
    bench.report(&token, &report("a", 1, &[], &["web.0-r1-1"])).await;
    bench.settled().await;
    let status: StatusView = bench.admin("GET", "/v1/status", "").await.is(200).json();
    assert_eq!((status.workloads[0].ready, status.workloads[0].deleting), (1, false));
    bench.admin("DELETE", "/v1/documents/web", "").await.is(200);
    let status: StatusView = bench.admin("GET", "/v1/status", "").await.is(200).json();
    let view = &status.workloads[0];
    assert_eq!((view.deleting, view.revision, view.targets, view.instances[0].assigned), (true, None, 0, None));
    bench.report(&token, &report("a", 2, &[], &[])).await;
    let status: StatusView = bench.admin("GET", "/v1/status", "").await.is(200).json();
    assert!(status.workloads.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_document_whose_image_cannot_be_resolved_is_accepted_and_shown_waiting() {
    let bench = Bench::new().await;
    let answer = bench.admin("PUT", "/v1/documents/web", &document("r.lan/absent:1", "")).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let view: DiffView = answer.json();
    assert!(matches!(view.reasons.first(), Some(Reason::ImageUnresolved { .. })), "{view:?}");
    assert_eq!(view.published, None);
    let status: StatusView = bench.admin("GET", "/v1/status", "").await.is(200).json();
    let shown = &status.workloads[0];
    assert_eq!((shown.revision, shown.source.as_str()), (None, "api:admin"));
    assert!(matches!(shown.reasons.first(), Some(Reason::ImageUnresolved { .. })));
    assert_eq!(bench.admin("GET", "/v1/documents/web", "").await.is(200).text(), document("r.lan/absent:1", ""));
    let diff: DiffView = bench.admin("POST", "/v1/diff/db", &document("r.lan/absent:1", "")).await.is(200).json();
    assert!(matches!(diff.reasons.first(), Some(Reason::ImageUnresolved { .. })));
    bench.admin("DELETE", "/v1/documents/web", "").await.is(200);
    let status: StatusView = bench.admin("GET", "/v1/status", "").await.is(200).json();
    assert!(status.workloads.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_name_of_the_folder_is_taken_over_only_when_asked_for() {
    let bench = Bench::new().await;
    bench.publish_from_folder("web", &document("r.lan/web:1", "")).await;
    let path = "/v1/documents/web";
    let text = document("r.lan/web:2", "");
    let error = bench.admin("PUT", path, &text).await.is_error(409, "conflict");
    assert!(error.message.contains("folder:web.toml") && error.hint.expect("a cure").contains("take_over=true"));
    bench.admin("DELETE", path, "").await.is_error(409, "conflict");
    let taken: DiffView = bench.admin("PUT", &format!("{path}?take_over=true"), &text).await.is(200).json();
    assert_eq!(taken.published, Some(Revision(2)));
    bench.admin("DELETE", path, "").await.is(200);
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_its_own_host_and_is_answered_304_when_nothing_came() {
    let bench = Bench::new().await;
    let token = bench.add_host("a").await;
    let first = bench.send("GET", "/v1/hosts/a/state", Some(&token), "").await.is(200);
    let etag = first.header("etag");
    assert_eq!(first.header("content-type"), "application/toml");
    let poll = |wait: &str| {
        let path = format!("/v1/hosts/a/state?wait={wait}");
        bench.request("GET", &path).token(&token).header("if-none-match", &etag).body("")
    };
    let started = crate::clock::moment();
    assert_eq!(poll("50s").await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(started.elapsed().as_secs(), 50);
    let started = crate::clock::moment();
    assert_eq!(poll("2h").await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(started.elapsed().as_secs(), 60, "no poll waits longer than a minute");
    // Something that does not concern it does not wake it; something that does, does.
    let elsewhere = document("r.lan/web:1", "").replace("\"*\"", "\"elsewhere\"");
    let started = crate::clock::moment();
    let (answer, _) = tokio::join!(poll("50s"), bench.admin("PUT", "/v1/documents/other", &elsewhere));
    assert_eq!((answer.status, started.elapsed().as_secs()), (StatusCode::NOT_MODIFIED, 50));
    let started = crate::clock::moment();
    let text = document("r.lan/web:1", "");
    let (answer, _) = tokio::join!(poll("50s"), bench.admin("PUT", "/v1/documents/web", &text));
    assert_eq!((answer.status, started.elapsed().as_secs()), (StatusCode::OK, 0));
    assert_ne!(answer.header("etag"), etag);
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_what_they_promise() {
    let bench = Bench::new().await;
    let token = bench.add_host("a").await;
    bench.admin("PUT", "/v1/documents/web", &document("r.lan/web:1", "")).await.is(200);
    bench.report(&token, &report("a", 1, &[], &["web.0-r1-1"])).await;
    let text = bench.admin("GET", "/metrics", "").await.is(200).text();
    let lines = [
        "coord_hosts{liveness=\"ready\"} 1",
        "coord_workloads 1",
        "coord_instances{state=\"running\"} 1",
        "coord_publish_total 1",
        "coord_http_requests_total{route=\"/v1/documents/{name}\",status=\"200\"} 1",
        "coord_long_polls 0",
    ];
    for line in lines {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes "));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_knows_more_than_the_store_is_pointed_out() {
    let bench = Bench::new().await;
    let token = bench.add_host("a").await;
    let mut ahead = report("a", 1, &[], &[]);
    ahead.generation = Some(coord_shared::names::Generation(7));
    bench.report(&token, &ahead).await;
    let status: StatusView = bench.admin("GET", "/v1/status", "").await.is(200).json();
    assert_eq!(status.problems.iter().map(|p| p.source.as_str()).collect::<Vec<_>>(), ["host:a"]);
}
