//! Agents that are killed, parents that end while there is no agent.

use super::rig::{PARENT, Rig, is_alive, until_gone};
use coord_runtime::Runtime as _;
use coord_shared::wire::nested::ChildState;
use serde_json::json;
use std::fs;

#[tokio::test]
async fn a_second_container_outlives_its_agent() {
    let mut rig = Rig::new().await;
    let view = rig.run("long", "trap 'exit 4' TERM; echo ready; while :; do sleep 0.05; done").await;
    rig.run("done", "exit 2").await;
    rig.wait("done").await;
    rig.restart().await;
    assert_eq!(rig.get("/v1/containers/done").await["exit"]["code"], json!(2), "what ended is remembered");
    let found = rig.get("/v1/containers/long").await;
    assert_eq!((&found["state"], &found["pid"]), (&json!("running"), &json!(view.pid)));
    rig.restart().await;
    let log = rig.path("state/log/nested").join(PARENT).join("long.jsonl");
    rig.until("the trap", |_| fs::read_to_string(&log).unwrap_or_default().contains("ready").then_some(())).await;
    let (_, view) = rig.post("/v1/containers/long/stop", json!({})).await;
    assert_eq!(view["exit"]["code"], json!(4), "{view}");
    rig.run("next", "true").await;
    rig.beside(rig.doors().close(PARENT)).await;
    rig.until_nothing_is_left().await;
}

#[tokio::test]
async fn an_end_that_nobody_saw_is_known() {
    let mut rig = Rig::new().await;
    let view = rig.run("short", "while ! test -e /tmp/go; do sleep 0.02; done; exit 6").await;
    rig.kill_agent();
    let root = format!("/proc/{}/root/tmp/go", rig.pid_of(&view));
    fs::write(root, "").expect("written");
    until_gone(rig.pid_of(&view)).await;
    rig.start().await;
    assert_eq!(rig.wait("short").await.exit.and_then(|exit| exit.code), Some(6));
}

#[tokio::test]
async fn of_a_parent_that_ended_without_an_agent_nothing_is_left() {
    let mut rig = Rig::new().await;
    let view = rig.run("within", "sleep 3600").await;
    let runtime = rig.runtime();
    rig.kill_agent();
    runtime.kill(PARENT).expect("killed");
    rig.start().await;
    rig.until_nothing_is_left().await;
    assert!(!is_alive(rig.pid_of(&view)));
    assert!(!rig.doors().knows(PARENT));
}

#[tokio::test]
async fn what_was_half_made_is_undone() {
    let mut rig = Rig::new().await;
    let view = rig.run("half", "sleep 3600").await;
    rig.kill_agent();
    // As if the agent had been killed before it noted that it runs.
    let path = rig.path("state/nested/p").join(PARENT).join("children/half.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("a record")).expect("JSON");
    record["view"]["state"] = json!("starting");
    fs::write(&path, record.to_string()).expect("written");
    // And a parent whose making was cut short, a container that nobody noted.
    fs::create_dir_all(rig.path("state/nested/p/web.9-r1-1/children")).expect("a folder");
    fs::create_dir_all(rig.path("state/nested/d/web.9-r1-1")).expect("a folder");
    rig.start().await;
    let found = rig.get("/v1/containers/half").await;
    assert_eq!(found["state"], json!(ChildState::Failed), "{found}");
    assert!(found["reason"].as_str().is_some_and(|why| why.contains("the agent ended while it was made")), "{found}");
    rig.until("its end", |rig| (!is_alive(rig.pid_of(&view))).then_some(())).await;
    assert!(!rig.path("state/nested/p/web.9-r1-1").exists() && !rig.path("state/nested/d/web.9-r1-1").exists());
}
