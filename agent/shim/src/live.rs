//! Which folders of a container another one may see live: all but the kernel's and the way to the agent.
//!
//! Pure: goes by the container's mounts, as the kernel tells them. The agent compiles this very file as a module of its own, to say
//! beforehand what the shim would refuse.

use std::path::{Path, PathBuf};

/// File systems of the kernel, through which things other than files are seen and steered, and device files.
const KERNELS: [&str; 21] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "resctrl",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// Where a container has its way to the agent.
const DOOR: &str = "/run/coord";

/// `mountinfo` is a line of some hundred bytes for each mount; kernels allow 100,000 by default.
pub(crate) const MOUNTINFO_MAX_BYTES: u64 = 32 << 20;

/// Why the folder `path`, with what is mounted in it, cannot be seen live, if it cannot; in a few words. `mountinfo` is that of the
/// container that has it (proc_pid_mountinfo(5)), and `path` is without symbolic links.
pub(crate) fn obstacle(mountinfo: &str, path: &Path) -> Option<String> {
    let door = Path::new(DOOR);
    if path.starts_with(door) {
        return Some(format!("{DOOR} is the way to the agent"));
    }
    let mounts = mountinfo.lines().filter_map(mount).collect::<Vec<_>>();
    // The last of those that lie deepest is on top.
    let its_own = mounts.iter().enumerate().filter(|(_, (place, _))| path.starts_with(place));
    let its_own = its_own.max_by_key(|(number, (place, _))| (place.components().count(), *number)).map(|(_, mount)| mount);
    let below = mounts.iter().filter(|(place, _)| place.starts_with(path));
    for (place, kind) in its_own.into_iter().chain(below) {
        if KERNELS.contains(kind) {
            return Some(format!("{} is the kernel's ({kind})", place.display()));
        }
        if place == door {
            return Some(format!("{DOOR}, the way to the agent, is in it"));
        }
    }
    None
}

/// `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [FIELDS] - KIND SOURCE OPTIONS`
fn mount(line: &str) -> Option<(PathBuf, &str)> {
    let (left, right) = line.split_once(" - ")?;
    Some((unescape(left.split(' ').nth(4)?), right.split(' ').next()?))
}

/// Blanks, tabs, line ends and backslashes are written as `\` and three octal digits.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::obstacle;
    use std::path::Path;

    const MOUNTS: &str = "1 0 0:1 / / rw,relatime - overlay overlay rw
2 1 0:2 / /proc rw - proc proc rw
3 1 0:3 / /dev rw shared:1 - tmpfs tmpfs rw
4 3 0:4 / /dev/pts rw - devpts devpts rw
5 1 0:5 /d/x /run/coord ro - tmpfs tmpfs rw
6 1 8:1 /v /data rw - ext4 /dev/vda rw
7 1 0:7 / /with\\040blank rw - sysfs sysfs rw
8 1 0:8 / /over rw - proc proc rw
9 1 0:9 / /over rw - tmpfs tmpfs rw
";

    #[test]
    fn folders_of_the_kernel_and_the_door_are_not_shown() {
        let check = |path: &str, expect: Option<&str>| {
            let got = obstacle(MOUNTS, Path::new(path));
            assert_eq!(got.as_deref(), expect, "{path}");
        };
        check("/data", None);
        check("/data/deep", None);
        check("/srv", None);
        check("/proc", Some("/proc is the kernel's (proc)"));
        check("/proc/sys", Some("/proc is the kernel's (proc)"));
        check("/dev", Some("/dev/pts is the kernel's (devpts)"));
        check("/dev/shm", None);
        check("/", Some("/proc is the kernel's (proc)"));
        check("/run", Some("/run/coord, the way to the agent, is in it"));
        check("/run/coord", Some("/run/coord is the way to the agent"));
        check("/run/coord/sub", Some("/run/coord is the way to the agent"));
        check("/run/coordination", None);
        check("/with blank/x", Some("/with blank is the kernel's (sysfs)"));
        check("/over/x", None);
    }
}
