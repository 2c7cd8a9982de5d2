//! Who the container's root is: its users, rights, namespaces, and what it was given by mistake.

use std::fs;

use crate::line::{Finding, Line, USUAL_LIMIT};

const fn line(name: &'static str, what: &'static str, probe: fn() -> Finding) -> Line {
    Line { name, chapter: "Identity", what, probe, limit: USUAL_LIMIT }
}

/// `NS=inode,NS=inode`: the host's namespaces, told by whoever runs the probe.
const HOST_VARIABLE: &str = "PROBE_HOST_NAMESPACES";

pub(crate) const LINES: &[Line] = &[
    line("uid-map", "user 0 is the host's root", uid_map),
    line("capabilities", "capabilities of root, of 41", || capabilities("CapEff")),
    line("bounding", "capabilities that can be gained, of 41", || capabilities("CapBnd")),
    line("ambient", "capabilities that programs inherit", || capabilities("CapAmb")),
    line("inheritable", "inheritable capabilities (CVE-2022-24769)", || capabilities("CapInh")),
    line("seccomp", "no filter of system calls", || match status("Seccomp").as_deref() {
        Some("2") => Finding::refused("filtered"),
        Some(mode) => Finding::open(format!("mode {mode}")),
        None => Finding::unknown("the kernel does not tell"),
    }),
    line("no-new-privs", "programs may gain rights by setuid bits", || match status("NoNewPrivs").as_deref() {
        Some("1") => Finding::refused("no_new_privs"),
        Some(_) => Finding::open("they may"),
        None => Finding::unknown("the kernel does not tell"),
    }),
    line("ns-pid", "shares the host's processes", || namespace("pid")),
    line("ns-net", "shares the host's network", || namespace("net")),
    line("ns-ipc", "shares the host's IPC", || namespace("ipc")),
    line("ns-uts", "shares the host's name", || namespace("uts")),
    line("ns-mnt", "shares the host's mounts", || namespace("mnt")),
    line("ns-cgroup", "sees the host's cgroups (no cgroup namespace)", || namespace("cgroup")),
    line("ns-user", "shares the host's users (no user namespace)", || namespace("user")),
    line("fds", "files of the host left open (CVE-2024-21626)", inherited),
    line("cwd", "working folder outside of the root (CVE-2024-21626)", || match std::env::current_dir() {
        Ok(dir) if dir.starts_with("/") && dir.exists() => Finding::refused(dir.display().to_string()),
        Ok(dir) => Finding::open(dir.display().to_string()),
        Err(error) => Finding::open(error.to_string()),
    }),
    line("groups", "groups beside the user's own", || match status("Groups") {
        Some(groups) if groups.is_empty() || groups == "0" => Finding::refused("none"),
        Some(groups) => Finding::measured(groups.split_whitespace().count() as u64, groups),
        None => Finding::unknown("the kernel does not tell"),
    }),
    line("oom-score", "is spared when memory is short", || match fs::read_to_string("/proc/self/oom_score_adj") {
        Ok(text) if text.trim().parse::<i32>().is_ok_and(|score| score < 0) => Finding::open(text.trim()),
        Ok(text) => Finding::refused(text.trim()),
        Err(error) => Finding::unknown(error.to_string()),
    }),
];

fn status(key: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn capabilities(set: &str) -> Finding {
    let mask = status(set).and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    mask.map_or_else(
        || Finding::unknown("the kernel does not tell"),
        |mask| Finding::measured(u64::from(mask.count_ones()), names(mask)),
    )
}

/// capabilities(7), in the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

fn names(mask: u64) -> String {
    let held: Vec<&str> =
        CAPABILITIES.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, name)| *name).collect();
    match held.len() {
        0 => "none".to_owned(),
        41 => "all".to_owned(),
        count => format!("{count}: {}", held.join(" ")),
    }
}

/// `inside outside count`, a line for each range; where user 0 is on the host.
fn uid_map() -> Finding {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let ranges = map.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    match ranges.filter(|range| range.first() == Some(&"0")).map(|range| range.get(1).map(|id| (*id).to_owned())).next().flatten()
    {
        Some(host) if host == "0" => Finding::open("it is root of the host"),
        Some(host) => Finding::refused(format!("it is {host} of the host")),
        None => Finding::unknown(format!("map {map:?}")),
    }
}

fn namespace(kind: &str) -> Finding {
    let own = fs::read_link(format!("/proc/self/ns/{kind}")).map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
    let host = std::env::var(HOST_VARIABLE).unwrap_or_default();
    let host = host.split(',').find_map(|pair| pair.strip_prefix(kind)?.strip_prefix('=').map(str::to_owned));
    match host {
        Some(inode) if own.contains(&format!("[{inode}]")) => Finding::open("shared"),
        Some(_) if !own.is_empty() => Finding::refused("its own"),
        _ => Finding::unknown("nobody told which are the host's"),
    }
}

/// Besides the usual three, the pipe of the probe itself, and the folder that is being read.
fn inherited() -> Finding {
    let links = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<String> = links
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok_and(|number| number > 2))
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| !target.starts_with("pipe:") && !target.starts_with("/proc/"))
        .collect();
    if open.is_empty() { Finding::refused("none") } else { Finding::measured(open.len() as u64, open.join(" ")) }
}

/// Whether this process holds root's user, or any capability.
pub(crate) fn has_root_rights() -> bool {
    let user = status("Uid").unwrap_or_default();
    user.split(' ').nth(1) == Some("0") || status("CapEff").is_some_and(|mask| !mask.trim_matches('0').is_empty())
}
