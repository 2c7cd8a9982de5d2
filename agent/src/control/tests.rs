//! The socket as a command sees it.

use super::*;
use crate::images::{ImageRow, Pruned, Uses};
use coord_image::ImageStore;
use coord_registry::Registry;
use std::os::unix::fs::PermissionsExt as _;
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
    let control = Control { info, images: Images::new(store, registry), policy: Policy::default(), events };
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
