//! The same profile in the words of the OCI runtime specification (config-linux.md, "Seccomp"), for runtimes that compile it
//! themselves.
//!
//! Made from the very rules that are compiled otherwise. Two differences are the runtimes' own: calls that their library has no
//! name for are left out, and calls of 32-bit programs end the process.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ALLOWED, FAMILIES, FAMILIES_BELOW, NAMESPACE_FLAGS, PERSONALITIES, WITH, WITH_HERE};
use crate::ContainerSpec;
use crate::spec::Capabilities;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "SCMP_ARCH_X86_64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "SCMP_ARCH_AARCH64";

/// Names of the calls that come with a capability.
#[rustfmt::skip]
const NAMES: [(i64, &str); 37] = [
    (libc::SYS_acct, "acct"), (libc::SYS_bpf, "bpf"), (libc::SYS_chroot, "chroot"), (libc::SYS_clock_settime, "clock_settime"),
    (libc::SYS_delete_module, "delete_module"), (libc::SYS_fanotify_init, "fanotify_init"),
    (libc::SYS_finit_module, "finit_module"), (libc::SYS_fsconfig, "fsconfig"), (libc::SYS_fsmount, "fsmount"),
    (libc::SYS_fsopen, "fsopen"), (libc::SYS_fspick, "fspick"), (libc::SYS_get_mempolicy, "get_mempolicy"),
    (libc::SYS_init_module, "init_module"), (libc::SYS_kcmp, "kcmp"), (libc::SYS_lookup_dcookie, "lookup_dcookie"),
    (libc::SYS_mbind, "mbind"), (libc::SYS_mount, "mount"), (libc::SYS_mount_setattr, "mount_setattr"),
    (libc::SYS_move_mount, "move_mount"), (libc::SYS_open_by_handle_at, "open_by_handle_at"),
    (libc::SYS_open_tree, "open_tree"), (libc::SYS_perf_event_open, "perf_event_open"),
    (libc::SYS_pidfd_getfd, "pidfd_getfd"), (libc::SYS_process_madvise, "process_madvise"), (libc::SYS_quotactl, "quotactl"),
    (libc::SYS_quotactl_fd, "quotactl_fd"), (libc::SYS_reboot, "reboot"), (libc::SYS_set_mempolicy, "set_mempolicy"),
    (libc::SYS_set_mempolicy_home_node, "set_mempolicy_home_node"), (libc::SYS_setdomainname, "setdomainname"),
    (libc::SYS_sethostname, "sethostname"), (libc::SYS_setns, "setns"), (libc::SYS_settimeofday, "settimeofday"),
    (libc::SYS_syslog, "syslog"), (libc::SYS_umount2, "umount2"), (libc::SYS_unshare, "unshare"),
    (libc::SYS_vhangup, "vhangup"),
];

/// Names of calls of this architecture alone.
#[cfg(target_arch = "x86_64")]
const NAMES_HERE: [(i64, &str); 2] = [(libc::SYS_iopl, "iopl"), (libc::SYS_ioperm, "ioperm")];
#[cfg(target_arch = "aarch64")]
const NAMES_HERE: [(i64, &str); 0] = [];

/// `linux.seccomp` of a container; `None` when it has no filter.
pub(crate) fn of(spec: &ContainerSpec) -> Option<Value> {
    let unfiltered = spec.security.seccomp_unconfined || spec.security.privileged;
    (!unfiltered).then(|| profile(Capabilities::of(spec)))
}

fn profile(capabilities: Capabilities) -> Value {
    let namespaces = capabilities.has("CAP_SYS_ADMIN");
    let allow = |names: Vec<&str>| json!({ "names": names, "action": "SCMP_ACT_ALLOW" });
    let allow_if = |name: &str, operator: &str, value: u64, second: u64| {
        let argument = json!({ "index": 0, "value": value, "valueTwo": second, "op": operator });
        json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument] })
    };
    let mut calls = vec![allow(names(capabilities))];
    calls.push(allow_if("socket", "SCMP_CMP_LT", FAMILIES_BELOW, 0));
    calls.extend(FAMILIES.iter().map(|family| allow_if("socket", "SCMP_CMP_EQ", *family, 0)));
    calls.extend(PERSONALITIES.iter().map(|personality| allow_if("personality", "SCMP_CMP_EQ", *personality, 0)));
    if namespaces {
        calls.push(allow(vec!["clone", "clone3"]));
    } else {
        // The mask, and what is left of the flags under it.
        calls.push(allow_if("clone", "SCMP_CMP_MASKED_EQ", NAMESPACE_FLAGS, 0));
        calls.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::EPERM,
        "architectures": [ARCHITECTURE],
        "syscalls": calls,
    })
}

/// Calls that are allowed whatever their arguments.
fn names(capabilities: Capabilities) -> Vec<&'static str> {
    let known = NAMES.iter().chain(&NAMES_HERE).copied().collect::<BTreeMap<_, _>>();
    let listed = ALLOWED.lines().filter_map(|line| line.split_once(' '));
    let listed = listed.filter(|(number, _)| number.parse::<u32>().is_ok()).map(|(_, name)| name);
    let mut names = listed.filter(|name| *name != "chroot").collect::<Vec<_>>();
    let granted = WITH.iter().chain(&WITH_HERE).filter(|(name, _)| capabilities.has(name));
    names.extend(granted.flat_map(|(_, calls)| calls.iter()).filter_map(|call| known.get(call)));
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::rules;

    /// The words say what is compiled: the same number of calls, and a name for each that comes with a capability.
    #[test]
    fn the_words_are_the_rules() {
        for capabilities in [Capabilities(0), super::super::USUAL, Capabilities((1 << 41) - 1)] {
            let namespaces = capabilities.has("CAP_SYS_ADMIN");
            let rules = rules(capabilities, namespaces).expect("rules");
            // socket, personality, clone and clone3 have rules of their own.
            assert_eq!(names(capabilities).len() + 4, rules.len(), "{capabilities:?}");
        }
    }

    #[test]
    fn conditions_are_spelt_out() {
        let profile = profile(super::super::USUAL);
        let calls = profile["syscalls"].as_array().expect("calls");
        let of = |name: &str| calls.iter().filter(|call| call["names"][0] == name && call["args"].is_array()).count();
        assert_eq!((of("socket"), of("personality"), of("clone")), (26, 5, 1));
        assert!(calls.iter().any(|call| call["names"][0] == "clone3" && call["errnoRet"] == 38));
    }
}
