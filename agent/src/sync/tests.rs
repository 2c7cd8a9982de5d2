//! Poll, reporter and standalone source against a coordinator that misbehaves, and files that are edited.

use super::coordinators::Coordinators;
use super::{poll, report, standalone};
use crate::config::Config;
use crate::event::Event;
use coord_registry::Registry;
use coord_shared::names::{Generation, HostName, Labels};
use coord_shared::wire::{FullReport, HostState, Report};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

const DEADLINE: Duration = Duration::from_secs(20);

fn host() -> HostName {
    "h".parse().expect("a host")
}

fn coordinators(urls: Vec<String>) -> Coordinators {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config {
        images: crate::config::ImagesConfig::default(),
        isolation: crate::config::IsolationConfig::default(),
        network: coord_network::Settings::default(),
        host: host(),
        coordinators: urls,
        token: "coord-agent-secret".to_owned(),
        ca: None,
        state_dir: "/nonexistent".into(),
        run_dir: "/nonexistent".into(),
        helpers_dir: "/nonexistent".into(),
        labels: Labels::new(),
        registries: Vec::new(),
        docker_config: None,
        builder: None,
        metrics_listen: None,
        log_max_bytes: 1 << 20,
        log_max_files: 1,
    };
    Coordinators::new(&config).expect("a client")
}

/// A server that answers the n-th request with the n-th answer, and the last one from then on. Requests are kept.
async fn server(answers: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    tokio::spawn(async move {
        let mut turn = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let request = read_request(&mut stream).await;
            kept.lock().expect("not poisoned").push(request);
            let answer = &answers[turn.min(answers.len() - 1)];
            turn += 1;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, seen)
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        request.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if n == 0 || body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(DEADLINE, events.recv()).await.expect("in time").expect("an event")
}

fn state(generation: u64) -> String {
    HostState { generation: Generation(generation), ..HostState::empty(host()) }.to_toml()
}

/// What the poll makes of one answer.
async fn polled(first: String) -> Event {
    let (url, _) = server(vec![first]).await;
    let (sender, mut events) = mpsc::channel(4);
    let polling = tokio::spawn(poll::run(coordinators(vec![url]), host(), sender));
    let event = next(&mut events).await;
    polling.abort();
    event
}

#[tokio::test]
async fn a_good_answer_is_a_state() {
    let event = polled(answer("200 OK", "etag: \"1\"\r\n", &state(7))).await;
    assert!(matches!(event, Event::State(state) if state.generation == Generation(7)));
}

#[tokio::test]
async fn bad_answers_are_problems_with_a_cure() {
    let error = r#"{"code":"unauthorized","message":"token is not known","hint":"make one with `coordctl hosts add h`"}"#;
    let garbage = "version = 1\nhost = \"h\"\ngener";
    for (first, part) in [
        (answer("401 Unauthorized", "", error), "coordctl hosts add h"),
        (answer("200 OK", "", garbage), "unreadable"),
        (answer("200 OK", "", &state(7).replace("version = 1", "version = 9")), "upgrade coord-agent"),
        (answer("200 OK", "content-type: text/html\r\n", "<html>"), "unreadable"),
        (answer("404 Not Found", "", "<html>nginx</html>"), "is this really a coordinator"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_owned(), "does not answer"),
    ] {
        let event = polled(first.clone()).await;
        let Event::CoordinatorProblem(problem) = event else { panic!("{first}: {event:?}") };
        assert!(problem.contains(part), "{first}: {problem}");
    }
}

#[tokio::test]
async fn another_coordinator_is_asked_when_one_is_away() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let dead = format!("http://{}", gone.local_addr().expect("an address"));
    drop(gone);
    let (url, seen) = server(vec![answer("200 OK", "etag: \"1\"\r\n", &state(3))]).await;
    let (sender, mut events) = mpsc::channel(4);
    let polling = tokio::spawn(poll::run(coordinators(vec![dead, url]), host(), sender));
    assert!(matches!(next(&mut events).await, Event::CoordinatorProblem(_)));
    assert!(matches!(next(&mut events).await, Event::State(_)));
    polling.abort();
    let seen = seen.lock().expect("not poisoned");
    assert!(seen[0].to_lowercase().contains("authorization: bearer coord-agent-secret"), "{}", seen[0]);
}

#[tokio::test]
async fn the_coordinator_gets_the_whole_when_it_asks_for_it() {
    let answers = [r#"{"send_full":false}"#, r#"{"send_full":false}"#, r#"{"send_full":true}"#, r#"{"send_full":false}"#];
    let (url, seen) = server(answers.iter().map(|body| answer("200 OK", "", body)).collect()).await;
    let full = |problem: &str| {
        let problems = vec![problem.to_owned()];
        let (instances, prefetch) = (Vec::new(), Vec::new());
        let report = FullReport { instances, prefetch, problems, ..FullReport::default() };
        report::Content { generation: Some(Generation(1)), full: Some(Arc::new(report)) }
    };
    let (content, told) = watch::channel(full("first"));
    let reporting = tokio::spawn(report::run(coordinators(vec![url]), host(), told));
    let reports = async |count: usize| {
        let reached = async {
            while seen.lock().expect("not poisoned").len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, reached).await.expect("in time");
        let seen = seen.lock().expect("not poisoned");
        let body = seen[count - 1].split_once("\r\n\r\n").expect("a body").1;
        serde_json::from_str::<Report>(body).expect("a report")
    };
    assert_eq!(reports(1).await.full.expect("whole").problems, ["first"]);
    content.send_replace(full("second"));
    assert_eq!(reports(2).await.full.expect("whole").problems, ["second"]);
    // Only the generation changed: a heartbeat; but the coordinator has forgotten us.
    content.send_modify(|content| content.generation = Some(Generation(2)));
    let heartbeat = reports(3).await;
    assert!(heartbeat.full.is_none() && heartbeat.generation == Some(Generation(2)));
    let whole = reports(4).await;
    assert_eq!(whole.full.expect("whole").problems, ["second"]);
    assert_eq!(whole.sequence, 4);
    reporting.abort();
}

fn standalone(path: &Path) -> (tokio::task::JoinHandle<()>, mpsc::Receiver<Event>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let registry = Registry::new(Vec::new(), None).expect("a client");
    let source = standalone::Source {
        path: path.to_owned(),
        host: host(),
        labels: Labels::from([("role".to_owned(), "web".to_owned())]),
        registry,
        accepted: HostState::empty(host()),
    };
    let (sender, events) = mpsc::channel(4);
    (tokio::spawn(standalone::run(source, sender)), events)
}

fn document(extra: &str) -> String {
    let digest = coord_shared::names::Digest::of(b"image");
    format!("image = \"r.lan/web@{digest}\"\nhosts = [\"role=web\"]\n{extra}")
}

async fn next_state(events: &mut mpsc::Receiver<Event>) -> HostState {
    let event = next(events).await;
    let Event::State(state) = event else { panic!("{event:?}") };
    *state
}

#[tokio::test]
async fn a_folder_of_documents_needs_no_coordinator() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let draft = folder.path().join(format!(".{name}.draft"));
        std::fs::write(&draft, text).expect("written");
        std::fs::rename(draft, folder.path().join(name)).expect("renamed");
    };
    write("web.toml", &document(""));
    write("other.toml", &document("").replace("role=web", "role=db"));
    let (watching, mut events) = standalone(folder.path());
    let first = next_state(&mut events).await;
    assert_eq!(first.instances.len(), 1, "only what selects this host");
    write("web.toml", &document("read_only = true\n"));
    let second = next_state(&mut events).await;
    assert!(second.generation > first.generation && second.instances[0].revision > first.instances[0].revision);
    // A broken file changes nothing; the next good one is news.
    write("web.toml", "image = ");
    write("api.toml", &document(""));
    let third = next_state(&mut events).await;
    assert_eq!(third.instances.iter().map(|i| i.workload.as_str()).collect::<Vec<_>>(), ["api", "web"]);
    assert_eq!(third.instances[1], second.instances[0]);
    std::fs::remove_file(folder.path().join("web.toml")).expect("removed");
    let fourth = next_state(&mut events).await;
    assert_eq!(fourth.instances.len(), 1);
    watching.abort();
}

#[tokio::test]
async fn a_host_state_that_is_cut_in_half_changes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("state.toml");
    let mut whole = HostState { generation: Generation(4), ..HostState::empty(host()) };
    whole.instances.push(coord_shared::wire::DesiredInstance {
        workload: "web".parse().expect("a workload"),
        index: 0,
        revision: coord_shared::names::Revision(1),
        digest: coord_shared::names::Digest::of(b"image"),
        document: document(""),
    });
    let text = whole.to_toml();
    std::fs::write(&file, &text[..text.len() / 2]).expect("written");
    let (watching, mut events) = standalone(&file);
    tokio::time::timeout(Duration::from_millis(300), events.recv()).await.expect_err("nothing is published");
    std::fs::write(&file, &text).expect("written");
    let state = next_state(&mut events).await;
    assert_eq!(state.instances, whole.instances);
    watching.abort();
}
