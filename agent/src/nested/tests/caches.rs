//! Files on their way from a container into its second ones.

use super::rig::{PARENT, Rig, is_alive};
use coord_shared::wire::nested::ChildState;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Runs until it is asked to end.
const PATIENT: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

/// A tar archive of some files.
fn archive(rig: &Rig, files: &[(&str, &str)]) -> Vec<u8> {
    let folder = tempfile::tempdir_in(rig.folder.path()).expect("a folder");
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, content).expect("written");
    }
    let packed = Command::new("tar").arg("-C").arg(folder.path()).args(["-cf", "-", "."]).output().expect("tar");
    assert!(packed.status.success());
    packed.stdout
}

/// Makes a cache with two files.
async fn make(rig: &Rig, mut asked: Value) {
    asked["name"] = json!("work");
    asked["path"] = json!("/shared");
    let (status, body) = rig.post("/v1/caches", asked).await;
    assert_eq!(status, 201, "{body}");
    let packed = archive(rig, &[("a.txt", "one\n"), ("sub/b.txt", "two\n")]);
    let (status, body) = rig.ask("PUT", "/v1/caches/work/archive", &packed).await;
    assert_eq!((status, &body["files"], &body["bytes"]), (200, &json!(2), &json!(8)), "{body}");
}

/// A second container that mounts it.
fn mounting(rig: &Rig, name: &str, script: &str) -> Value {
    let mut asked = rig.script(name, script);
    asked["caches"] = json!([{ "name": "work", "read_only": true }]);
    asked
}

/// Where a file of the store lies on the host.
fn stored(rig: &Rig, name: &str) -> PathBuf {
    let caches = rig.path("state/nested/p").join(PARENT).join("caches/work");
    let found = Command::new("find").arg(caches).args(["-type", "f", "-name", name]).output().expect("find");
    PathBuf::from(String::from_utf8_lossy(&found.stdout).lines().next().expect("the file"))
}

#[tokio::test]
async fn what_was_put_is_found_by_name_and_path() {
    let rig = Rig::new().await;
    make(&rig, json!({})).await;
    let (status, body) = rig.ask("PUT", "/v1/caches/work/files/sub/c%20d?mode=0755", b"three").await;
    assert_eq!((status, &body["cache"]["files"]), (200, &json!(3)), "{body}");
    let (_, list) = rig.ask("GET", "/v1/caches/work/list", b"").await;
    let list = list.as_str().expect("lines").to_owned();
    assert!(list.lines().count() >= 4 && list.contains("\"path\":\"sub/c d\""), "{list}");
    let (status, verified) = rig.ask("POST", "/v1/caches/work/verify", b"").await;
    assert_eq!((status, &verified["files"], &verified["hashed"]), (200, &json!(3), &json!(3)), "{verified}");

    let (status, view) =
        rig.post("/v1/containers", mounting(&rig, "read", "cat /shared/a.txt /shared/sub/b.txt; sleep 3600")).await;
    assert_eq!(status, 201, "{view}");
    let cache = &view["caches"][0];
    assert_eq!((&cache["path"], &cache["read_only"], &cache["verified"]["files"]), (&json!("/shared"), &json!(true), &json!(3)));
    assert_eq!(rig.get("/v1/caches/work").await["used_by"], json!(["read"]));
    rig.refused(("DELETE", "/v1/caches/work", b""), (409, "cache_in_use", "read")).await;
    let log = rig.path("state/log/nested").join(PARENT).join("read.jsonl");
    rig.until("its words", |_| fs::read_to_string(&log).unwrap_or_default().contains("two").then_some(())).await;
    let (_, ended) = rig.post("/v1/containers/read/stop", json!({ "signal": "SIGKILL" })).await;
    assert_eq!(ended["state"], json!("exited"));
    assert_eq!(rig.get("/v1/caches/work").await["used_by"], json!([]));
    let (_, log) = rig.ask("GET", "/v1/containers/read/logs", b"").await;
    assert!(log.as_str().is_some_and(|log| log.contains("one") && log.contains("two")), "{log}");
    let (status, _) = rig.ask("DELETE", "/v1/caches/work", b"").await;
    assert_eq!(status, 204);
    rig.refused(("GET", "/v1/caches/work", b""), (404, "no_such_cache", "work")).await;
    rig.beside(rig.doors().close(PARENT)).await;
    rig.until_nothing_is_left().await;
}

#[tokio::test]
async fn one_altered_file_keeps_a_container_from_starting() {
    let rig = Rig::new().await;
    make(&rig, json!({})).await;
    fs::write(stored(&rig, "b.txt"), "tw0\n").expect("written");
    let asked = mounting(&rig, "never", "echo ran").to_string();
    rig.refused(("POST", "/v1/containers", asked.as_bytes()), (409, "altered", "sub/b.txt")).await;
    let view = rig.get("/v1/containers/never").await;
    assert_eq!((&view["state"], &view["exit"]), (&json!("failed"), &Value::Null), "{view}");
    assert!(view["reason"].as_str().is_some_and(|why| why.contains("sub/b.txt")), "{view}");
    let (_, log) = rig.ask("GET", "/v1/containers/never/logs", b"").await;
    assert_eq!(log, json!(""));
    assert_eq!(rig.get("/v1/caches/work").await["used_by"], json!([]));
    rig.refused(("POST", "/v1/caches/work/verify", b""), (409, "altered", "sub/b.txt")).await;
}

#[tokio::test]
async fn a_container_of_the_same_image_lists_what_it_sees() {
    let rig = Rig::new().await;
    make(&rig, json!({})).await;
    let mut asked = mounting(&rig, "listed", "true");
    asked["verify_by_log"] = json!(true);
    let (status, view) = rig.post("/v1/containers", asked.clone()).await;
    assert_eq!((status, &view["caches"][0]["verified_by_log"]), (201, &json!(2)), "{view}");
    rig.wait("listed").await;
    fs::write(stored(&rig, "a.txt"), "0ne\n").expect("written");
    asked["name"] = json!("altered");
    rig.refused(("POST", "/v1/containers", asked.to_string().as_bytes()), (409, "altered", "a.txt has other content")).await;
    rig.beside(rig.doors().close(PARENT)).await;
    rig.until_nothing_is_left().await;
}

#[tokio::test]
async fn whoever_mounts_a_cache_whose_time_is_over_is_ended() {
    let rig = Rig::new().await;
    make(&rig, json!({ "ttl": "1s" })).await;
    let (status, view) = rig.post("/v1/containers", mounting(&rig, "long", PATIENT)).await;
    assert_eq!(status, 201, "{view}");
    let view = rig.wait("long").await;
    assert_eq!(view.state, ChildState::Exited);
    assert_eq!(view.reason.as_deref(), Some("cache work: its time to live of 1s is over"));
    rig.until("its end", |rig| {
        let caches = rig.path("state/nested/p").join(PARENT).join("caches");
        fs::read_dir(caches).expect("caches").next().is_none().then_some(())
    })
    .await;
    rig.refused(("GET", "/v1/caches/work", b""), (404, "no_such_cache", "work")).await;
}

/// Being asked to end with all the time of the world is no way around.
#[tokio::test]
async fn a_long_grace_does_not_lengthen_a_caches_life() {
    let rig = Rig::new().await;
    make(&rig, json!({ "ttl": "1s" })).await;
    rig.post("/v1/containers", mounting(&rig, "long", PATIENT)).await;
    let stop = rig.post("/v1/containers/long/stop", json!({ "signal": "SIGCONT", "grace": "1h" }));
    let (_, view) = stop.await;
    assert_eq!((&view["state"], &view["exit"]["code"]), (&json!("exited"), &json!(0)), "{view}");
}

#[tokio::test]
async fn time_goes_on_while_there_is_no_agent() {
    let mut rig = Rig::new().await;
    make(&rig, json!({ "ttl": "1s" })).await;
    let (_, view) = rig.post("/v1/containers", mounting(&rig, "long", PATIENT)).await;
    let pid = i32::try_from(view["pid"].as_i64().expect("a process")).expect("a number");
    rig.kill_agent();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert!(is_alive(pid), "it outlives its agent");
    rig.start().await;
    let view = rig.wait("long").await;
    assert!(view.reason.is_some_and(|why| why.contains("is over")));
    rig.until("its end", |rig| {
        let caches = rig.path("state/nested/p").join(PARENT).join("caches");
        fs::read_dir(caches).expect("caches").next().is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cache_outlives_the_agent_and_not_its_container() {
    let mut rig = Rig::new().await;
    make(&rig, json!({})).await;
    let (_, view) = rig.post("/v1/containers", mounting(&rig, "long", PATIENT)).await;
    assert_eq!(view["state"], json!("running"), "{view}");
    rig.restart().await;
    let cache = rig.get("/v1/caches/work").await;
    assert_eq!((&cache["files"], &cache["used_by"]), (&json!(2), &json!(["long"])), "{cache}");
    coord_runtime::Runtime::kill(&rig.runtime(), PARENT).expect("killed");
    rig.until_nothing_is_left().await;
}

#[tokio::test]
async fn a_folder_of_the_container_is_seen_live() {
    let rig = Rig::new().await;
    let pid = rig.pid_of_parent();
    let data = PathBuf::from(format!("/proc/{pid}/root/tmp/data"));
    fs::create_dir(&data).expect("a folder");
    fs::write(data.join("x"), "before").expect("written");
    let (status, view) = rig.post("/v1/caches", json!({ "name": "data", "path": "/data", "from": "/tmp/data" })).await;
    assert_eq!((status, &view["kind"]), (201, &json!("live")), "{view}");
    let mut asked = rig.script("look", "cat /data/x; while ! test -e /data/go; do sleep 0.02; done; cat /data/x");
    asked["caches"] = json!([{ "name": "data" }]);
    let (status, view) = rig.post("/v1/containers", asked).await;
    assert_eq!((status, &view["caches"][0]["verified"]["files"]), (201, &json!(1)), "{view}");
    fs::write(data.join("x"), "after").expect("written");
    fs::write(data.join("go"), "").expect("written");
    rig.wait("look").await;
    let (_, log) = rig.ask("GET", "/v1/containers/look/logs", b"").await;
    assert!(log.to_string().contains("after"), "{log}");
}

#[tokio::test]
async fn no_more_is_put_than_allowed_and_nothing_by_halves() {
    let mut rig = Rig::empty().await;
    rig.permission.caches = coord_shared::quantity::ByteSize(1 << 20);
    rig.open(PARENT).await;
    make(&rig, json!({})).await;
    let large = "x".repeat(2 << 20);
    let packed = archive(&rig, &[("first", "small"), ("second", &large)]);
    rig.refused(("PUT", "/v1/caches/work/archive", &packed), (507, "over_quota", "")).await;
    rig.refused(("PUT", "/v1/caches/work/files/big", large.as_bytes()), (507, "over_quota", "")).await;
    rig.refused(("PUT", "/v1/caches/work/archive", b"no archive at all, but long enough to be read"), (400, "bad_archive", ""))
        .await;
    let cache = rig.get("/v1/caches/work").await;
    assert_eq!((&cache["files"], &cache["bytes"]), (&json!(2), &json!(8)), "{cache}");
}
