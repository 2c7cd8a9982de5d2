//! Containers within a container: what they share with it, what they cannot do, and that they end with it.

use std::fs;

use super::lab::{Lab, log_text, until};
use crate::{ContainerSpec, NetworkMode, Resources, Runtime};

/// What all within a parent get together.
fn within() -> Resources {
    Resources { memory_bytes: Some(48 << 20), cpus_milli: Some(1000), pids: Some(40), ..Resources::default() }
}

/// A parent that waits.
fn parent_spec(lab: &Lab, id: &str) -> ContainerSpec {
    let mut spec = lab.spec(id, "echo up; sleep 1000");
    spec.nests = true;
    spec
}

fn namespace(pid: i32, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
    link.display().to_string()
}

fn child_spec(lab: &Lab, parent: &str, id: &str, script: &str) -> ContainerSpec {
    let mut spec = lab.spec(id, script);
    spec.parent = Some(lab.runtime.parent(parent, &within()).expect("a parent"));
    spec.network = NetworkMode::Parent;
    spec
}

#[tokio::test]
async fn root_nested_shares_what_it_may_and_has_the_rest_of_its_own() {
    let mut lab = Lab::new();
    let parent = lab.runtime.start(parent_spec(&lab, "parent")).await.expect("a start");
    let script =
        "cat /proc/self/uid_map | tr -s ' '; grep -E 'NoNewPrivs|Seccomp:|CapBnd' /proc/self/status | tr '\\t\\n' ' ;'; echo
        echo $$; ls /proc | grep -c '^[0-9]*$'; unshare -m true 2>/dev/null || echo filtered; echo done; sleep 1000";
    let child = lab.runtime.start(child_spec(&lab, "parent", "parent.child", script)).await.expect("a start");
    for (kind, shared) in
        [("user", true), ("net", true), ("pid", false), ("mnt", false), ("ipc", false), ("uts", false), ("cgroup", false)]
    {
        assert_eq!(namespace(parent.pid, kind) == namespace(child.pid, kind), shared, "{kind}");
    }
    let map = |pid: i32| fs::read_to_string(format!("/proc/{pid}/uid_map")).expect("a map");
    assert_eq!(map(parent.pid), map(child.pid));
    // Three numbers: the host's, its parent's, its own.
    let status = fs::read_to_string(format!("/proc/{}/status", child.pid)).expect("status");
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("numbers").split_whitespace().count();
    assert_eq!(numbers, 3, "{status}");
    let log = lab.path("log/parent.child.jsonl");
    until("the script to be done", || log_text(&log).contains("done")).await;
    let text = log_text(&log);
    assert!(text.contains("CapBnd: 00000000800405fb;NoNewPrivs: 1;Seccomp: 2;\n1\n"), "{text}");
    assert!(text.contains("filtered"), "{text}");

    let alone = lab.spec("parent.alone", "ip -o link | wc -l; sleep 1000");
    let alone = ContainerSpec { parent: Some(lab.runtime.parent("parent", &within()).expect("a parent")), ..alone };
    let alone = lab.runtime.start(alone).await.expect("a start");
    assert_ne!(namespace(parent.pid, "net"), namespace(alone.pid, "net"));
    assert_eq!(namespace(parent.pid, "user"), namespace(alone.pid, "user"));
    lab.runtime.remove("parent.alone").await.expect("a removal");
    assert_eq!(lab.any_exit().await.0, "parent.alone");
    lab.runtime.remove("parent").await.expect("a removal");
    let ended = [lab.any_exit().await, lab.any_exit().await];
    assert!(ended.iter().all(|(_, exit)| exit.signal == Some(libc::SIGKILL)), "{ended:?}");
    lab.runtime.remove("parent.child").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
