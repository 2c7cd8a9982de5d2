//! Containers within a container: what they share with it, what they cannot do, and that they end with it.

mod ends;
mod inspection;
mod limits;
mod live;
mod refused;

use std::fs;

use super::lab::{Lab, log_text, until};
use crate::{ContainerSpec, NetworkMode, Resources, Running, Runtime};

/// What all within a parent get together.
fn within() -> Resources {
    Resources { memory_bytes: Some(48 << 20), cpus_milli: Some(1000), pids: Some(40), ..Resources::default() }
}

/// A parent that runs a script and then waits.
fn parent_spec(lab: &Lab, script: &str) -> ContainerSpec {
    let mut spec = lab.spec("parent", &format!("{script}\necho up; sleep 1000"));
    // These containers are of the embedded runtime, whatever runs the others.
    spec.backend = crate::Backend::Embedded;
    spec.nests = true;
    spec
}

/// Starts a parent, and waits until its script is done.
async fn start_parent(lab: &Lab, spec: ContainerSpec) -> Running {
    let running = lab.runtime.start(spec).await.expect("a parent to start");
    let log = lab.path("log/parent.jsonl");
    until("the parent to be up", || log_text(&log).contains("up\n")).await;
    running
}

/// A container within the parent, on its network.
fn child_spec(lab: &Lab, id: &str, script: &str) -> ContainerSpec {
    let mut spec = lab.spec(id, script);
    spec.backend = crate::Backend::Embedded;
    spec.parent = Some(lab.runtime.parent("parent", &within()).expect("a parent"));
    spec.network = NetworkMode::Parent;
    spec
}

fn namespace(pid: i32, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
    link.display().to_string()
}

/// A line of `/proc/PID/status`, without its name.
fn status(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("a line");
    line.trim().to_owned()
}

#[tokio::test]
async fn root_nested_shares_what_it_may_and_has_the_rest_of_its_own() {
    let lab = Lab::new();
    let parent = start_parent(&lab, parent_spec(&lab, "")).await;
    let script = "echo $$; ls /proc | grep -c '^[0-9]*$'; unshare -m true 2>/dev/null || echo filtered
        hostname; cat /etc/hosts | grep -c box; touch /sys/x /proc/sys/kernel/x 2>/dev/null || echo closed; echo up; sleep 1000";
    let child = lab.runtime.start(child_spec(&lab, "child", script)).await.expect("a start");
    assert_eq!(child.weakened, parent.weakened);
    for kind in ["user", "net"] {
        assert_eq!(namespace(parent.pid, kind), namespace(child.pid, kind));
    }
    for kind in ["pid", "mnt", "ipc", "uts", "cgroup"] {
        assert_ne!(namespace(parent.pid, kind), namespace(child.pid, kind));
        assert_ne!(namespace(std::process::id().cast_signed(), kind), namespace(child.pid, kind));
    }
    for map in ["uid_map", "gid_map"] {
        let map = |pid: i32| fs::read_to_string(format!("/proc/{pid}/{map}")).expect("a map");
        assert_eq!(map(parent.pid), map(child.pid));
    }
    // The host's number, its parent's, its own: one level for each.
    assert_eq!(status(child.pid, "NSpid").split_whitespace().count(), status(parent.pid, "NSpid").split_whitespace().count() + 1);
    assert_eq!(status(child.pid, "CapBnd"), status(parent.pid, "CapBnd"));
    assert_eq!((status(child.pid, "Seccomp"), status(child.pid, "NoNewPrivs")), ("2".to_owned(), "1".to_owned()));
    let log = lab.path("log/child.jsonl");
    until("the script to be done", || log_text(&log).contains("up\n")).await;
    let text = log_text(&log);
    assert!(text.starts_with("1\n") && text.contains("filtered\nbox\n1\nclosed\n"), "{text}");

    // Without any network, it has one that belongs to its users all the same.
    let mut alone = child_spec(&lab, "alone", "ip -o link | wc -l; sleep 1000");
    alone.network = NetworkMode::None;
    let alone = lab.runtime.start(alone).await.expect("a start");
    assert_ne!(namespace(parent.pid, "net"), namespace(alone.pid, "net"));
    assert_eq!(namespace(parent.pid, "user"), namespace(alone.pid, "user"));
    for id in ["alone", "child", "parent"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// What its parent was denied, it is denied.
#[tokio::test]
async fn root_nested_has_no_more_rights_than_its_parent() {
    let lab = Lab::new();
    let mut spec = parent_spec(&lab, "");
    spec.security.cap_drop = ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"].map(str::to_owned).to_vec();
    spec.security.cap_add = vec!["CAP_NET_ADMIN".to_owned()];
    spec.rlimits = vec![("RLIMIT_NOFILE".to_owned(), 100, 200), ("RLIMIT_CORE".to_owned(), 0, 0)];
    spec.oom_score_adj = 300;
    start_parent(&lab, spec).await;
    let mut spec = child_spec(&lab, "child", "sleep 1000");
    spec.security.cap_drop = vec!["CAP_KILL".to_owned()];
    let child = lab.runtime.start(spec).await.expect("a start");
    // The default without 0 (CHOWN), 10 (NET_BIND_SERVICE) and 5 (KILL); 12 (NET_ADMIN) is not of the default.
    assert_eq!(status(child.pid, "CapBnd"), format!("{:016x}", 0x8004_05fb_u64 & !(1 | 1 << 10 | 1 << 5)));
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.pid)).expect("limits");
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).expect("a limit");
        line[name.len()..].split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((limit("Max open files"), limit("Max core file size")), ("100 200".to_owned(), "0 0".to_owned()));
    assert_eq!(fs::read_to_string(format!("/proc/{}/oom_score_adj", child.pid)).expect("a number").trim(), "300");
    for id in ["child", "parent"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// A parent with the host's users, processes and network: so has the child its users and network, and processes of its own.
#[tokio::test]
async fn root_nested_in_a_parent_that_shares_the_hosts_namespaces() {
    let lab = Lab::new();
    let mut spec = parent_spec(&lab, "");
    (spec.security.host_users, spec.security.host_pid) = (true, true);
    spec.network = NetworkMode::Host;
    let parent = start_parent(&lab, spec).await;
    let child = lab.runtime.start(child_spec(&lab, "child", "sleep 1000")).await.expect("a start");
    let host = std::process::id().cast_signed();
    for kind in ["user", "net"] {
        assert_eq!(namespace(host, kind), namespace(child.pid, kind));
    }
    assert_eq!(namespace(host, "pid"), namespace(parent.pid, "pid"));
    assert_ne!(namespace(host, "pid"), namespace(child.pid, "pid"));
    for id in ["child", "parent"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// A parent that may do everything: what runs within it is as closed as any other container.
#[tokio::test]
async fn root_nested_in_a_privileged_parent_is_not() {
    for by_program in [true, false] {
        let mut lab = Lab::new();
        lab.runtime.0.cgroups.refuse_device_programs(!by_program);
        let mut spec = parent_spec(&lab, "");
        spec.security.privileged = true;
        start_parent(&lab, spec).await;
        let script = "grep -E 'NoNewPrivs|Seccomp:|CapBnd' /proc/self/status | tr '\\t\\n' ' ;'; echo
            for device in null zero kmsg mem; do head -c 1 /dev/$device >/dev/null 2>&1 && echo $device; done
            touch /sys/x /proc/sys/kernel/x 2>/dev/null || echo closed; mknod /x c 1 1 2>/dev/null || echo none";
        let (text, _) = lab.output(child_spec(&lab, "child", script)).await;
        assert_eq!(text, "CapBnd: 00000000800405fb;NoNewPrivs: 1;Seccomp: 2;\nnull\nzero\nclosed\nnone\n", "{by_program}");
        lab.runtime.remove("parent").await.expect("a removal");
        assert_eq!(lab.leftovers(), Vec::<String>::new());
    }
}
