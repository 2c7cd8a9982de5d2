//! `coord ps`, `logs`, `kill`, `inspect`, `info`: second containers that there are.

use crate::door::FakeDoor;
use crate::lab::done;
use serde_json::json;

#[test]
fn they_are_listed() {
    let door = FakeDoor::new();
    done(&door, &["run", "-d", "--image", "r.lan/a:1", "--name", "runs", "--cache", "data:ro", "--", "sleep", "1000"]);
    done(&door, &["run", "-d", "--image", "r.lan/a:1", "--name", "ended", "--", "sh", "-c", "exit 3"]);
    done(&door, &["wait", "ended"]);
    let listed = done(&door, &["ps"]).out;
    let words: Vec<&str> = listed.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!((words[0], words[1], words[3], words[4]), ("runs", "running", "data:ro", "r.lan/a:1"), "{listed}");
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let all = done(&door, &["ps", "-a"]).out;
    assert!(all.contains("exit code 3"), "{all}");
    let all: serde_json::Value = serde_json::from_str(&done(&door, &["ps", "-a", "--json"]).out).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(2));
}

#[test]
fn a_log_is_read() {
    let door = FakeDoor::new();
    done(&door, &["run", "-d", "--image", "r.lan/a:1", "--name", "d", "--", "true"]);
    let log = done(&door, &["logs", "d"]);
    assert_eq!((log.code, log.out.as_str(), log.err.as_str()), (Some(0), "one\nthree\n", "two\n"));
    assert_eq!(door.lines().last().map(String::as_str), Some("GET /v1/containers/d/logs"));
    done(&door, &["logs", "-f", "--tail", "5", "d"]);
    assert_eq!(door.lines().last().map(String::as_str), Some("GET /v1/containers/d/logs?follow=true&tail=5"));
}

#[test]
fn a_signal_is_sent_to_each() {
    let door = FakeDoor::new();
    for name in ["a", "b"] {
        done(&door, &["run", "-d", "--image", "r.lan/a:1", "--name", name, "--", "sleep", "1000"]);
    }
    let killed = done(&door, &["kill", "--signal", "TERM", "a", "nobody", "b"]);
    assert_eq!((killed.code, killed.out.as_str()), (Some(125), "a\nb\n"));
    assert_eq!(killed.err, "error: there is no container nobody\nhint: the cure\n");
    assert_eq!(door.body("POST /v1/containers/a/signal"), json!({"signal": "SIGTERM"}));
    assert_eq!(done(&door, &["wait", "a", "b"]).out, "143\n143\n");
}

#[test]
fn one_is_looked_at() {
    let door = FakeDoor::new();
    done(&door, &["run", "-d", "--image", "r.lan/a:1", "--name", "d", "--", "sleep", "1000"]);
    let view: serde_json::Value = serde_json::from_str(&done(&door, &["inspect", "d"]).out).expect("JSON");
    assert_eq!((view["name"].as_str(), view["state"].as_str()), (Some("d"), Some("running")));
}

#[test]
fn what_is_allowed_is_shown() {
    let door = FakeDoor::new();
    let info = done(&door, &["info"]).out;
    for line in
        ["containers  1 of 8", "caches      1.00 MiB of 512 MiB", "cpus        that of this container", "network     none"]
    {
        assert!(info.contains(line), "{line}: {info}");
    }
    assert!(done(&door, &["info", "--json"]).out.contains("\"own_image\""));
}

#[test]
fn a_line_that_is_not_understood_is_no_exit_code_of_a_command() {
    let door = FakeDoor::new();
    let wrong = done(&door, &["run", "--imag", "x"]);
    assert_eq!(wrong.code, Some(125), "{wrong:?}");
    assert!(wrong.err.contains("--image"), "{}", wrong.err);
    let help = done(&door, &["run", "--help"]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
}
