//! What a door takes of the agent, at most.

use super::rig::{PARENT, Rig, ask};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

#[tokio::test]
async fn who_comes_when_there_are_too_many_is_turned_away() {
    let rig = Rig::new().await;
    let socket = rig.socket(PARENT, "nested.sock");
    let crowd = async {
        let mut open = Vec::new();
        // As many as are served: each has begun to ask, and says no more.
        for _ in 0..35 {
            let mut stream = UnixStream::connect(&socket).await.expect("a door");
            stream.write_all(b"GET /v1/info HTTP/1.1\r\n").await.expect("written");
            open.push(stream);
        }
        let mut text = String::new();
        let mut stream = UnixStream::connect(&socket).await.expect("a door");
        stream.read_to_string(&mut text).await.expect("an answer");
        assert!(text.starts_with("HTTP/1.1 429") && text.contains("too_many_connections"), "{text}");
        open.pop();
        open
    };
    let open = rig.beside(crowd).await;
    rig.until("a place", |_| Some(())).await;
    drop(open);
    let again = rig.beside(async {
        loop {
            let (status, body) = ask(&socket, "GET", "/v1/info", b"").await;
            if status == 200 {
                return body;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    assert_eq!(again.await["parent"], json!(PARENT));
}

#[tokio::test]
async fn only_the_last_that_ended_are_remembered() {
    let rig = Rig::new().await;
    let body = json!({ "image": format!("{}/tools/none:1", rig.registry.host()) }).to_string();
    for _ in 0..70 {
        let (status, _) = rig.ask("POST", "/v1/containers", body.as_bytes()).await;
        assert_eq!(status, 404);
    }
    let all = rig.get("/v1/containers").await;
    let all = all["containers"].as_array().expect("a list").clone();
    assert_eq!(all.len(), 64);
    assert_eq!((&all[0]["name"], &all[63]["name"]), (&json!("none-7"), &json!("none-70")));
    let kept = std::fs::read_dir(rig.path("state/nested/p").join(PARENT).join("children")).expect("records").count();
    assert_eq!(kept, 64);
}
