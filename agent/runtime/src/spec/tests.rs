//! What stands in `config.json`, and which specifications are refused.

use std::path::{Path, PathBuf};

use super::{check, environment, etc_files, oci};
use crate::{ContainerSpec, LogPolicy, NetworkMode};

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
    let oci_none = oci(&spec, Path::new("/b"), Some(Path::new("/coord/x/ct")), true);
    assert_eq!(list(&oci_none["linux"]["namespaces"], "type"), "pid mount ipc uts cgroup network");
    assert_eq!(oci_none["linux"]["cgroupsPath"], "/coord/x/ct");
    assert_eq!(oci_none["root"]["readonly"], true);
    assert_eq!(oci_none["process"]["noNewPrivileges"], true);
    assert!(!oci_none["process"]["capabilities"].to_string().contains("MKNOD"));
    let mounts = "/proc /dev /dev/pts /dev/shm /dev/mqueue /sys /sys/fs/cgroup /etc/hosts /etc/hostname /etc/resolv.conf";
    assert_eq!(list(&oci_none["mounts"], "destination"), mounts);

    spec.network = NetworkMode::Host;
    let oci_host = oci(&spec, Path::new("/b"), None, false);
    assert_eq!(list(&oci_host["linux"]["namespaces"], "type"), "pid mount ipc uts cgroup");
    assert!(!list(&oci_host["mounts"], "destination").contains("cgroup"));
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
}
