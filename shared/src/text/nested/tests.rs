//! What the tree looks like.

use super::*;
use crate::wire::Exit;
use crate::wire::nested::Verified;
use jiff::SignedDuration;

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000_000).expect("in range")
}

fn ago_s(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn child(name: &str, state: ChildState) -> ChildView {
    ChildView {
        name: name.parse().expect("a name"),
        image: "registry.lan/tools/sh:1".to_owned(),
        digest: None,
        state,
        created_at: ago_s(60),
        started_at: Some(ago_s(50)),
        pid: None,
        exit: None,
        reason: None,
        caches: Vec::new(),
        attached: false,
    }
}

fn ended(name: &str, code: i32) -> ChildView {
    let exit = Exit { code: Some(code), signal: None, oom_killed: false, memory_limit: None, at: ago_s(5) };
    ChildView { exit: Some(exit), ..child(name, ChildState::Exited) }
}

fn cache(name: &str) -> CacheView {
    CacheView {
        name: name.parse().expect("a name"),
        path: "/work".to_owned(),
        kind: CacheKind::Store,
        because: None,
        from: None,
        files: 1000,
        bytes: 4 << 20,
        created_at: ago_s(100),
        used_at: ago_s(50),
        expires_at: None,
        used_by: Vec::new(),
    }
}

fn check(report: &NestedReport, ended_max: usize, expect: &[&str]) {
    let lines: Vec<String> =
        branches(report, now(), ended_max).iter().map(|line| format!("{}  {}", line.head, line.text)).collect();
    assert_eq!(lines, expect);
}

#[test]
fn nothing_is_no_tree() {
    check(&NestedReport::default(), 3, &[]);
    assert_eq!(summary(&NestedReport::default()), "");
}

#[test]
fn every_state_has_its_words() {
    let mount = |name: &str, read_only, verified: Option<u64>, verified_by_log| MountView {
        name: name.parse().expect("a name"),
        path: format!("/{name}"),
        read_only,
        verified: verified.map(|files| Verified { files, ..Verified::default() }),
        verified_by_log,
    };
    let running = ChildView {
        caches: vec![mount("work", true, Some(1000), None), mount("out", false, None, None)],
        ..child("unit", ChildState::Running)
    };
    let by_log = ChildView { caches: vec![mount("work", true, Some(1), Some(1))], ..ended("lint", 0) };
    let over = ChildView { reason: Some("cache work: its time to live of 30m is over".to_owned()), ..ended("slow", 143) };
    let altered = ChildView { reason: Some("a/b.txt: its content differs".to_owned()), ..child("e2e", ChildState::Failed) };
    let report = NestedReport {
        containers: vec![child("new", ChildState::Starting), running, by_log, over, altered],
        caches: vec![],
        left_out: 0,
    };
    check(
        &report,
        9,
        &[
            "├ new  starting for 1m; tools/sh:1",
            "├ unit  running for 50s; tools/sh:1; cache work at /work, read-only, 1000 files verified; cache out at /out",
            "├ lint  exit code 0, 5s ago; tools/sh:1; cache work at /work, read-only, 1 file verified, by its log, too",
            "├ slow  exit code 143 (SIGTERM), 5s ago; cache work: its time to live of 30m is over; tools/sh:1",
            "└ e2e  never ran: a/b.txt: its content differs; tools/sh:1",
        ],
    );
    assert_eq!(summary(&report), "2 containers run, 3 have ended");
}

#[test]
fn caches_say_what_they_are_and_how_long() {
    let names = ["a", "b", "c", "d"].map(|name| name.parse().expect("a name")).to_vec();
    let live = CacheView {
        kind: CacheKind::Live,
        from: Some("/src".to_owned()),
        expires_at: Some(ago_s(-1700)),
        used_by: names,
        ..cache("live")
    };
    let copy = CacheView {
        from: Some("/proc/sys".to_owned()),
        because: Some("procfs cannot be shared".to_owned()),
        expires_at: Some(ago_s(1)),
        files: 1,
        bytes: 12,
        ..cache("copy")
    };
    let report = NestedReport {
        containers: vec![child("unit", ChildState::Running)],
        caches: vec![copy, live, cache("work")],
        left_out: 0,
    };
    check(
        &report,
        9,
        &[
            "├ unit  running for 50s; tools/sh:1",
            "├ copy  cache, a copy of /proc/sys at /work, 1 file, 12 B (procfs cannot be shared), its time is over",
            "├ live  cache, live from /src at /work, 1000 files, 4.00 MiB, expires in 28m, mounted by a, b, c and 1 more",
            "└ work  cache at /work, 1000 files, 4.00 MiB",
        ],
    );
    assert_eq!(summary(&report), "1 container runs; 3 caches, 8.00 MiB");
}

#[test]
fn those_that_ended_are_bounded_and_counted() {
    let mut containers: Vec<ChildView> = (0..15).map(|number| ended(&format!("t{number}"), 0)).collect();
    containers.insert(2, child("runs", ChildState::Running));
    let report = NestedReport { containers, caches: Vec::new(), left_out: 7 };
    check(
        &report,
        2,
        &[
            "├ …  13 more have ended",
            "├ runs  running for 50s; tools/sh:1",
            "├ t13  exit code 0, 5s ago; tools/sh:1",
            "├ t14  exit code 0, 5s ago; tools/sh:1",
            "└ …  7 more are not told of: there are very many",
        ],
    );
}
