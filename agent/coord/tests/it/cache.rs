//! `coord cache`.

use crate::door::{Break, FakeDoor};
use crate::lab::{coord, done, fed};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn one_is_made() {
    let door = FakeDoor::new();
    let check = |line: &str, asked: serde_json::Value, out: &str, err: &str| {
        let done = done(&door, &line.split(' ').collect::<Vec<_>>());
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(0), out, err), "{line}");
        assert_eq!(door.body("POST /v1/caches"), asked, "{line}");
    };
    check(
        "cache create a --path /in",
        json!({"name": "a", "path": "/in", "ttl_from": "creation"}),
        "a: store, open at /in\n",
        "",
    );
    check(
        "cache create b --path /in --ttl 30m --ttl-from last-use --size 100MiB",
        json!({"name": "b", "path": "/in", "ttl": "30m", "ttl_from": "last_use", "size": "100MiB"}),
        "b: store, open at /in, lives 30m\n",
        "",
    );
    check(
        "cache create c --path /in --from /live",
        json!({"name": "c", "path": "/in", "ttl_from": "creation", "from": "/live"}),
        "c: live of /live, open at /in\n",
        "",
    );
    check(
        "cache create d --path /in --from /proc/sys",
        json!({"name": "d", "path": "/in", "ttl_from": "creation", "from": "/proc/sys"}),
        "d: store, open at /in\n",
        "coord: cache d is a copy of /proc/sys: it is on proc\n",
    );
}

#[test]
fn files_are_put() {
    let door = FakeDoor::new();
    done(&door, &["cache", "create", "a", "--path", "/in"]);
    let file = door.path("file name");
    fs::write(&file, b"12345").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).expect("set");
    let file = file.to_str().expect("text");
    let check = |args: &[&str], line: &str| {
        let done = done(&door, &[&["cache", "put", "a"], args].concat());
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.out.starts_with("a: 1 file put, 5 B; it holds "), "{}", done.out);
        assert_eq!(door.lines().last().map(String::as_str), Some(line));
    };
    check(&[file], "PUT /v1/caches/a/files/file%20name?mode=0750");
    check(&[file, "--to", "sub/"], "PUT /v1/caches/a/files/sub/file%20name?mode=0750");
    check(&[file, "--to", "sub/other"], "PUT /v1/caches/a/files/sub/other?mode=0750");
    let piped = fed(&door, &["cache", "put", "a", "/dev/stdin", "--to", "x"], b"12345");
    assert!(piped.out.starts_with("a: 1 file put, 5 B"), "{piped:?}");
    assert_eq!(door.lines().last().map(String::as_str), Some("PUT /v1/caches/a/files/x?mode=0644"));
    let archive = fed(&door, &["cache", "put", "a", "-", "--to", "below it"], b"a tar");
    assert!(archive.out.starts_with("a: 1 file put, 5 B"), "{archive:?}");
    assert_eq!(door.lines().last().map(String::as_str), Some("PUT /v1/caches/a/archive?path=below%20it"));
}

#[test]
fn a_folder_is_put_as_an_archive() {
    let door = FakeDoor::new();
    done(&door, &["cache", "create", "a", "--path", "/in"]);
    let folder = door.path("folder");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("file"), vec![1; 3_000_000]).expect("written");
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).expect("a socket");
    let put = done(&door, &["cache", "put", "a", folder.to_str().expect("text")]);
    assert_eq!((put.code, put.err.as_str()), (Some(0), "coord: passed over socket, a socket\n"), "{put:?}");
    let store = door.store();
    let seen = store.seen.last().expect("a question");
    assert_eq!(seen.line, "PUT /v1/caches/a/archive?path=");
    assert!(seen.body.len() > 3_000_000 && seen.body.len().is_multiple_of(512), "{}", seen.body.len());
}

#[test]
fn what_cannot_be_put_is_told() {
    let door = FakeDoor::new();
    let check = |source: &str, said: &str| {
        let put = done(&door, &["cache", "put", "a", source]);
        assert_eq!(put.code, Some(125), "{put:?}");
        assert!(put.err.starts_with(&format!("error: {said}")), "{}", put.err);
    };
    check("/nowhere/at/all", "cannot look at /nowhere/at/all: No such file");
    // The cache is not there.
    check("/proc/self/fdinfo", "there is no cache a\nhint: the cure\n");
    let file = door.path("file");
    fs::write(&file, b"12345").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
    door.refuse("PUT /v1/caches/a/files/file?mode=0600", "over_quota", "cache a may hold 1 MiB");
    check(file.to_str().expect("text"), "cache a may hold 1 MiB\nhint: the cure\n");
}

#[test]
fn they_are_listed_and_shown() {
    let door = FakeDoor::new();
    assert_eq!(done(&door, &["cache", "ls"]).out.lines().count(), 1);
    done(&door, &["cache", "create", "a", "--path", "/in", "--ttl", "1h"]);
    let listed = done(&door, &["cache", "ls"]);
    let words: Vec<&str> = listed.out.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!((words[0], words[1], words[2], words[words.len() - 2]), ("a", "store", "0", "/in"), "{}", listed.out);
    let json: serde_json::Value = serde_json::from_str(&done(&door, &["cache", "ls", "--json"]).out).expect("JSON");
    assert_eq!((json[0]["name"].as_str(), json[0]["path"].as_str()), (Some("a"), Some("/in")));
    let shown = done(&door, &["cache", "show", "a"]);
    assert!(shown.out.contains("-0644") && shown.out.contains("b -> a"), "{}", shown.out);
    let json: serde_json::Value = serde_json::from_str(&done(&door, &["cache", "show", "a", "--json"]).out).expect("JSON");
    assert_eq!((json["cache"]["name"].as_str(), json["entries"].as_array().map(Vec::len)), (Some("a"), Some(2)));
}

#[test]
fn one_is_compared() {
    let door = FakeDoor::new();
    done(&door, &["cache", "create", "a", "--path", "/in"]);
    let same = done(&door, &["cache", "verify", "a"]);
    assert_eq!((same.code, same.out.as_str()), (Some(0), "a: verified, 3 files, 99 B (2 compared whole, 1 by pieces)\n"));
    door.refuse("POST /v1/caches/a/verify", "altered", "cache a: lib/x differs: 5 bytes instead of 4");
    let other = done(&door, &["cache", "verify", "a"]);
    assert_eq!((other.code, other.out.as_str()), (Some(1), ""));
    assert_eq!(other.err, "error: cache a: lib/x differs: 5 bytes instead of 4\nhint: the cure\n");
    assert_eq!(done(&door, &["cache", "verify", "b"]).code, Some(125));
}

#[test]
fn they_are_deleted() {
    let door = FakeDoor::new();
    for name in ["a", "b"] {
        done(&door, &["cache", "create", name, "--path", "/in"]);
    }
    let some = done(&door, &["cache", "rm", "a", "nobody", "b"]);
    assert_eq!((some.code, some.err.as_str()), (Some(125), "error: there is no cache nobody\nhint: the cure\n"));
    assert!(door.store().caches.is_empty());
    assert_eq!(done(&door, &["cache", "rm", "--force", "nobody"]).code, Some(0));
}

/// Nobody reads: no failure, and no endless output.
#[test]
fn a_reader_may_go_away() {
    let door = FakeDoor::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = coord(&door, &["cache", "ls"]).stdout(writer).status().expect("coord runs");
    assert_eq!(status.code(), Some(0));
}

/// Whatever is lost with an agent, the next one is asked, and nothing is done twice that must not be.
#[test]
fn an_agent_that_is_replaced_is_asked_again() {
    let door = FakeDoor::new();
    let folder = door.path("folder");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("file"), vec![1; 2_000_000]).expect("written");
    let folder = folder.to_str().expect("text");
    let check = |line: &str, args: &[&str], breaks: Break, asked: usize| {
        door.store().breaks.insert(line.to_owned(), breaks);
        let before = door.lines().iter().filter(|other| *other == line).count();
        let done = done(&door, args);
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{args:?} {breaks:?}");
        assert_eq!(door.lines().iter().filter(|other| *other == line).count() - before, asked, "{args:?} {breaks:?}");
    };
    let create = ["cache", "create", "a", "--path", "/in"];
    check("POST /v1/caches", &create, Break::Before, 2);
    check("DELETE /v1/caches/a", &["cache", "rm", "a"], Break::After, 2);
    check("POST /v1/caches", &create, Break::After, 1);
    for breaks in [Break::Before, Break::After] {
        check("PUT /v1/caches/a/archive?path=", &["cache", "put", "a", folder], breaks, 2);
        check("GET /v1/caches", &["cache", "ls"], breaks, 2);
        check("GET /v1/caches/a/list", &["cache", "show", "a"], breaks, 2);
        check("POST /v1/caches/a/verify", &["cache", "verify", "a"], breaks, 2);
    }
    // What was on standard input is gone.
    door.store().breaks.insert("PUT /v1/caches/a/archive?path=".to_owned(), Break::Before);
    let put = fed(&door, &["cache", "put", "a", "-"], b"a tar");
    assert_eq!(put.code, Some(125), "{put:?}");
    assert!(put.err.contains("broke off") && put.err.contains("hint: "), "{}", put.err);
}
