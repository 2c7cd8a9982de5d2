//! The kernel: its release, the features that containers are made of, cgroups, and our rights.

use super::Check;
use coord_runtime::survey;
use rustix::mount::{FsOpenFlags, fsopen};
use std::path::Path;

/// The oldest kernel that is tried: it has the newer mount calls, idmapped mounts, pidfds, and overlays that are not synced.
const OLDEST: (u32, u32) = (5, 12);
/// What newer ones add, by their release.
const LATER: [((u32, u32), &str, &str); 2] = [
    ((5, 14), "cgroup.kill", "the processes of a container are killed one by one"),
    ((6, 8), "overlays by single layers", "an image of very many layers, kept as directories, cannot be mounted"),
];
/// What containers are separated by.
const NAMESPACES: [&str; 6] = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];
/// Rights that starting containers takes, with their numbers (linux/capability.h). Nearly all: the agent gives them away.
const CAPABILITIES: [(u32, &str); 11] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (3, "CAP_FOWNER"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (12, "CAP_NET_ADMIN"),
    (18, "CAP_SYS_CHROOT"),
    (21, "CAP_SYS_ADMIN"),
    (31, "CAP_SETFCAP"),
];

const NO_START: &str = "no container starts";

pub(super) fn checks() -> Vec<Check> {
    let mut checks = vec![release(), overlay(), namespaces(), seccomp(), pidfd()];
    checks.extend(cgroups());
    checks
}

fn release() -> Check {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let Some(version) = numbers(&release) else {
        return Check::note("kernel", format!("Linux {release}"), "its age cannot be told from this name");
    };
    if version < OLDEST {
        return Check::problem("kernel", format!("Linux {release}"), NO_START)
            .cure(format!("install Linux {}.{} or later", OLDEST.0, OLDEST.1));
    }
    let lacks: Vec<_> = LATER.iter().filter(|(since, ..)| version < *since).collect();
    if lacks.is_empty() {
        let has: Vec<&str> = LATER.iter().map(|(_, name, _)| *name).collect();
        return Check::ok("kernel", format!("Linux {release}, with {}", has.join(", ")));
    }
    let names: Vec<String> = lacks.iter().map(|((major, minor), name, _)| format!("{name} ({major}.{minor})")).collect();
    let costs: Vec<&str> = lacks.iter().map(|(_, _, cost)| *cost).collect();
    Check::note("kernel", format!("Linux {release}, without {}", names.join(", ")), costs.join("; "))
        .cure("a newer kernel has them")
}

/// `6.18.44-cloud-amd64` is (6, 18).
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What we may do. For anybody but root the rest would be a list of refusals.
pub(super) fn rights() -> Check {
    if !rustix::process::geteuid().is_root() {
        return Check::problem("rights", "this is not root", "nothing else can be found out").cure("use sudo");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()) else {
        return Check::note("rights", "root; /proc/self/status does not say with which capabilities", "unknown");
    };
    let lacks: Vec<&str> =
        CAPABILITIES.iter().filter(|(number, _)| effective >> number & 1 == 0).map(|(_, name)| *name).collect();
    if lacks.is_empty() {
        return Check::ok("rights", "root, with every capability that is needed");
    }
    Check::problem("rights", format!("root without {}", lacks.join(", ")), "containers that need these do not start")
        .cure("run the agent outside of a container, or grant them to it")
}

/// Asking for it loads the module, where it is one.
fn overlay() -> Check {
    match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) => Check::ok("overlayfs", "works"),
        Err(error) => Check::problem("overlayfs", format!("the kernel refuses it: {error}"), NO_START)
            .cure("load the module overlay, or build the kernel with CONFIG_OVERLAY_FS"),
    }
}

fn namespaces() -> Check {
    let is_there = |name: &&str| Path::new("/proc/self/ns").join(name).exists();
    let lacks: Vec<&str> = NAMESPACES.into_iter().filter(|name| !is_there(name)).collect();
    if !lacks.is_empty() {
        return Check::problem("namespaces", format!("the kernel lacks {}", lacks.join(", ")), NO_START)
            .cure("build the kernel with CONFIG_NAMESPACES and its parts");
    }
    let user = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let has_user = is_there(&"user") && user.trim() != "0" && !user.is_empty();
    let user = if has_user { "and user" } else { "but not user, which nothing needs so far" };
    Check::ok("namespaces", format!("{} {user}", NAMESPACES.join(", ")))
}

fn seccomp() -> Check {
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "errno") {
        return Check::ok("seccomp", "filters can be set");
    }
    Check::problem("seccomp", "the kernel has no filters", NO_START).cure("build the kernel with CONFIG_SECCOMP_FILTER")
}

fn pidfd() -> Check {
    match rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty()) {
        Ok(_) => Check::ok("pidfd", "processes can be held"),
        Err(error) => Check::problem("pidfd", format!("the kernel refuses it: {error}"), NO_START)
            .cure("install Linux 5.3 or later; in a container, let its seccomp profile pass pidfd_open"),
    }
}

fn cgroups() -> Vec<Check> {
    let what = "cgroups";
    let survey = match survey() {
        Ok(survey) => survey,
        Err(error) => return vec![Check::problem(what, crate::chain(&error), NO_START).cure("mount /proc")],
    };
    let systemd = if survey.is_systemd { ", by way of systemd" } else { "" };
    let found = format!("{}{systemd}; controllers: {}", survey.version, words(&survey.controllers));
    if let Some(refused) = survey.refused {
        return vec![
            Check::problem(what, refused, NO_START).cure("give the agent the right to make groups (systemd: Delegate=yes)"),
        ];
    }
    if survey.version == "none" {
        return vec![Check::problem(what, "none are mounted", NO_START).cure("mount cgroup2 at /sys/fs/cgroup")];
    }
    let mut checks = Vec::new();
    if !survey.missing.is_empty() {
        let cost = format!("documents that limit {} do not start here", words(&survey.missing));
        let cure = "enable them: cgroup_enable=memory on the kernel's command line, or a kernel that has them";
        checks.push(Check::note(what, format!("{found}; missing: {}", words(&survey.missing)), cost).cure(cure));
    } else if survey.version == "v2" {
        checks.push(Check::ok(what, found));
    } else {
        let cost = "limits hold, and containers see no cgroups of their own";
        checks.push(Check::note(what, found, cost).cure("boot with systemd.unified_cgroup_hierarchy=1 for v2 alone"));
    }
    checks
}

fn words(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        let check = |release: &str, expect| assert_eq!(numbers(release), expect, "{release}");
        check("6.18.44-cloud-amd64", Some((6, 18)));
        check("5.10", Some((5, 10)));
        check("6.1-rc3", Some((6, 1)));
        check("next", None);
    }
}
