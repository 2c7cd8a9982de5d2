//! Looking at the fleet: status, hosts, history.

use crate::bodies;
use crate::fake::{Answer, Fake};
use crate::program::{command, finish, run, spawn};
use serde_json::{Value, json};

#[test]
fn status_shows_what_is() {
    let fake = Fake::always(Answer::json(&bodies::status(&[
        bodies::workload("api", 2, false, &["a"]),
        bodies::workload("web", 3, true, &["a", "b"]),
    ])));
    let expect = "\
WORKLOAD  REV  IMAGE       READY  RESTARTS  AGE
api         2  shop/web:1    0/1         0   1h
  a  starting, for 10s
web         3  shop/web:1    2/2         0   1h
";
    assert_eq!(run(&fake, &["status"]).code(0).stdout, expect);
    let detail = run(&fake, &["status", "web"]).code(0).stdout;
    assert!(detail.starts_with("web  revision 3, published 1h ago\n"), "{detail}");
    assert!(detail.contains("web.0     b     running    3         0    10s  -\n"), "{detail}");
    let request = &fake.requests()[0];
    assert_eq!(request.line, "GET /v1/status");
    assert_eq!(request.headers["authorization"], "Bearer coord-admin-test");
    assert!(request.headers["user-agent"].starts_with("coordctl/"), "{request:?}");
}

#[test]
fn status_is_there_for_programs() {
    let fake = Fake::always(Answer::json(&bodies::status(&[
        bodies::workload("api", 2, false, &["a"]),
        bodies::workload("web", 3, true, &["a"]),
    ])));
    let names = |args: &[&str]| -> Vec<String> {
        let view: Value = serde_json::from_str(&run(&fake, args).code(0).stdout).expect("JSON");
        let workloads = view["workloads"].as_array().expect("workloads");
        workloads.iter().map(|workload| workload["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&["status", "-o", "json"]), ["api", "web"]);
    assert_eq!(names(&["status", "web", "-o", "json"]), ["web"]);
}

#[test]
fn an_empty_fleet_says_what_to_do() {
    let fake = Fake::always(Answer::json(&bodies::status(&[])));
    let outcome = run(&fake, &["status"]).code(0).says(&["no workload is published"]);
    assert_eq!(outcome.stdout, "");
    let fake = Fake::always(Answer::json(&json!({ "now": "2026-11-22T14:00:00Z", "hosts": [] })));
    run(&fake, &["hosts"]).code(0).says(&["no host is known; add one with"]);
}

#[test]
fn a_newer_coordinator_is_understood() {
    let mut status = bodies::status(&[bodies::workload("web", 3, true, &["a"])]);
    status["from_the_future"] = json!({ "x": 1 });
    status["workloads"][0]["instances"][0]["report"]["state"] = json!("levitating");
    status["workloads"][0]["reasons"] = json!([{ "code": "quantum_flux", "depth": 3 }]);
    let stdout = run(&Fake::always(Answer::json(&status)), &["status"]).code(0).stdout;
    assert!(stdout.contains("a reason that this version does not know"), "{stdout}");
}

#[test]
fn the_configuration_file_is_read() {
    let fake = Fake::always(Answer::json(&bodies::status(&[])));
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join(".config/coord");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.toml"), format!("url = \"{}/behind/a/proxy/\"\ntoken_file = \"token\"\n", fake.url()))
        .expect("write");
    std::fs::write(folder.join("token"), "from-the-file\n").expect("write");
    let mut status = command(home.path());
    status.arg("status");
    finish(spawn(status, None)).code(0);
    let request = &fake.requests()[0];
    assert_eq!(request.line, "GET /behind/a/proxy/v1/status");
    assert_eq!(request.headers["authorization"], "Bearer from-the-file");
}

fn known_hosts() -> Value {
    let host = json!({ "name": "web-1", "liveness": "ready", "last_seen": "2026-11-22T13:59:58Z", "generation": 1, "running": 1, "desired": 1 });
    json!({ "now": "2026-11-22T14:00:00Z", "hosts": [host] })
}

/// Answers for the hosts.
fn host_keeper() -> Fake {
    Fake::start(|request, _| match request.line.split(' ').next() {
        Some("POST") => Answer::json(&json!({ "host": "web-9", "token": "coord-agent-secret" })),
        Some("DELETE") => Answer::text(204, ""),
        _ => Answer::json(&known_hosts()),
    })
}

#[test]
fn hosts_are_shown_added_and_removed() {
    let fake = host_keeper();
    assert!(run(&fake, &["hosts"]).code(0).stdout.contains("web-1  ready  2s ago      1/1"));
    let list: Value = serde_json::from_str(&run(&fake, &["hosts", "list", "-o", "json"]).code(0).stdout).expect("JSON");
    assert_eq!(list["hosts"][0]["name"], "web-1");
    // The token alone is data, so that a script can keep it.
    let added = run(&fake, &["hosts", "add", "web-9"]).code(0).says(&["shown this once", "agent.toml", "host = \"web-9\""]);
    assert_eq!(added.stdout, "coord-agent-secret\n");
    let post = fake.requests().into_iter().find(|request| request.line.starts_with("POST")).expect("a request");
    assert_eq!((post.line.as_str(), post.body.as_str()), ("POST /v1/hosts", r#"{"host":"web-9"}"#));
    run(&fake, &["hosts", "remove", "web-1"]).code(0).says(&["host web-1 is forgotten"]);
    assert_eq!(fake.lines().last().map(String::as_str), Some("DELETE /v1/hosts/web-1"));
}

#[test]
fn a_known_host_keeps_its_token_unless_a_new_one_is_asked_for() {
    let fake = host_keeper();
    run(&fake, &["hosts", "add", "web-1"]).code(1).says(&["host web-1 is known already", "hint: --new-token"]);
    assert!(!fake.lines().iter().any(|line| line.starts_with("POST")), "{:?}", fake.lines());
    assert_eq!(run(&fake, &["hosts", "add", "web-1", "--new-token"]).code(0).stdout, "coord-agent-secret\n");
}

#[test]
fn history_is_shown() {
    let entry = json!({
        "revision": 1, "at": "2026-11-22T13:00:00Z", "who": "admin", "source": "api:web", "action": "create",
        "image": "registry.lan/shop/web:1", "digest": null,
    });
    let fake = Fake::always(Answer::json(&json!({ "now": "2026-11-22T14:00:00Z", "entries": [entry] })));
    let stdout = run(&fake, &["history", "web"]).code(0).stdout;
    assert!(stdout.ends_with("  1   1h  created  admin  shop/web:1\n"), "{stdout}");
    assert_eq!(fake.lines(), ["GET /v1/workloads/web/history"]);
    let long = run(&fake, &["history", "web", "-v"]).code(0).stdout;
    assert!(long.contains("at 2026-11-22 13:00:00 +00:00"), "{long}");
}
