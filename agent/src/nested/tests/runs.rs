//! Second containers from their start to their end.

use super::rig::{PARENT, Rig, ask, is_alive};
use coord_shared::wire::nested::ChildState;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use std::io::{IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn one_runs_prints_and_ends() {
    let rig = Rig::new().await;
    let view = rig.run("hello", "echo out; echo err >&2; env; hostname; exit 7").await;
    assert_eq!((view.state, view.attached), (ChildState::Running, false));
    let view = rig.wait("hello").await;
    assert_eq!((view.state, view.exit.and_then(|exit| exit.code), view.pid), (ChildState::Exited, Some(7), None));
    assert_eq!(view.digest.as_ref(), Some(&rig.image.digest));
    let (_, log) = rig.ask("GET", "/v1/containers/hello/logs?follow", b"").await;
    let log = log.as_str().expect("lines").to_owned();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    let has = |line: &str| lines.iter().any(|found| found["m"] == json!(line));
    for line in ["out", "COORD_HOST=box", "COORD_INSTANCE=web.0", "COORD_PARENT=web.0-r1-1", "COORD_NAME=hello", "hello"] {
        assert!(has(line), "{line}: {log}");
    }
    assert!(lines.iter().any(|line| line["m"] == json!("err") && line["s"] == json!("err")), "{log}");
    let (_, last) = rig.ask("GET", "/v1/containers/hello/logs?tail=1", b"").await;
    assert!(last["m"].is_string(), "{last}");
    let told: Vec<String> = rig.happenings.after(0).into_iter().map(|one| format!("{} {}", one.what, one.words)).collect();
    assert!(told.contains(&"exited hello: exit code 7".to_owned()), "{told:?}");
}

#[tokio::test]
async fn names_are_chosen_where_none_is_given() {
    let rig = Rig::new().await;
    let mut asked = rig.script("x", "true");
    asked.as_object_mut().expect("an object").remove("name");
    let (_, first) = rig.post("/v1/containers", asked.clone()).await;
    let (_, second) = rig.post("/v1/containers", asked).await;
    assert_eq!((&first["name"], &second["name"]), (&json!("sh-1"), &json!("sh-2")));
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_leaves_nothing() {
    let rig = Rig::new().await;
    let body = json!({ "name": "bad", "image": rig.image.reference.to_string(), "command": ["/no/such"] }).to_string();
    rig.refused(("POST", "/v1/containers", body.as_bytes()), (422, "command_not_found", "/no/such")).await;
    let view = rig.get("/v1/containers/bad").await;
    assert_eq!((&view["state"], &view["pid"]), (&json!("failed"), &Value::Null));
    rig.beside(rig.doors().close(PARENT)).await;
    rig.until_nothing_is_left().await;
}

#[tokio::test]
async fn stopping_asks_then_kills() {
    let rig = Rig::new().await;
    rig.run("kind", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done").await;
    rig.until("the trap", |rig| log_of(rig, "kind").contains("ready").then_some(())).await;
    let (_, view) = rig.post("/v1/containers/kind/stop", json!({})).await;
    assert_eq!((&view["exit"]["code"], &view["reason"]), (&json!(3), &json!("stopped on request")));
    rig.run("deaf", "trap '' TERM; while :; do sleep 0.05; done").await;
    let (_, view) = rig.post("/v1/containers/deaf/stop", json!({ "grace": "100ms" })).await;
    assert_eq!(view["exit"]["signal"], json!(9));
    // Stopping what has ended changes nothing.
    let (status, again) = rig.post("/v1/containers/deaf/stop", json!({ "signal": "SIGHUP" })).await;
    assert_eq!((status, &again), (200, &view));
    rig.refused(("POST", "/v1/containers/deaf/signal", b"{\"signal\":\"SIGHUP\"}"), (409, "not_running", "exited")).await;
}

fn log_of(rig: &Rig, child: &str) -> String {
    std::fs::read_to_string(rig.path("state/log/nested").join(PARENT).join(format!("{child}.jsonl"))).unwrap_or_default()
}

/// Hands three descriptors over; what was answered.
async fn hand_over(rig: &Rig, token: &str, files: [BorrowedFd<'_>; 3]) -> u8 {
    let stream = UnixStream::connect(rig.socket(PARENT, "stdio.sock")).expect("a door");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
    sendmsg(&stream, &[IoSlice::new(token.as_bytes())], &mut control, SendFlags::empty()).expect("sent");
    stream.set_nonblocking(true).expect("set");
    let mut stream = tokio::net::UnixStream::from_std(stream).expect("a stream");
    rig.beside(stream.read_u8()).await.expect("an answer")
}

const TOKEN: &str = "abcdefghijklmnop0123";

#[tokio::test]
async fn an_attached_one_has_the_files_that_were_handed_over() {
    let mut rig = Rig::new().await;
    let (input, typed) = std::io::pipe().expect("a pipe");
    let (mut read, output) = std::io::pipe().expect("a pipe");
    let answer = hand_over(&rig, TOKEN, [input.as_fd(), output.as_fd(), output.as_fd()]).await;
    assert_eq!(answer, b'+');
    drop((input, output));
    let mut asked = rig.script("talk", "cat; echo over");
    asked["stdio"] = json!(TOKEN);
    let (status, view) = rig.post("/v1/containers", asked.clone()).await;
    assert_eq!((status, &view["attached"]), (201, &json!(true)), "{view}");
    // The agent is not in the way of what they carry.
    rig.restart().await;
    std::io::Write::write_all(&mut &typed, b"hello\n").expect("written");
    drop(typed);
    let said = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        read.read_to_string(&mut said).map(|_| said)
    });
    assert_eq!(rig.beside(said).await.expect("a thread").expect("read"), "hello\nover\n");
    assert_eq!(rig.wait("talk").await.exit.and_then(|exit| exit.code), Some(0));
    rig.refused(("GET", "/v1/containers/talk/logs", b""), (409, "not_logged", "detached")).await;
    asked["name"] = json!("again");
    rig.refused(("POST", "/v1/containers", asked.to_string().as_bytes()), (400, "no_such_stdio", "token")).await;
}

#[tokio::test]
async fn folders_and_mere_names_are_not_taken_for_standard_files() {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let rig = Rig::new().await;
    let null = openat(CWD, "/dev/null", OFlags::RDWR, Mode::empty()).expect("null");
    let folder = openat(CWD, "/", OFlags::DIRECTORY, Mode::empty()).expect("a folder");
    let name = openat(CWD, "/dev/null", OFlags::PATH, Mode::empty()).expect("a name");
    for (token, third, expect) in [
        (TOKEN, &null, b'+'),
        (TOKEN, &null, b'-'),
        ("abcdefghijklmnop0001", &folder, b'-'),
        ("abcdefghijklmnop0002", &name, b'-'),
        ("short", &null, b'-'),
        ("abcdefghijklmnop/../", &null, b'-'),
    ] {
        let answer = hand_over(&rig, token, [null.as_fd(), null.as_fd(), third.as_fd()]).await;
        assert_eq!(answer, expect, "{token}");
    }
}

#[tokio::test]
async fn programs_run_in_one_that_runs() {
    let rig = Rig::new().await;
    rig.run("host", "sleep 3600").await;
    let asked = json!({ "command": ["sh", "-c", "echo inside; exit 5"] }).to_string();
    rig.refused(("POST", "/v1/containers/host/exec", asked.as_bytes()), (426, "upgrade_required", "coord exec")).await;
    let talk = async {
        use tokio::io::AsyncWriteExt as _;
        let mut stream = tokio::net::UnixStream::connect(rig.socket(PARENT, "nested.sock")).await.expect("a door");
        let head = format!(
            "POST /v1/containers/host/exec HTTP/1.1\r\nhost: door\r\nconnection: upgrade\r\nupgrade: coord-exec\r\ncontent-length: {}\r\n\r\n{asked}",
            asked.len()
        );
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut all = Vec::new();
        let mut piece = [0; 1024];
        while !String::from_utf8_lossy(&all).contains("\"code\":5") {
            match stream.read(&mut piece).await.expect("read") {
                0 => break,
                count => all.extend_from_slice(&piece[..count]),
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    };
    let said = rig.beside(talk).await;
    assert!(said.starts_with("HTTP/1.1 101") && said.contains("inside\n") && said.contains("\"code\":5"), "{said}");
}

#[tokio::test]
async fn what_runs_within_a_container_ends_with_it() {
    let rig = Rig::new().await;
    let view = rig.run("within", "sleep 3600").await;
    let pid = rig.pid_of(&view);
    assert!(is_alive(pid));
    coord_runtime::Runtime::kill(&rig.runtime(), PARENT).expect("killed");
    rig.until_nothing_is_left().await;
    assert!(!is_alive(pid));
    assert!(!log_of(&rig, "within").is_empty() || rig.path("state/log/nested").exists(), "logs stay");
    let told: Vec<String> = rig.happenings.after(0).into_iter().map(|one| format!("{} {}", one.what, one.words)).collect();
    let ended = told.iter().any(|one| one.starts_with("exited within: ") && one.ends_with(": ended with its parent"));
    assert!(ended, "{told:?}");
}

#[tokio::test]
async fn what_is_within_is_reported() {
    let rig = Rig::new().await;
    let mut reports = rig.doors().reports();
    rig.run("seen", "sleep 3600").await;
    let is_seen = rig.beside(reports.wait_for(|all| {
        all.get(PARENT).is_some_and(|one| one.containers.iter().any(|child| child.state == ChildState::Running))
    }));
    drop(is_seen.await.expect("reports"));
    rig.beside(rig.doors().close(PARENT)).await;
    assert!(reports.borrow().is_empty());
}

#[tokio::test]
async fn one_door_is_not_anothers() {
    let mut rig = Rig::new().await;
    rig.open("web.1-r1-1").await;
    rig.run("mine", "sleep 3600").await;
    let theirs = rig.beside(ask(&rig.socket("web.1-r1-1", "nested.sock"), "GET", "/v1/containers", b"")).await;
    assert_eq!(theirs, (200, json!({ "containers": [] })));
    let theirs = rig.beside(ask(&rig.socket("web.1-r1-1", "nested.sock"), "GET", "/v1/containers/mine", b"")).await;
    assert_eq!(theirs.0, 404);
}
