//! Good and bad answers, route by route.

use super::rig::Rig;
use serde_json::json;

#[tokio::test]
async fn what_is_not_known_is_refused_with_its_reason() {
    let rig = Rig::new().await;
    for (method, path, expect) in [
        ("GET", "/v2/info", (404, "no_such_version", "it speaks v1")),
        ("GET", "/", (404, "no_such_route", "begins with /v1/")),
        ("GET", "/v1", (404, "no_such_route", "")),
        ("GET", "/v1/nothing", (404, "no_such_route", "GET /v1/nothing")),
        ("DELETE", "/v1/info", (405, "method_not_allowed", "by GET")),
        ("PUT", "/v1/containers", (405, "method_not_allowed", "GET, POST")),
        ("GET", "/v1/containers/a/stop", (405, "method_not_allowed", "POST")),
        ("GET", "/v1/containers/none", (404, "no_such_container", "none")),
        ("GET", "/v1/containers/..%2f..", (400, "invalid_request", "container name")),
        ("GET", "/v1/caches/%ff", (400, "invalid_request", "UTF-8")),
        ("POST", "/v1/containers/none/wait", (404, "no_such_container", "none")),
        ("POST", "/v1/containers/none/stop", (404, "no_such_container", "none")),
        ("PUT", "/v1/caches/a/files/x?mode=9", (400, "invalid_request", "mode=0644")),
        ("PUT", "/v1/caches/a/files/x?mode=20000", (400, "invalid_request", "mode=0644")),
    ] {
        rig.refused((method, path, b""), expect).await;
    }
    let large = vec![b' '; 70_000];
    rig.refused(("POST", "/v1/containers", &large), (413, "too_large", "65536")).await;
    for body in ["", "{", "[]", "{\"image\": 1}", "{\"image\": \"a/b\", \"privileged\": true}"] {
        rig.refused(("POST", "/v1/containers", body.as_bytes()), (400, "invalid_request", "expected")).await;
    }
}

#[tokio::test]
async fn the_door_says_what_it_allows() {
    let rig = Rig::new().await;
    let info = rig.get("/v1/info").await;
    assert_eq!((&info["parent"], &info["containers"], &info["pids"]), (&json!("web.0-r1-1"), &json!([3, 0]), &json!(300)));
    assert_eq!(info["own_image"], json!(rig.image.to_string()));
    assert_eq!(rig.get("/v1/containers").await, json!({ "containers": [] }));
    assert_eq!(rig.get("/v1/caches").await, json!({ "caches": [] }));
}

#[tokio::test]
async fn images_are_named_in_full() {
    let rig = Rig::new().await;
    let host = rig.registry.host();
    let check = async |image: &str, expect: (u16, &str, &str)| {
        let body = json!({ "image": image }).to_string();
        rig.refused(("POST", "/v1/containers", body.as_bytes()), expect).await;
    };
    check("busybox", (400, "invalid_reference", "in which registry")).await;
    check("tools/sh:1", (400, "invalid_reference", "docker.io/tools/sh:1")).await;
    check("", (400, "invalid_reference", "empty")).await;
    check(&format!("{host}/tools/none:1"), (404, "image_not_found", "no such thing")).await;
    check(&format!("{host}/tools/SH:1"), (400, "invalid_reference", "lower case")).await;
    // What failed is remembered, with its reason.
    let failed = rig.get("/v1/containers").await;
    assert_eq!(failed["containers"][0]["state"], json!("failed"), "{failed}");
    assert!(failed["containers"][0]["reason"].as_str().is_some_and(|why| why.contains("no such thing")), "{failed}");
}

#[tokio::test]
async fn a_name_is_one_containers_at_a_time() {
    let rig = Rig::new().await;
    rig.run("one", "sleep 3600").await;
    let again = rig.script("one", "true").to_string();
    rig.refused(("POST", "/v1/containers", again.as_bytes()), (409, "container_exists", "stop it first")).await;
    rig.post("/v1/containers/one/signal", json!({ "signal": "SIGKILL" })).await;
    assert_eq!(rig.wait("one").await.exit.and_then(|exit| exit.signal), Some(9));
    rig.run("one", "echo second").await;
    assert_eq!(rig.wait("one").await.exit.and_then(|exit| exit.code), Some(0));
    let all = rig.get("/v1/containers").await;
    assert_eq!(all["containers"].as_array().map(Vec::len), Some(1), "{all}");
    let (_, log) = rig.ask("GET", "/v1/containers/one/logs", b"").await;
    assert_eq!(log["m"], json!("second"), "its log is its own: {log}");
}
