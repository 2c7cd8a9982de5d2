//! Limits of containers within another one: their own, those of all together, and those of the whole.

use std::fs;
use std::path::PathBuf;

use super::super::lab::{Lab, log_text, until};
use super::{child_spec, parent_spec, start_parent, status};
use crate::{Resources, Runtime, survey};

/// The text of a file in the group `below` of the parent's: of v2, or of the v1 controller.
fn in_group(lab: &Lab, below: &str, v2: &str, v1: &str) -> String {
    let parent = lab.runtime.0.containers().get("parent").cloned().expect("a parent that runs");
    let groups = parent.cgroup.unified.iter().map(|base| base.join("ct").join(below).join(v2));
    let paths = groups.chain(parent.cgroup.v1.iter().map(|group| group.join(below).join(v1))).collect::<Vec<PathBuf>>();
    let text = paths.iter().find_map(|path| fs::read_to_string(path).ok());
    text.unwrap_or_else(|| panic!("none of {paths:?}")).trim().to_owned()
}

#[tokio::test]
async fn root_nested_limits_are_those_of_whole_share_and_one() {
    let lab = Lab::new();
    let mut spec = parent_spec(&lab, "");
    let resources = Resources { memory_bytes: Some(96 << 20), cpus_milli: Some(800), pids: Some(60), ..Resources::default() };
    // Not every kernel has cpusets.
    let has_cpusets = survey().expect("a survey").controllers.contains(&"cpuset");
    spec.resources = Resources { cpuset: has_cpusets.then(|| "0".to_owned()), ..resources };
    let parent = start_parent(&lab, spec).await;
    let mut spec = child_spec(&lab, "child", "echo up; sleep 1000");
    spec.resources = Resources { memory_bytes: Some(16 << 20), cpus_milli: Some(5000), pids: Some(9), ..Resources::default() };
    let child = lab.runtime.start(spec).await.expect("a start");
    let check = |below: &str, v2: &str, v1: &str, expect: &[&str]| {
        let found = in_group(&lab, below, v2, v1);
        assert!(expect.contains(&found.as_str()), "{below} {v2} or {v1}: {found}");
    };
    let one = |v1: &str| if lab.runtime.0.cgroups.may_be_mounted() { "nested/child/ct".to_owned() } else { v1.to_owned() };
    for (below, memory, cpu, pids) in [
        (String::new(), "100663296", ["80000 100000", "80000"], "60"),
        // No more processor time than the whole has, which v1 would not take.
        ("nested".to_owned(), "50331648", ["100000 100000", "80000"], "40"),
        (one("nested/child"), "16777216", ["500000 100000", "80000"], "9"),
    ] {
        check(&below, "memory.max", "memory.limit_in_bytes", &[memory]);
        check(&below, "cpu.max", "cpu.cfs_quota_us", &cpu);
        check(&below, "pids.max", "pids.max", &[pids]);
    }
    for pid in [parent.pid, child.pid].into_iter().filter(|_| has_cpusets) {
        assert_eq!(status(pid, "Cpus_allowed_list"), "0");
    }
    // Each is where it belongs, and the whole is counted.
    let groups = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("groups");
    let ours = |text: &str| text.lines().filter(|line| line.contains("parent")).map(str::to_owned).collect::<Vec<_>>();
    assert!(ours(&groups(parent.pid)).iter().all(|line| line.ends_with("/main")), "{}", groups(parent.pid));
    assert!(!ours(&groups(child.pid)).is_empty());
    assert!(ours(&groups(child.pid)).iter().all(|line| line.contains("/nested/child")), "{}", groups(child.pid));
    let count = || lab.runtime.usage("parent").expect("usage").pids;
    until("one process each", || count().processes == Some(2)).await;
    assert_eq!((count().current, count().limit), (Some(2), Some(60)));
    assert_eq!(lab.runtime.usage("child").expect("usage").pids.processes, Some(1));
    // What the child sees of its groups is not above its own.
    let args = ["/bin/cat", "/proc/self/cgroup"].map(str::to_owned).to_vec();
    let exec = lab.runtime.exec("parent", crate::ExecSpec { args, ..Default::default() }).await.expect("an exec");
    let mut seen = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(exec.stdout), &mut seen).expect("output");
    assert!(seen.lines().any(|line| line == "0::/"), "a program beside the command is in the same group: {seen}");
    for id in ["child", "parent"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// As many processes as it can get: it stays in its own limit, and others go on.
#[tokio::test]
async fn root_nested_fork_bombs_stay_within() {
    let lab = Lab::new();
    start_parent(&lab, parent_spec(&lab, "")).await;
    // A shell that cannot fork any more ends, and what it has started stays.
    let bomb = "sh -c 'i=0; while test $i -lt 200; do sleep 1000 & i=$((i+1)); done'; exec sleep 1000";
    let current = |id: &str| lab.runtime.usage(id).ok().and_then(|usage| usage.pids.current).unwrap_or(0);
    for (id, limit, expect) in [("one", 12, 11..13), ("two", 35, 25..30)] {
        let mut spec = child_spec(&lab, id, bomb);
        spec.resources.pids = Some(limit);
        lab.runtime.start(spec).await.expect("a start");
        let log = lab.path(&format!("log/{id}.jsonl"));
        until("a limit to be reached", || log_text(&log).contains("can't fork")).await;
        // The second has room for more, but all together have not.
        assert!(expect.contains(&current(id)), "{id}: {}", current(id));
    }
    assert!(current("one") + current("two") <= 40);
    // The parent itself has what is left of the whole.
    let args = ["/bin/sh", "-c", "sleep 0 & sleep 0 & wait"].map(str::to_owned).to_vec();
    let exec = lab.runtime.exec("parent", crate::ExecSpec { args, ..Default::default() }).await.expect("an exec");
    assert_eq!(exec.ended.await.expect("its end").code, Some(0));
    for id in ["one", "two", "parent"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// Two that have room for 40 MiB each, and for 48 MiB together: one of them is killed, and that is told of no other.
#[tokio::test]
async fn root_nested_memory_is_limited_for_all_together() {
    let mut lab = Lab::new();
    start_parent(&lab, parent_spec(&lab, "")).await;
    // Holds what it wants to write to somebody who reads nothing.
    let script = "mknod /p p; (sleep 1000 </p) & exec dd if=/dev/zero bs=30000000 count=1 of=/p";
    let holds = |id: &str| lab.runtime.usage(id).ok().and_then(|usage| usage.memory.rss).unwrap_or(0) >= 29_000_000;
    for id in ["one", "two"] {
        let mut spec = child_spec(&lab, id, script);
        spec.resources = Resources { memory_bytes: Some(40 << 20), pids: Some(9), ..Resources::default() };
        lab.runtime.start(spec).await.expect("a start");
        if id == "one" {
            until("it to have what it wants", || holds("one")).await;
        }
    }
    let (id, exit) = lab.any_exit().await;
    assert!(exit.oom_killed, "{id}: {exit:?}");
    let other = if id == "one" { "two" } else { "one" };
    until("the other to have what it wants", || {
        lab.runtime.usage(other).ok().and_then(|usage| usage.memory.rss).is_some_and(|bytes| bytes >= 29_000_000)
    })
    .await;
    // The parent ends later, and badly; it was not that.
    lab.runtime.kill("parent").expect("a kill");
    let mut ended = [lab.any_exit().await, lab.any_exit().await];
    ended.sort_by(|(one, _), (two, _)| one.cmp(two));
    assert!(ended.iter().all(|(_, exit)| !exit.oom_killed), "{ended:?}");
    for id in ["one", "two", "parent"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
