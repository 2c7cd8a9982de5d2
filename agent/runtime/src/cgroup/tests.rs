//! Which trees are found in what a host has mounted, which files limits become, and what a host that lacks them does.

use std::fs;
use std::path::{Path, PathBuf};

use super::limits::{self, Limit};
use super::{Cgroups, Mounts, Tree};
use crate::Resources;

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
    let found = |tree: Option<Tree>| tree.map(|tree| tree.mount);
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

fn everything() -> Resources {
    Resources {
        memory_bytes: Some(1 << 20),
        memory_swap_bytes: Some(3 << 20),
        memory_reservation_bytes: Some(1 << 19),
        cpus_milli: Some(500),
        cpuset: Some("0-1".to_owned()),
        pids: Some(7),
        io_weight: Some(200),
    }
}

fn check_files(limits: &[Limit], expect: &[(&str, &str)]) {
    let found = limits.iter().flat_map(|limit| limit.files.iter().map(|file| (*file, limit.value.as_str())));
    assert_eq!(found.collect::<Vec<_>>(), expect);
}

#[test]
fn limits_become_files_of_v2() {
    let expect = [
        ("memory.max", "1048576"),
        // What may be swapped out, where the document says memory and swap together.
        ("memory.swap.max", "2097152"),
        ("memory.low", "524288"),
        ("cpu.max", "50000 100000"),
        ("cpuset.cpus", "0-1"),
        ("pids.max", "7"),
        ("io.weight", "200"),
        ("io.bfq.weight", "200"),
    ];
    check_files(&limits::v2(&everything()), &expect);
    check_files(&limits::v2(&Resources::default()), &[]);
    let memory = Resources { memory_bytes: Some(4096), ..Resources::default() };
    check_files(&limits::v2(&memory), &[("memory.max", "4096"), ("memory.swap.max", "0")]);
    // The kernel refuses less than a millisecond per period.
    let little = Resources { cpus_milli: Some(1), ..Resources::default() };
    check_files(&limits::v2(&little), &[("cpu.max", "1000 100000")]);
}

#[test]
fn limits_become_files_of_v1() {
    let check = |controller: &str, expect: &[(&str, &str)]| check_files(&limits::v1(controller, &everything()), expect);
    let memory = [
        ("memory.limit_in_bytes", "1048576"),
        ("memory.memsw.limit_in_bytes", "3145728"),
        ("memory.soft_limit_in_bytes", "524288"),
    ];
    check("memory", &memory);
    check("cpu", &[("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")]);
    check("cpuset", &[("cpuset.cpus", "0-1")]);
    check("pids", &[("pids.max", "7")]);
    check("blkio", &[("blkio.bfq.weight", "200")]);
    check("devices", &[]);
    let no_swap = Resources { memory_bytes: Some(4096), ..Resources::default() };
    let expect = [("memory.limit_in_bytes", "4096"), ("memory.memsw.limit_in_bytes", "4096")];
    check_files(&limits::v1("memory", &no_swap), &expect);
}

#[test]
fn what_a_host_lacks_is_told_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |files: &[&str], resources: &Resources, expect: Result<&[&str], &str>| {
        for entry in fs::read_dir(folder.path()).expect("the folder") {
            fs::remove_file(entry.expect("an entry").path()).expect("a removal");
        }
        for file in files {
            fs::write(folder.path().join(file), "").expect("a file");
        }
        let mut weakened = Vec::new();
        let set = limits::set("web", folder.path(), &limits::v2(resources), &mut weakened);
        match (set.map_err(|error| error.to_string()), expect) {
            (Ok(()), Ok(words)) => assert_eq!(weakened, words),
            (found, expect) => assert_eq!(found.err().as_deref(), expect.err()),
        }
        for file in files {
            assert_ne!(fs::read_to_string(folder.path().join(file)).expect("a file"), "", "{file}");
        }
    };
    let io = Resources { io_weight: Some(5), ..Resources::default() };
    check(&["io.weight"], &io, Ok(&[]));
    check(&["io.bfq.weight"], &io, Ok(&[]));
    check(&[], &io, Ok(&["no io weight: the kernel has neither io.weight nor bfq's"]));
    let low = Resources { memory_reservation_bytes: Some(5), ..Resources::default() };
    check(&[], &low, Ok(&["no memory reservation: the kernel has none"]));
    let cpuset = Resources { cpuset: Some("0".to_owned()), ..Resources::default() };
    check(&[], &cpuset, Err("container web: the host refuses the limit cpuset = 0"));
}

#[test]
fn a_limit_without_its_controller_is_refused() {
    let tree = || Tree { mount: PathBuf::from("/sys/fs/cgroup"), base: PathBuf::new() };
    let check = |v1: &[&'static str], unified: Option<Tree>, expect: Result<&[&str], &str>| {
        let v1 = v1.iter().map(|name| (*name, tree())).collect();
        let cgroups = Cgroups { unified, v1, key: "key".to_owned(), device_rules: Default::default() };
        let resources = Resources { memory_bytes: Some(1 << 30), pids: Some(7), io_weight: Some(10), ..Resources::default() };
        let mut weakened = Vec::new();
        let refused = cgroups.refuse_unsupported("web", &resources, &mut weakened).map_err(|error| error.to_string());
        match expect {
            Ok(words) => assert_eq!((refused, weakened), (Ok(()), words.iter().map(|&word| word.to_owned()).collect())),
            Err(limit) => assert_eq!(refused, Err(format!("container web: the host refuses the limit {limit}"))),
        }
    };
    check(&["memory", "pids", "blkio"], None, Ok(&[]));
    check(&["memory", "pids"], None, Ok(&["no io weight: the kernel has neither io.weight nor bfq's"]));
    check(&[], Some(tree()), Ok(&[]));
    check(&[], None, Err("memory = 1073741824"));
    check(&["cpu", "memory"], Some(tree()), Err("pids = 7"));
}
