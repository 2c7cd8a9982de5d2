//! Which trees are found in what a host has mounted, and which files limits become.

use std::path::{Path, PathBuf};

use super::{Cgroups, Mounts, Resources, Tree, v1_limits, v2_limits};

const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:36 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
90 23 0:27 / /mnt/copy rw - cgroup cgroup rw,pids
";

#[test]
fn trees_are_found_by_what_is_mounted() {
    let mounts = Mounts { mountinfo: HYBRID.to_owned(), own: "4:memory:/a\n1:cpu,cpuacct:/b/c\n0::/\n".to_owned() };
    let found = |tree: Option<super::Tree>| tree.map(|tree| tree.mount);
    assert_eq!(found(mounts.unified()), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    assert_eq!(found(mounts.v1("cpu")), Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")));
    assert_eq!(found(mounts.v1("memory")), Some(PathBuf::from("/sys/fs/cgroup/memory")));
    assert_eq!(found(mounts.v1("pids")), None);

    let pure = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    let mounts = Mounts { mountinfo: pure.to_owned(), own: "0::/no-such-group.service\n".to_owned() };
    let tree = mounts.unified().expect("the v2 tree");
    assert_eq!((tree.mount.as_path(), tree.base.as_path()), (Path::new("/sys/fs/cgroup"), Path::new("")));
    assert!(mounts.v1("memory").is_none());
}

#[test]
fn limits_become_files() {
    let resources = Resources { memory_bytes: Some(1 << 20), cpus_milli: Some(500), pids: Some(7), ..Resources::default() };
    let v2 = v2_limits(&resources).into_iter().map(|limit| (limit.file, limit.value)).collect::<Vec<_>>();
    let expect = [("memory.max", "1048576"), ("memory.swap.max", "0"), ("cpu.max", "50000 100000"), ("pids.max", "7")];
    assert_eq!(v2, expect.map(|(file, value)| (file, value.to_owned())));

    let check = |controller: &str, expect: &[(&str, &str)]| {
        let limits = v1_limits(controller, &resources);
        let limits = limits.iter().map(|limit| (limit.file, limit.value.as_str())).collect::<Vec<_>>();
        assert_eq!(limits, expect);
    };
    check("memory", &[("memory.limit_in_bytes", "1048576"), ("memory.memsw.limit_in_bytes", "1048576")]);
    check("cpu", &[("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")]);
    check("pids", &[("pids.max", "7")]);

    assert!(v2_limits(&Resources::default()).is_empty());
    // The kernel refuses less than a millisecond per period.
    let little = Resources { cpus_milli: Some(1), ..Resources::default() };
    assert_eq!(v2_limits(&little)[0].value, "1000 100000");
}

#[test]
fn a_limit_without_its_controller_is_refused() {
    let tree = || Tree { mount: PathBuf::from("/sys/fs/cgroup"), base: PathBuf::new() };
    let check = |v1: &[&'static str], unified: Option<Tree>, expect: Option<&str>| {
        let v1 = v1.iter().map(|name| (*name, tree())).collect();
        let cgroups = Cgroups { unified, v1, key: "key".to_owned() };
        let resources = Resources { memory_bytes: Some(1 << 30), pids: Some(7), ..Resources::default() };
        let refused = cgroups.refuse_unsupported("web", &resources).map_err(|error| error.to_string());
        let expect = expect.map_or(Ok(()), |limit| Err(format!("container web: the host refuses the limit {limit}")));
        assert_eq!(refused, expect);
    };
    check(&["memory", "pids"], None, None);
    check(&[], Some(tree()), None);
    check(&[], None, Some("memory = 1073741824"));
    check(&["cpu", "memory"], Some(tree()), Some("pids = 7"));
}
