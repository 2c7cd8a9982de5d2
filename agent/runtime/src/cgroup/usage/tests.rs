//! What the kernel's texts come to; and a folder in the place of a group.

use super::*;
use std::fs;
use std::path::PathBuf;

#[test]
fn disks_of_v2_are_read() {
    let text = "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n8:0 rbytes=1 wios=2\n";
    let expect = [((8, 16), 1_459_200, 314_773_504, 192, 353), ((8, 0), 1, 0, 0, 2)];
    check_disks(&v2_io(text), &expect);
    check_disks(&v2_io(""), &[]);
}

#[test]
fn disks_of_v1_are_read() {
    let bytes = "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 12288\n8:0 Total 12288\n254:0 Read 1\nTotal 12289\n";
    let requests = "8:0 Read 1\n8:0 Write 2\n7:1 Write 3\nTotal 6\n";
    let mut disks = Vec::new();
    add_v1_io(&mut disks, bytes, |disk| (&mut disk.read_bytes, &mut disk.written_bytes));
    add_v1_io(&mut disks, requests, |disk| (&mut disk.reads, &mut disk.writes));
    check_disks(&disks, &[((8, 0), 4096, 8192, 1, 2), ((254, 0), 1, 0, 0, 0), ((7, 1), 0, 0, 0, 3)]);
}

type Disk = ((u32, u32), u64, u64, u64, u64);

fn check_disks(disks: &[IoUsage], expect: &[Disk]) {
    let found = disks.iter().map(|disk| (disk.device, disk.read_bytes, disk.written_bytes, disk.reads, disk.writes));
    assert_eq!(found.collect::<Vec<_>>(), expect);
}

#[test]
fn pressure_is_read() {
    let check = |text: &str, expect: Option<(u64, u64)>| {
        assert_eq!(pressure(text).map(|pressure| (pressure.some_us, pressure.full_us)), expect);
    };
    let some = "some avg10=0.00 avg60=1.50 avg300=0.00 total=12345\n";
    check(&format!("{some}full avg10=0.00 avg60=0.00 avg300=0.00 total=99\n"), Some((12345, 99)));
    check(some, Some((12345, 0)));
    check("", None);
}

#[test]
fn a_v2_group_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        ("cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 9\nnr_throttled 2\nthrottled_usec 11\n"),
        ("memory.current", "5000\n"),
        ("memory.peak", "6000\n"),
        ("memory.max", "max\n"),
        ("memory.swap.current", "0\n"),
        ("memory.stat", "anon 100\nfile 200\nfile_mapped 50\ninactive_file 4000\npgfault 10\npgmajfault 1\n"),
        ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n"),
        ("pids.current", "2\n"),
        ("pids.max", "2048\n"),
        ("io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=6\n"),
    ];
    let group = folder.path().join("ct");
    fs::create_dir(&group).expect("a group");
    for (file, text) in files {
        fs::write(group.join(file), text).expect("a file");
    }
    let cgroups = Cgroups { unified: None, v1: Vec::new(), key: String::new(), device_rules: Default::default() };
    let usage = cgroups.usage(&ContainerCgroup { unified: Some(folder.path().to_owned()), ..Default::default() }).expect("usage");
    let cpu = (usage.cpu.total_ns, usage.cpu.user_ns, usage.cpu.throttled_periods, usage.cpu.throttled_ns);
    assert_eq!(cpu, (Some(7000), Some(4000), Some(2), Some(11_000)));
    let memory = &usage.memory;
    assert_eq!((memory.usage, memory.peak, memory.limit, memory.swap), (Some(5000), Some(6000), None, Some(0)));
    assert_eq!((memory.working_set, memory.rss, memory.cache), (Some(1000), Some(100), Some(200)));
    assert_eq!((memory.failcnt, memory.oom_kills, memory.page_faults), (Some(3), Some(1), Some(10)));
    assert_eq!(usage.pids, PidsUsage { processes: None, current: Some(2), limit: Some(2048), refused: None });
    assert_eq!((usage.pressure.cpu, usage.pressure.io.map(|io| io.some_us)), (None, Some(6)));
    assert!(usage.io.is_empty());
}

#[test]
fn a_v1_group_is_read_and_no_limit_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        ("memory.usage_in_bytes", "5000\n"),
        (
            "memory.stat",
            "cache 1\ninactive_file 1\nhierarchical_memory_limit 9223372036854771712\ntotal_cache 300\ntotal_inactive_file 6000\n",
        ),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
    ];
    for (file, text) in files {
        fs::write(folder.path().join(file), text).expect("a file");
    }
    let tree = super::super::Tree { mount: folder.path().to_owned(), base: PathBuf::new() };
    let cgroups = Cgroups { unified: None, v1: vec![("memory", tree)], key: String::new(), device_rules: Default::default() };
    let memory =
        cgroups.usage(&ContainerCgroup { v1: vec![folder.path().to_owned()], ..Default::default() }).expect("usage").memory;
    assert_eq!((memory.usage, memory.limit, memory.working_set, memory.cache), (Some(5000), None, Some(0), Some(300)));
    assert_eq!((memory.oom_kills, memory.rss, memory.peak), (Some(4), None, None));
}
