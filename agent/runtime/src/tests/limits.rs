//! Limits and device rules, seen from inside a container and in its groups.

use std::fs;
use std::path::PathBuf;

use super::lab::{Lab, log_text, until};
use crate::{ContainerSpec, DeviceFile, Resources, Runtime, Security};

/// The text of a file in one of the container's groups: of v2, or of the v1 controller.
fn in_group(lab: &Lab, id: &str, v2: &str, v1: &str) -> String {
    let container = lab.runtime.0.containers().get(id).cloned().expect("a container that runs");
    let groups = container.cgroup.unified.iter().map(|base| base.join("ct").join(v2));
    let paths = groups.chain(container.cgroup.v1.iter().map(|group| group.join(v1))).collect::<Vec<PathBuf>>();
    let text = paths.iter().find_map(|path| fs::read_to_string(path).ok());
    text.unwrap_or_else(|| panic!("none of {paths:?}")).trim().to_owned()
}

#[tokio::test]
async fn root_every_limit_is_set_before_the_command_runs() {
    let lab = Lab::new();
    let mut spec = lab.spec("all", "sleep 1000");
    spec.resources = Resources {
        memory_bytes: Some(64 << 20),
        memory_swap_bytes: Some(96 << 20),
        memory_reservation_bytes: Some(32 << 20),
        cpus_milli: Some(1500),
        cpuset: Some("0".to_owned()),
        pids: Some(50),
        io_weight: Some(321),
    };
    let running = lab.runtime.start(spec).await.expect("a start");
    let check = |v2: &str, v1: &str, expect: &[&str]| {
        let found = in_group(&lab, "all", v2, v1);
        assert!(expect.contains(&found.as_str()), "{v2} or {v1}: {found}");
    };
    check("memory.max", "memory.limit_in_bytes", &["67108864"]);
    check("memory.low", "memory.soft_limit_in_bytes", &["33554432"]);
    check("cpu.max", "cpu.cfs_quota_us", &["150000 100000", "150000"]);
    check("pids.max", "pids.max", &["50"]);
    let told = |what: &str| running.weakened.iter().any(|words| words.contains(what));
    if !told("swap") {
        check("memory.swap.max", "memory.memsw.limit_in_bytes", &["33554432", "100663296"]);
    }
    if !told("io weight") {
        check("io.weight", "blkio.bfq.weight", &["default 321", "321"]);
    }
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid)).expect("status");
    assert!(status.lines().any(|line| line == "Cpus_allowed_list:\t0"), "{status}");
    lab.runtime.remove("all").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// A script that says which of a few devices it can open, whatever capabilities it has.
const DEVICES: &str = "(mknod /dev/mem2 c 1 1; mknod /dev/null2 c 1 3) 2>/dev/null
    for device in null zero full random urandom tty2 mem2 null2; do
        head -c 1 /dev/$device >/dev/null 2>&1 && echo $device
    done; (echo x >/dev/full) 2>/dev/null || echo full; echo end";

fn with_mknod(mut spec: ContainerSpec) -> ContainerSpec {
    spec.security = Security { cap_add: vec!["CAP_MKNOD".to_owned()], ..Security::default() };
    spec
}

#[tokio::test]
async fn root_only_allowed_devices_can_be_used() {
    let mut lab = Lab::new();
    let (log, _) = lab.output(with_mknod(lab.spec("devices", DEVICES))).await;
    assert!(!log.contains("mem2"), "{log}");
    for usual in ["null", "zero", "full", "random", "urandom"] {
        assert!(log.lines().any(|line| line == usual), "{usual}: {log}");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// The rules alone, with a process that has every capability: what holds a container back must be the group.
#[tokio::test]
async fn root_device_rules_hold_without_anything_else() {
    for by_program in [true, false] {
        let lab = Lab::new();
        lab.runtime.0.cgroups.refuse_device_programs(!by_program);
        let mut spec = lab.spec("rules", "sleep 1000");
        let zero = DeviceFile { source: "/dev/kmsg".into(), target: "/dev/kmsg".into(), read: true, write: false };
        spec.devices = vec![zero];
        let running = lab.runtime.start(spec).await.expect("a start");
        if running.weakened.iter().any(|words| words.contains("device")) {
            lab.runtime.remove("rules").await.expect("a removal");
            continue; // a host that has neither
        }
        let container = lab.runtime.0.containers().get("rules").cloned().expect("it runs");
        let groups = container.cgroup.unified.iter().map(|base| base.join("ct/cgroup.procs"));
        let groups = groups.chain(container.cgroup.v1.iter().map(|group| group.join("cgroup.procs")));
        let enter = groups.map(|procs| format!("echo $$ >{}; ", procs.display())).collect::<String>();
        let may = |what: &str| {
            let script = format!("{enter} {what}");
            let status = std::process::Command::new("/bin/busybox")
                .args(["sh", "-c", &script])
                .stderr(std::process::Stdio::null())
                .status();
            status.expect("busybox").success()
        };
        assert!(may("head -c 1 /dev/zero >/dev/null"), "{by_program}");
        assert!(may("exec 3</dev/kmsg"), "{by_program}");
        assert!(!may("exec 3>/dev/kmsg"), "{by_program}");
        assert!(!may("exec 3</dev/loop-control"), "{by_program}");
        assert!(!may("exec 3</dev/mem"), "{by_program}");
        lab.runtime.remove("rules").await.expect("a removal");
        assert_eq!(lab.leftovers(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn root_devices_that_are_none_are_refused() {
    let lab = Lab::new();
    let mut spec = lab.spec("nodevice", "true");
    spec.devices = vec![DeviceFile { source: "/dev/no-such".into(), target: "/dev/x".into(), read: true, write: true }];
    let error = lab.runtime.start(spec).await.expect_err("there is no such device");
    assert!(error.to_string().contains("device /dev/no-such: No such file"), "{error}");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_usage_is_told() {
    let lab = Lab::new();
    let script = "x=$(yes | tr '\\n' x | head -c 8000000); echo ready; sleep 1000 & wait";
    let mut spec = lab.spec("usage", script);
    spec.resources = Resources { memory_bytes: Some(256 << 20), pids: Some(20), ..Resources::default() };
    let log = spec.log.path.clone();
    lab.runtime.start(spec).await.expect("a start");
    until("it to be at work", || log_text(&log).contains("ready")).await;
    let usage = || lab.runtime.usage("usage").expect("usage");
    until("it to have all its processes", || usage().pids.current == Some(2)).await;
    let usage = usage();
    assert_eq!((usage.memory.limit, usage.pids.limit), (Some(256 << 20), Some(20)));
    let memory = usage.memory;
    assert!(memory.rss.is_some_and(|rss| rss > 7_000_000), "{memory:?}");
    assert!(memory.working_set <= memory.usage && memory.usage <= memory.peak, "{memory:?}");
    assert_eq!((memory.oom_kills, memory.failcnt), (Some(0), Some(0)));
    assert!(usage.cpu.total_ns.is_some_and(|ns| ns > 0) && usage.cpu.user_ns <= usage.cpu.total_ns, "{:?}", usage.cpu);
    lab.runtime.remove("usage").await.expect("a removal");
    assert!(lab.runtime.usage("usage").is_err());
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
