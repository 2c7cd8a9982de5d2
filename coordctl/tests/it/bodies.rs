//! Bodies as a coordinator sends them.

use serde_json::{Value, json};

/// A status with these workloads.
pub(crate) fn status(workloads: &[Value]) -> Value {
    json!({ "now": "2026-11-22T14:00:00Z", "workloads": workloads, "problems": [] })
}

/// A workload on these hosts, in this revision, ready or still starting.
pub(crate) fn workload(name: &str, revision: u64, ready: bool, hosts: &[&str]) -> Value {
    let instances: Vec<Value> = hosts.iter().map(|host| instance(name, revision, ready, host)).collect();
    json!({
        "name": name, "revision": revision, "image": "registry.lan/shop/web:1", "digest": null,
        "source": format!("api:{name}"), "published_at": "2026-11-22T13:00:00Z",
        "targets": hosts.len(), "ready": if ready { hosts.len() } else { 0 }, "instances": instances,
    })
}

fn instance(name: &str, revision: u64, ready: bool, host: &str) -> Value {
    let reason = if ready { Value::Null } else { json!({ "code": "starting" }) };
    json!({
        "host": host, "liveness": "ready", "assigned": revision,
        "report": {
            "instance": format!("{name}.0"), "state": if ready { "running" } else { "starting" }, "revision": revision,
            "ready": ready, "since": "2026-11-22T13:59:50Z", "reason": reason,
        },
    })
}

/// An answer to a diff or a publication.
pub(crate) fn diff(name: &str, current: Option<u64>, published: Option<u64>, changed: bool) -> Value {
    let changes = if changed {
        json!([{ "key": "image", "old": "registry.lan/shop/web:1", "new": "registry.lan/shop/web:2", "replaces": true }])
    } else {
        json!([])
    };
    let hosts = if changed { json!(["web-1", "web-2"]) } else { json!([]) };
    json!({
        "name": name, "current": current, "published": published, "changes": changes,
        "starts_on": [], "replaces_on": hosts, "stops_on": [],
    })
}

/// An error.
pub(crate) fn error(code: &str, message: &str, hint: Option<&str>) -> Value {
    json!({ "code": code, "message": message, "hint": hint })
}

/// A document that is good.
pub(crate) const DOCUMENT: &str = "image = \"registry.lan/shop/web:2\"\nhosts = [\"web-*\"]\n";
