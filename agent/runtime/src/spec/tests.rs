//! What stands in `config.json`, and which specifications are refused.

use std::path::{Path, PathBuf};

use super::{HostFacts, check, environment, etc_files, mount_requests, oci};
use crate::{ContainerSpec, LogPolicy, Mount, MountSource, NetworkMode, Security};

fn host(cgroup: Option<&str>, mount_cgroup: bool) -> HostFacts {
    let masked_paths = vec!["/sys/devices/system/cpu/cpu0/thermal_throttle".to_owned()];
    HostFacts { cgroup: cgroup.map(PathBuf::from), mount_cgroup, masked_paths, open_files_max: 20_000, devices: Vec::new() }
}

fn spec() -> ContainerSpec {
    let log = LogPolicy { path: PathBuf::from("/log"), max_bytes: 1, max_files: 1, ..LogPolicy::default() };
    ContainerSpec {
        env: vec![("LOG".to_owned(), "a=b".to_owned())],
        hostname: "web-0".to_owned(),
        read_only: true,
        ..ContainerSpec::new("web.0-r3-1", vec![PathBuf::from("/layer")], vec!["nginx".to_owned()], log)
    }
}

#[test]
fn a_container_gets_namespaces_mounts_and_few_rights() {
    let mut spec = spec();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &serde_json::Value, key: &str| {
        value.as_array().expect("a list").iter().map(|entry| text(&entry[key])).collect::<Vec<_>>().join(" ")
    };
    let oci_none = oci(&spec, &host(Some("/coord/x/ct"), true));
    assert_eq!(list(&oci_none["linux"]["namespaces"], "type"), "pid mount ipc uts cgroup network");
    assert_eq!(oci_none["linux"]["cgroupsPath"], "/coord/x/ct");
    assert_eq!(oci_none["root"]["readonly"], true);
    assert_eq!(oci_none["process"]["noNewPrivileges"], true);
    assert!(!oci_none["process"]["capabilities"].to_string().contains("MKNOD"));
    assert!(oci_none["linux"]["maskedPaths"].to_string().contains("cpu0/thermal_throttle"));
    assert_eq!(oci_none["process"]["rlimits"][0]["hard"], 20_000);
    let mounts = "/proc /dev /sys /dev/pts /dev/shm /dev/mqueue /sys/fs/cgroup";
    assert_eq!(list(&oci_none["mounts"], "destination"), mounts);

    spec.network = NetworkMode::Host;
    let oci_host = oci(&spec, &host(None, false));
    assert_eq!(list(&oci_host["linux"]["namespaces"], "type"), "pid mount ipc uts cgroup");
    assert!(!list(&oci_host["mounts"], "destination").contains("cgroup"));
}

#[test]
fn isolation_is_loosened_by_name() {
    let loosened = |security: Security| {
        let oci = oci(&ContainerSpec { security, ..spec() }, &host(None, false));
        let count = |value: &serde_json::Value| value.as_array().map_or(0, Vec::len);
        let linux = &oci["linux"];
        let kinds = linux["namespaces"].as_array().expect("a list").iter().filter_map(|entry| entry["type"].as_str());
        let kinds = kinds.collect::<Vec<_>>().join(" ");
        (
            kinds,
            count(&linux["maskedPaths"]),
            count(&oci["process"]["capabilities"]["bounding"]),
            oci["process"]["noNewPrivileges"] == true,
        )
    };
    let all = "pid mount ipc uts cgroup network".to_owned();
    assert_eq!(loosened(Security::default()), (all.clone(), 13, 11, true));
    assert_eq!(loosened(Security { privileged: true, ..Security::default() }), (all.clone(), 0, 41, false));
    assert_eq!(loosened(Security { unmasked: true, ..Security::default() }), (all.clone(), 0, 11, true));
    assert_eq!(loosened(Security { new_privileges: true, ..Security::default() }), (all, 13, 11, false));
    let shared = "mount uts cgroup network".to_owned();
    assert_eq!(loosened(Security { host_pid: true, host_ipc: true, ..Security::default() }), (shared, 13, 11, true));
}

#[test]
fn mounts_come_after_what_they_are_mounted_into() {
    let tmpfs = |target: &str| Mount {
        target: target.to_owned(),
        source: MountSource::Tmpfs { size_bytes: None, mode: 0o1777 },
        read_only: false,
    };
    let mut spec = spec();
    spec.mounts = ["/data/deep/er", "/etc", "/data", "/etc/hostname"].map(tmpfs).to_vec();
    let targets =
        mount_requests(&spec, Path::new("/b")).iter().map(|mount| mount.target.display().to_string()).collect::<Vec<_>>();
    assert_eq!(targets, ["/etc", "/data", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/data/deep/er"]);
}

#[test]
fn the_environment_is_completed() {
    let mut spec = spec();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(environment(&spec), ["LOG=a=b", path, "HOSTNAME=web-0"]);
    spec.env = vec![("HOSTNAME".to_owned(), "mine".to_owned()), ("PATH".to_owned(), "/bin".to_owned())];
    assert_eq!(environment(&spec), ["HOSTNAME=mine", "PATH=/bin"]);
}

#[test]
fn the_files_of_etc_depend_on_the_network() {
    let host = |name: &str| (name == "hosts").then(|| "10.0.0.1\tregistry web-0.lan".to_owned());
    let mut spec = spec();
    let [hosts, hostname, resolv] = etc_files(&spec, host);
    assert_eq!(hosts.1, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n127.0.1.1\tweb-0\n");
    assert_eq!((hostname.1.as_str(), resolv.1.as_str()), ("web-0\n", ""));
    spec.network = NetworkMode::Host;
    assert_eq!(etc_files(&spec, host)[0].1, "10.0.0.1\tregistry web-0.lan\n127.0.1.1\tweb-0\n");
    spec.hostname = "registry".to_owned();
    assert_eq!(etc_files(&spec, host)[0].1, "10.0.0.1\tregistry web-0.lan");
}

#[test]
fn wrong_specifications_are_refused() {
    assert_eq!(check(&spec()), Ok(()));
    let refused = |change: &dyn Fn(&mut ContainerSpec), expect: &str| {
        let mut spec = spec();
        change(&mut spec);
        let what = check(&spec).expect_err(expect);
        assert!(what.contains(expect), "{what}");
    };
    for id in ["", "a/b", "..", ".hidden", "a b", &"x".repeat(129)] {
        refused(&|spec| spec.id = id.to_owned(), "its ID");
    }
    refused(&|spec| spec.args = vec![String::new()], "no command");
    refused(&|spec| spec.lowers.clear(), "no layers");
    refused(&|spec| spec.cwd = "srv".to_owned(), "\"srv\" is not an absolute path");
    refused(&|spec| spec.hostname = "x".repeat(65), "host name");
    refused(&|spec| spec.env.push(("A=B".to_owned(), String::new())), "\"A=B\" is no name");
    refused(&|spec| spec.args.push("a\0b".to_owned()), "zero byte");
    refused(&|spec| spec.security.cap_add = vec!["CAP_NONE".to_owned()], "\"CAP_NONE\" is no capability");
    refused(&|spec| spec.rlimits = vec![("RLIMIT_X".to_owned(), 1, 1)], "\"RLIMIT_X\" is no limit");
    refused(&|spec| spec.rlimits = vec![("RLIMIT_CORE".to_owned(), 2, 1)], "the soft limit 2 of RLIMIT_CORE");
    refused(&|spec| spec.oom_score_adj = 1001, "oom_score_adj = 1001");
    let mount = |target: &'static str| {
        move |spec: &mut ContainerSpec| {
            let source = MountSource::Tmpfs { size_bytes: None, mode: 0o755 };
            spec.mounts = vec![Mount { target: target.to_owned(), source, read_only: false }];
        }
    };
    for target in ["data", "/a/../b"] {
        refused(&mount(target), "is not an absolute path");
    }
    refused(&mount("/"), "over the whole root");
    for target in ["/proc", "/proc/self", "/sys/fs/cgroup", "/dev"] {
        refused(&mount(target), "the kernel's");
    }
    let mut fine = spec();
    mount("/dev/shm")(&mut fine);
    assert_eq!(check(&fine), Ok(()));
}

#[test]
fn kernel_parameters_are_a_containers_own_or_refused() {
    let check = |name: &str, change: &dyn Fn(&mut ContainerSpec), expect: Result<(), &str>| {
        let mut spec = spec();
        spec.sysctls = vec![(name.to_owned(), "1".to_owned())];
        change(&mut spec);
        let got = super::check(&spec);
        assert!(
            matches!((&got, expect), (Ok(()), Ok(())))
                || got.as_ref().is_err_and(|got| expect.is_err_and(|expect| got.contains(expect))),
            "{got:?}"
        );
    };
    check("net.core.somaxconn", &|_| (), Ok(()));
    check("net/ipv4/ip_forward", &|_| (), Ok(()));
    check("kernel.shmmax", &|_| (), Ok(()));
    check("fs.mqueue.msg_max", &|_| (), Ok(()));
    check("kernel.core_pattern", &|_| (), Err("not one of a container's own"));
    check("net..x", &|_| (), Err("not one of a container's own"));
    check("net.core.somaxconn", &|spec| spec.network = NetworkMode::Host, Err("whose network it shares"));
    check("kernel.sem", &|spec| spec.security.host_ipc = true, Err("whose IPC it shares"));
}
