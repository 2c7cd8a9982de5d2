//! Files of the kernel and of the hardware that a container must not reach, and tricks with files.
//!
//! What may be written is opened for writing and left as it is: for all of these, opening is where the kernel judges.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::time::Duration;

use crate::line::{Finding, Line, USUAL_LIMIT, name};
use crate::sys::{self, Answer, at, call, of, text};

const fn line(name: &'static str, what: &'static str, probe: fn() -> Finding) -> Line {
    Line { name, chapter: "Files", what, probe, limit: USUAL_LIMIT }
}

/// statfs(2).
const PROC_MAGIC: u64 = 0x9fa0;
const SYSFS_MAGIC: u64 = 0x6265_6572;
/// A file that is not masked says something.
const ENOUGH_BYTES: usize = 256;

pub(crate) const LINES: &[Line] = &[
    line("proc-sys", "write /proc/sys/kernel/core_pattern", || opens(&["/proc/sys/kernel/core_pattern"], libc::O_WRONLY)),
    line("proc-sys-vm", "write /proc/sys/vm", || {
        opens(&["/proc/sys/vm/overcommit_memory", "/proc/sys/vm/drop_caches"], libc::O_WRONLY)
    }),
    line("proc-sys-net", "write /proc/sys/net", || opens(&["/proc/sys/net/ipv4/ip_forward"], libc::O_WRONLY)),
    line("sysrq", "write /proc/sysrq-trigger", || opens(&["/proc/sysrq-trigger"], libc::O_WRONLY)),
    line("proc-irq", "write /proc/irq", || opens(&["/proc/irq/default_smp_affinity"], libc::O_WRONLY)),
    line("proc-bus", "write /proc/bus, /proc/fs", || opens(&["/proc/bus/pci/devices", "/proc/fs/nfsd"], libc::O_WRONLY)),
    line("oom-lower", "spare itself when memory is short", oom_lower),
    line("kcore", "read /proc/kcore: the kernel's memory", || says(&["/proc/kcore"])),
    line("proc-keys", "read /proc/keys", || says(&["/proc/keys"])),
    line("timers", "read /proc/timer_list, /proc/sched_debug, /proc/latency_stats", || {
        says(&["/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats", "/proc/timer_stats"])
    }),
    line("interrupts", "read /proc/interrupts (a side channel)", || says(&["/proc/interrupts"])),
    line("proc-acpi", "read /proc/acpi, /proc/scsi, /proc/asound", || lists(&["/proc/acpi", "/proc/scsi", "/proc/asound"])),
    line("kallsyms", "addresses of the kernel in /proc/kallsyms", || {
        let text = head("/proc/kallsyms");
        let first = text.split(' ').next().unwrap_or_default();
        if first.trim_matches('0').is_empty() { Finding::refused("none") } else { Finding::open(first) }
    }),
    line("firmware", "list /sys/firmware", || lists(&["/sys/firmware"])),
    line("powercap", "read /sys/devices/virtual/powercap, thermal_throttle", || lists(&["/sys/devices/virtual/powercap"])),
    line("sysfs", "write /sys", || {
        opens(
            &[
                "/sys/kernel/uevent_helper",
                "/sys/kernel/mm/transparent_hugepage/enabled",
                "/sys/power/state",
                "/sys/kernel/profiling",
            ],
            libc::O_WRONLY,
        )
    }),
    line("sysfs-create", "make a file in /sys", || Finding::of_open(open("/sys/probe", libc::O_WRONLY | libc::O_CREAT))),
    line("cgroup-write", "raise its own limits in /sys/fs/cgroup", || {
        writable_below("/sys/fs/cgroup", "limit_in_bytes,memory.max,pids.max,cpu.max,devices.allow")
    }),
    line("release-agent", "escape by a cgroup's release_agent", || {
        writable_below("/sys/fs/cgroup", "release_agent,notify_on_release")
    }),
    line("core-exe", "write /proc/1/mem of the engine, /proc/1/exe", || opens(&["/proc/1/exe"], libc::O_WRONLY)),
    line("kmsg", "open /dev/kmsg", || opens(&["/dev/kmsg"], libc::O_RDONLY)),
    line("dev-mem", "open /dev/mem, /dev/kmem, /dev/port", || opens(&["/dev/mem", "/dev/kmem", "/dev/port"], libc::O_RDONLY)),
    line("dev-tun", "open /dev/net/tun, /dev/fuse", || opens(&["/dev/net/tun", "/dev/fuse"], libc::O_RDWR)),
    line("dev-kvm", "open /dev/kvm, /dev/vhost-net, /dev/loop-control", || {
        opens(&["/dev/kvm", "/dev/vhost-net", "/dev/loop-control"], libc::O_RDWR)
    }),
    line("dev-nodes", "device files beside the usual ones", unusual_devices),
    line("mknod-block", "mknod of the host's disk, and read it", host_disk),
    line("mknod-mem", "mknod of /dev/mem, and read it", || made_device("mem", libc::S_IFCHR, 1, 1)),
    line("mknod-any", "mknod of any device file", || made_device("null", libc::S_IFCHR, 1, 3)),
    line("chroot-escape", "leave the root by chroot twice", chroot_escape),
    line("proc-is-proc", "/proc is not the kernel's (CVE-2025-52881)", || magic("/proc", PROC_MAGIC)),
    line("sys-is-sys", "/sys is not the kernel's (CVE-2025-52881)", || magic("/sys", SYSFS_MAGIC)),
    line("null-is-null", "/dev/null is not the device (CVE-2025-31133)", null_is_null),
    line("masks", "a mask shows something else than nothing (CVE-2025-31133)", masks),
    line("console", "/dev/console leads out of /dev (CVE-2025-52565)", console),
    line("setuid", "a setuid program gives an ordinary user root's rights", setuid),
    Line {
        name: "host-root",
        chapter: "Files",
        what: "the host's root through /proc/1/root",
        probe: host_root,
        limit: Duration::from_secs(5),
    },
];

fn open(path: &str, flags: i32) -> Answer {
    let path = text(path);
    call(libc::SYS_openat, &[libc::AT_FDCWD as usize, at(&path), (flags | libc::O_CLOEXEC | libc::O_NONBLOCK) as usize, 0o600])
}

/// The first of them that opens.
fn opens(paths: &[&str], flags: i32) -> Finding {
    let answers: Vec<(&str, Answer)> = paths.iter().map(|path| (*path, open(path, flags))).collect();
    if let Some((path, _)) = answers.iter().find(|(_, answer)| answer.is_ok()) {
        return Finding::open(format!("{path} opens"));
    }
    let worst = answers.iter().filter_map(|(_, answer)| answer.err()).find(|error| *error != libc::ENOENT);
    Finding::refused(worst.map_or_else(|| "not there".to_owned(), name))
}

/// The first bytes of a file; nothing where it cannot be read.
fn head(path: &str) -> String {
    let Ok(file) = open(path, libc::O_RDONLY) else { return String::new() };
    let mut bytes = vec![0_u8; ENOUGH_BYTES];
    let count = call(libc::SYS_read, &[file as usize, of(&mut bytes), ENOUGH_BYTES]).unwrap_or(0);
    bytes.truncate(usize::try_from(count).unwrap_or(0));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn says(paths: &[&str]) -> Finding {
    let loud = paths.iter().find(|path| !head(path).is_empty());
    loud.map_or_else(|| Finding::refused("nothing to read"), |path| Finding::open(format!("{path} can be read")))
}

fn lists(paths: &[&str]) -> Finding {
    let full = paths.iter().find(|path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()));
    full.map_or_else(|| Finding::refused("nothing to see"), |path| Finding::open(format!("{path} can be listed")))
}

fn oom_lower() -> Finding {
    let lower =
        fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|score| score.trim().parse::<i32>().ok()).unwrap_or(0) - 1;
    match fs::write("/proc/self/oom_score_adj", lower.to_string()) {
        Ok(()) => Finding::open("lowered"),
        Err(error) => Finding::refused(error.raw_os_error().map_or_else(String::new, name)),
    }
}

/// A file of one of these names (or endings) below a folder, three levels deep, that opens for writing.
fn writable_below(folder: &str, names: &str) -> Finding {
    const DEPTH_MAX: usize = 4;
    let names: Vec<&str> = names.split(',').collect();
    let (mut waiting, mut seen) = (vec![(folder.to_owned(), 0)], 0);
    while let Some((folder, depth)) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, file) = (entry.path().to_string_lossy().into_owned(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < DEPTH_MAX {
                waiting.push((path, depth + 1));
            } else if names.iter().any(|name| file.ends_with(name)) {
                seen += 1;
                if open(&path, libc::O_WRONLY).is_ok() {
                    return Finding::open(format!("{path} opens for writing"));
                }
            }
        }
    }
    Finding::refused(if seen == 0 { "not there".to_owned() } else { format!("{seen} files, none opens") })
}

fn unusual_devices() -> Finding {
    const USUAL: [&str; 9] = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "core"];
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let devices = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_char_device() || kind.is_block_device()));
    let names = devices.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let unusual: Vec<String> = names.filter(|name| !USUAL.contains(&name.as_str())).collect();
    if unusual.is_empty() {
        return Finding::refused("none");
    }
    let shown = unusual.iter().take(5).cloned().collect::<Vec<_>>().join(" ");
    Finding::measured(unusual.len() as u64, format!("{}: {shown}", unusual.len()))
}

/// The first disk that the kernel tells of.
fn host_disk() -> Finding {
    let partitions = fs::read_to_string("/proc/partitions").unwrap_or_default();
    let mut numbers = partitions.lines().skip(2).filter_map(|line| {
        let mut words = line.split_whitespace().map_while(|word| word.parse::<u32>().ok());
        Some((words.next()?, words.next()?))
    });
    let Some((major, minor)) = numbers.next() else { return Finding::unknown("the kernel tells of no disk") };
    made_device("disk", libc::S_IFBLK, major, minor)
}

/// Makes a device file and reads from it: 1 if only making works, 2 if reading does, too.
fn made_device(file: &str, kind: u32, major: u32, minor: u32) -> Finding {
    let path = format!("/tmp/probe-{file}-{}", std::process::id());
    let c_path = text(&path);
    let number = libc::makedev(major, minor) as usize;
    let made = call(libc::SYS_mknodat, &[libc::AT_FDCWD as usize, at(&c_path), (kind | 0o600) as usize, number]);
    let finding = match made {
        Err(error) => Finding::refused(format!("mknod: {}", name(error))),
        Ok(_) => match open(&path, libc::O_RDONLY) {
            Ok(_) => Finding::measured(2, "it is made, and opens"),
            Err(error) => Finding::measured(1, format!("it is made; open: {}", name(error))),
        },
    };
    let _ = fs::remove_file(&path);
    finding
}

/// chroot below, then up: ends at the root of the mount namespace. That must still be the container's own.
fn chroot_escape() -> Finding {
    let before = fs::metadata("/").map(|root| (root.dev(), root.ino()));
    let below = format!("/tmp/probe-root-{}", std::process::id());
    let _ = fs::create_dir(&below);
    let path = text(&below);
    let answer = call(libc::SYS_chroot, &[at(&path)]);
    let up = text("..");
    for _ in 0..64 {
        let _ = call(libc::SYS_chdir, &[at(&up)]);
    }
    let here = text(".");
    let after =
        call(libc::SYS_chroot, &[at(&here)]).ok().and_then(|_| fs::metadata("/").ok()).map(|root| (root.dev(), root.ino()));
    let _ = fs::remove_dir(&below);
    match (answer, after) {
        (Err(error), _) => Finding::refused(name(error)),
        (Ok(_), Some(after)) if before.as_ref().is_ok_and(|before| *before == after) => Finding::refused("ends at its own root"),
        (Ok(_), Some(_)) => Finding::open("another root is reached"),
        (Ok(_), None) => Finding::unknown("the second chroot failed"),
    }
}

fn magic(path: &str, expected: u64) -> Finding {
    let mut buffer = [0_u64; 32];
    let c_path = text(path);
    match call(libc::SYS_statfs, &[at(&c_path), of(&mut buffer)]) {
        Ok(_) if buffer[0] == expected => Finding::refused("it is"),
        Ok(_) => Finding::open(format!("file system {:#x}", buffer[0])),
        Err(error) => Finding::unknown(name(error)),
    }
}

fn is_null(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_char_device() && file.rdev() == libc::makedev(1, 3))
}

fn null_is_null() -> Finding {
    if is_null("/dev/null") { Finding::refused("it is") } else { Finding::open("another file") }
}

/// What engines mask by a file: each must be the null device, an empty file, or out of reach.
fn masks() -> Finding {
    const MASKED: [&str; 7] = [
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/interrupts",
    ];
    let wrong =
        MASKED.iter().find(|path| fs::metadata(path).is_ok_and(|file| file.file_type().is_char_device()) && !is_null(path));
    wrong.map_or_else(|| Finding::refused("nothing"), |path| Finding::open(format!("{path} is another device")))
}

/// Where there is a console it must be a terminal device, in /dev.
fn console() -> Finding {
    match fs::symlink_metadata("/dev/console") {
        Err(_) => Finding::refused("there is none"),
        Ok(file) if file.file_type().is_char_device() => Finding::refused("it is a device"),
        Ok(file) => Finding::open(format!("mode {:o}", file.mode())),
    }
}

/// A copy of this program that belongs to root and has the bit, started by an ordinary user.
fn setuid() -> Finding {
    const USER: usize = 1000;
    let path = format!("/tmp/probe-setuid-{}", std::process::id());
    let prepared = fs::copy("/proc/self/exe", &path)
        .and_then(|_| fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o4755)));
    if let Err(error) = prepared {
        return Finding::unknown(error.to_string());
    }
    if call(libc::SYS_setresgid, &[USER, USER, USER]).and(call(libc::SYS_setresuid, &[USER, USER, USER])).is_err() {
        return Finding::unknown("cannot become an ordinary user");
    }
    let ended = std::process::Command::new(&path).arg("rights").status();
    match ended.map(|status| status.code()) {
        Ok(Some(0)) => Finding::refused("it stays an ordinary user's"),
        Ok(Some(1)) => Finding::open("it has root's rights"),
        other => Finding::unknown(format!("{other:?}")),
    }
}

/// Process 1 is the container's own; its root, too.
fn host_root() -> Finding {
    let own = fs::metadata("/").map(|root| (root.dev(), root.ino())).ok();
    match fs::metadata("/proc/1/root/.").map(|root| (root.dev(), root.ino())) {
        Ok(other) if Some(other) == own => Finding::refused("it is the container's own"),
        Ok(_) => Finding::open("another root"),
        Err(error) => Finding::refused(error.raw_os_error().map_or_else(String::new, name)),
    }
}

/// Used by `catch`: whether a file can be written through an open descriptor of it.
pub(crate) fn reopen_for_writing(descriptor: i64) -> Answer {
    open(&format!("/proc/self/fd/{descriptor}"), libc::O_WRONLY)
}

/// Used by `catch`: opens what another process executes.
pub(crate) fn open_program_of(pid: &str) -> Answer {
    sys::call(libc::SYS_openat, &[libc::AT_FDCWD as usize, at(&text(&format!("/proc/{pid}/exe"))), libc::O_RDONLY as usize, 0])
}
