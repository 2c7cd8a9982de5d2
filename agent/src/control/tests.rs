//! The socket as a command sees it.

mod exec;

use super::*;
use crate::clock;
use crate::containers::happenings::{Happening, What};
use crate::containers::{InstanceDetails, InstanceRow};
use crate::images::{ImageRow, Pruned, Uses};
use crate::volumes::VolumeDetails;
use coord_image::ImageStore;
use coord_registry::Registry;
use coord_shared::wire::{FullReport, VolumesView};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// A control socket before an empty store; questions are answered as by a loop that needs nothing.
async fn check<T>(test: impl AsyncFnOnce(&Client, &Path) -> T) -> T {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = ImageStore::open(&dir.path().join("images")).expect("a store");
    let registry = Registry::new(Vec::new(), None).expect("a client");
    let (events, mut inbox) = mpsc::channel(8);
    let info = AgentInfo {
        version: "1".to_owned(),
        host: "a".parse().expect("a name"),
        state_dir: dir.path().to_owned(),
        pid: std::process::id(),
    };
    let happenings = Happenings::default();
    happenings.note_event(&removed("web.0-r1-1"), clock::now().wall);
    let (content, shown) = watch::channel(Content::default());
    let full = Some(Arc::new(report()));
    content.send_replace(Content { generation: None, full });
    let control = Control {
        info,
        images: Images::new(store, registry, dir.path()),
        policy: Policy::default(),
        events,
        network: Err("no network in tests".to_owned()),
        metrics: Metrics::new(Arc::new(NoFigures), shown.clone(), dir.path().to_owned(), "a".parse().expect("a name")),
        programs: Programs::new(Arc::new(exec::ThisMachine), shown.clone()),
        content: shown,
        happenings: happenings.clone(),
        volumes: Volumes::new(dir.path(), dir.path()),
        run_dir: dir.path().to_owned(),
    };
    let path = socket_path(dir.path());
    // An earlier agent's, which nobody listens at any more.
    drop(bind(&path).expect("bound"));
    let listener = bind(&path).expect("bound again");
    let set = tokio::task::LocalSet::new();
    set.spawn_local(serve(listener, control));
    set.spawn_local(async move {
        while let Some(event) = inbox.recv().await {
            if let Event::AskedForUses(answer) = event {
                let _ = answer.send(Uses::new());
            }
        }
    });
    set.run_until(test(&Client::new(dir.path()), &path)).await
}

/// No container uses anything.
struct NoFigures;

impl crate::metrics::Figures for NoFigures {
    fn usage(&self, _id: &str) -> Option<coord_runtime::Usage> {
        None
    }
}

fn removed(container: &str) -> Event {
    Event::Removed { container: container.parse().expect("a container"), result: Ok(()) }
}

/// A host on which `web.0` runs, as far as its agent says.
fn report() -> FullReport {
    let web = serde_json::json!({"instance": "web.0", "state": "running", "ready": true, "since": "2026-11-22T20:00:00Z",
        "container": "web.0-r1-1", "revision": 1});
    serde_json::from_value(serde_json::json!({"facts": {}, "instances": [web]})).expect("a report")
}

#[tokio::test]
async fn containers_are_shown() {
    check(async |client, _| {
        let rows = client.get::<Vec<InstanceRow>>("/v1/instances").await.expect("an answer");
        assert_eq!(rows.iter().map(|row| row.report.instance.to_string()).collect::<Vec<_>>(), ["web.0"]);
        for name in ["web.0", "web.0-r1-1"] {
            let details = client.get::<InstanceDetails>(&format!("/v1/instances/{name}")).await.expect("an answer");
            assert_eq!((details.row.report.ready, details.containers.len(), details.events.len()), (true, 0, 1), "{name}");
        }
        for name in ["web.1", "../x", "web"] {
            let error = client.get::<InstanceDetails>(&format!("/v1/instances/{name}")).await.expect_err("none");
            assert_eq!(error.code, "no_such_instance", "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn events_are_told_and_followed() {
    check(async |client, _| {
        let mut told = Vec::new();
        client
            .lines("/v1/events", |one: Happening| {
                told.push(one);
                true
            })
            .await
            .expect("an answer");
        assert_eq!(told.iter().map(|one| (one.sequence, one.what)).collect::<Vec<_>>(), [(1, What::Removed)]);
        // A reader who has seen enough ends it; nobody else does.
        client.lines("/v1/events?follow", |one: Happening| one.sequence != 1).await.expect("an answer");
    })
    .await;
}

#[tokio::test]
async fn a_running_agent_is_asked() {
    check(async |client, path| {
        assert_eq!(client.info().await.expect("an answer").host.to_string(), "a");
        assert_eq!(client.get::<Vec<ImageRow>>("/v1/images").await.expect("an answer"), []);
        assert_eq!(
            client.post::<Pruned>("/v1/images/prune", &PruneAsked { all: true }).await.expect("an answer"),
            Pruned::default()
        );
        let mode = std::fs::metadata(path).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    })
    .await;
}

#[tokio::test]
async fn refusals_have_a_code_and_a_cure() {
    check(async |client, _| {
        let missing = client.get::<ImageRow>(&format!("/v1/images/{}", encode_name("shop/web:1 %"))).await.expect_err("none");
        assert_eq!((missing.code.as_str(), missing.message.contains("shop/web:1 %")), ("no_such_image", true), "{missing:?}");
        let route = client.get::<ImageRow>("/v2/x").await.expect_err("no such route");
        assert_eq!((route.code.as_str(), route.hint.is_some()), ("no_such_route", true), "{route:?}");
        let asked = ViewAsked { image: "a:1".to_owned(), dir: "relative".into() };
        let place = client.post::<ImageRow>("/v1/images/mount", &asked).await.expect_err("no place");
        assert_eq!(place.code, "invalid_folder");
        let body = client.post::<ImageRow>("/v1/images/mount", &PruneAsked { all: true }).await.expect_err("no body");
        assert_eq!(body.code, "invalid_request");
        let large = client.post::<ImageRow>("/v1/images/verify", &"x".repeat(100_000)).await.expect_err("too large");
        assert_eq!(large.code, "invalid_request");
        let reference = client.pull(&ImageAsked { image: "A B".to_owned() }, |_| {}).await.expect_err("no reference");
        assert_eq!(reference.code, "invalid_reference");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_request_is_no_trouble() {
    check(async |client, path| {
        let mut stream = UnixStream::connect(path).await.expect("connected");
        stream.write_all(b"\x16\x03\x01 hello\r\n\r\n").await.expect("written");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
        client.info().await.expect("it still answers");
    })
    .await;
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let error = Client::new(dir.path()).info().await.expect_err("nobody listens");
    assert_eq!(error.code, "unreachable");
    assert!(error.message.contains("agent.sock"), "{error:?}");
}

#[tokio::test]
async fn volumes_are_shown_and_deleted() {
    check(async |client, _| {
        let made = |name: &str| format!("/v1/volumes/{name}");
        assert!(client.get::<VolumesView>("/v1/volumes").await.expect("a list").volumes.is_empty());
        let missing = client.get::<VolumeDetails>(&made("data")).await.expect_err("none");
        assert_eq!(missing.code, "no_such_volume");
        for name in ["..", ".gone-1", "a%2Fb"] {
            assert_eq!(client.get::<VolumeDetails>(&made(name)).await.expect_err("no name").code, "bad_request", "{name}");
        }
        let asked = serde_json::json!({ "name": "../images" });
        let refused = client.post::<serde_json::Value>("/v1/volumes/remove", &asked).await.expect_err("no name");
        assert_eq!(refused.code, "invalid_request");
        let asked = serde_json::json!({ "name": "data" });
        let refused = client.post::<serde_json::Value>("/v1/volumes/remove", &asked).await.expect_err("none");
        assert_eq!(refused.code, "no_such_volume");
    })
    .await;
}
