//! What counts as a change, and how it is said.

use super::LEAST;
use crate::document::{Document, diff, parse};

fn read(more: &str) -> Document {
    parse(&format!("{LEAST}{more}")).expect("a good document")
}

/// Changes as lines: `key: old -> new`, with `!` behind those that replace containers.
fn lines(old: Option<&Document>, new: Option<&Document>) -> Vec<String> {
    let side = |value: Option<String>| value.unwrap_or_else(|| "absent".to_owned());
    let line = |change: crate::wire::ChangeView| {
        format!("{}: {} -> {}{}", change.key, side(change.old), side(change.new), if change.replaces { " !" } else { "" })
    };
    diff(old, new).into_iter().map(line).collect()
}

fn check(old: &str, new: &str, expect: &[&str]) {
    assert_eq!(lines(Some(&read(old)), Some(&read(new))), expect, "{old} -> {new}");
}

#[test]
fn meanings_are_compared() {
    check("", "", &[]);
    check("", "restart = \"always\" # as it was\nnetwork = \"none\"\n[rollout]\nmonitor = \"5000ms\"\n", &[]);
    check("environment = { A = 1 }", "environment = [\"A=1\"]", &[]);
    check("command = \"a b\"", "command = [\"a\", \"b\"]", &[]);
}

#[test]
fn every_key_can_change() {
    check(
        "",
        r#"entrypoint = ["e"]
        command = "c 'd e'"
        working_dir = "/w"
        user = "u"
        hostname = "h"
        environment = { A = "1\n2", "b c" = 2 }
        labels = { l = "m" }
        network = "none"
        read_only = true
        restart = "on-failure:3"
        stop_signal = "QUIT"
        stop_grace_period = "1m"
        resources = { memory = "1g", cpus = 1.5, pids = 9 }
        rollout = { parallelism = "10%", order = "start-first", monitor = "0", drain = "0s" }"#,
        &[
            "entrypoint: absent -> [\"e\"] !",
            "command: absent -> [\"c\", \"d e\"] !",
            "working_dir: absent -> \"/w\" !",
            "user: absent -> \"u\" !",
            "hostname: absent -> \"h\" !",
            "environment.\"b c\": absent -> \"2\" !",
            "environment.A: absent -> \"1\\n2\" !",
            "labels.l: absent -> \"m\" !",
            "read_only: false -> true !",
            "restart: \"always\" -> \"on-failure:3\"",
            "stop_signal: absent -> \"SIGQUIT\" !",
            "stop_grace_period: \"10s\" -> \"1m\"",
            "resources.memory: absent -> \"1GiB\" !",
            "resources.cpus: absent -> 1.5 !",
            "resources.pids: absent -> 9 !",
            "rollout.parallelism: 1 -> \"10%\"",
            "rollout.order: \"stop-first\" -> \"start-first\"",
            "rollout.monitor: \"5s\" -> \"0s\"",
            "rollout.drain: \"2s\" -> \"0s\"",
        ],
    );
    check("network = \"host\"", "", &["network: \"host\" -> \"none\" !"]);
    check(
        "",
        r#"network = "bridge"
        ports = ["8000-8001:80-81"]
        extra_hosts = { db = ["10.0.0.1", "host-gateway"] }
        volumes = ["data:/data:ro"]
        tmpfs = "/run:size=1m"
        cap_drop = ["NET_RAW"]
        security_opt = ["seccomp=unconfined"]
        ipc = "host"
        ulimits = { nofile = 5, core = { soft = 0, hard = -1 } }
        sysctls = { "net.a" = 1 }
        post_start = [{ command = "a b", environment = { A = 1 } }]
        healthcheck = { tcp = ":80", disable = false, retries = 2 }
        nested = { memory = "64MiB", cpus = 0.5, pids = 50, images = ["r.lan/*"], caches = "1g", network = "parent" }
        logging = { driver = "none" }"#,
        &[
            "network: \"none\" -> \"bridge\" !",
            "ports: absent -> [\"8000:80\", \"8001:81\"] !",
            "extra_hosts.db: absent -> [\"10.0.0.1\", \"host-gateway\"] !",
            "volumes: absent -> [\"data:/data:ro\"] !",
            "tmpfs: absent -> [\"/run:size=1MiB\"] !",
            "cap_drop: absent -> [\"NET_RAW\"] !",
            "security_opt: absent -> [\"seccomp=unconfined\"] !",
            "ipc: \"private\" -> \"host\" !",
            "ulimits.core: absent -> { soft = 0, hard = -1 } !",
            "ulimits.nofile: absent -> 5 !",
            "sysctls.\"net.a\": absent -> \"1\" !",
            "post_start: absent -> [{ command = [\"a\", \"b\"], environment = { A = \"1\" } }]",
            "nested.containers: absent -> 8 !",
            "nested.memory: absent -> \"64MiB\" !",
            "nested.cpus: absent -> 0.5 !",
            "nested.pids: absent -> 50 !",
            "nested.images: absent -> [\"r.lan/*\"] !",
            "nested.caches: absent -> \"1GiB\" !",
            "nested.network: absent -> \"parent\" !",
            "healthcheck.tcp: absent -> \":80\"",
            "healthcheck.retries: absent -> 2",
            "logging.driver: \"json-file\" -> \"none\" !",
        ],
    );
    check(
        "environment = { A = 1, B = 2 }",
        "environment = { A = 3 }",
        &["environment.A: \"1\" -> \"3\" !", "environment.B: \"2\" -> absent !"],
    );
}

#[test]
fn a_permission_is_told_even_where_it_is_the_usual_one() {
    let document = read("nested = {}");
    assert!(lines(None, Some(&document)).contains(&"nested.containers: absent -> 8".to_owned()));
    check(
        "nested = { containers = 8 }",
        "nested = { containers = 9, caches = \"1MiB\" }",
        &["nested.containers: 8 -> 9 !", "nested.caches: \"512MiB\" -> \"1MiB\" !"],
    );
}

#[test]
fn image_and_hosts() {
    let old = parse("image = \"web:1\"\nhosts = [\"a\", \"b\"]").expect("a good document");
    let new = parse("image = \"web:2\"\nhosts = [\"a\"]").expect("a good document");
    assert_eq!(
        lines(Some(&old), Some(&new)),
        ["image: \"docker.io/library/web:1\" -> \"docker.io/library/web:2\" !", "hosts: [\"a\", \"b\"] -> [\"a\"]"],
    );
}

#[test]
fn a_new_and_a_deleted_workload() {
    let document = read("restart = \"no\"\nnetwork = \"none\"\nuser = \"u\"");
    assert_eq!(
        lines(None, Some(&document)),
        [
            "image: absent -> \"docker.io/library/web:latest\"",
            "hosts: absent -> [\"web-1\"]",
            "user: absent -> \"u\"",
            "restart: absent -> \"no\""
        ],
    );
    assert_eq!(
        lines(Some(&document), None),
        [
            "image: \"docker.io/library/web:latest\" -> absent",
            "hosts: [\"web-1\"] -> absent",
            "user: \"u\" -> absent",
            "restart: \"no\" -> absent"
        ],
    );
    assert_eq!(lines(None, None), [""; 0]);
}

/// What the example of a key needs beside it.
fn context(section: &str, name: &str) -> &'static str {
    match (section, name) {
        ("", "dns" | "dns_search" | "dns_opt") | ("healthcheck", "http" | "tcp") => "network = \"bridge\"\n",
        ("resources", "memory_swap") => "resources.memory = \"256MiB\"\n",
        _ => "",
    }
}

#[test]
fn replaces_agrees_with_the_fingerprint() {
    let digest = crate::names::Digest::of(b"image");
    for (table, key) in crate::document::keys::DOCUMENT.all_keys() {
        if matches!(key.name, "image" | "hosts") {
            continue;
        }
        let context = context(table, key.name);
        let path = if table.is_empty() { String::new() } else { format!("{table}.") };
        let least = read(context);
        let changed = read(&format!("{context}{path}{}", key.example));
        let changes = diff(Some(&least), Some(&changed));
        // Also shows that no key of the reference is without effect.
        assert!(!changes.is_empty(), "{}", key.example);
        let replaces = changes.iter().any(|change| change.replaces);
        assert_eq!(replaces, least.fingerprint(&digest) != changed.fingerprint(&digest), "{}", key.example);
        // A change is told under the name of the key, at the place of the reference.
        let dotted = format!("{path}{}", key.name);
        assert!(changes.iter().any(|change| change.key == dotted || change.key.starts_with(&format!("{dotted}."))), "{dotted}");
    }
}
