//! Capabilities: their numbers, and which of them a container has.

use super::super::ContainerSpec;

/// What root may do in a container: what podman gives, which is docker's fourteen without MKNOD (device files that a container makes itself
/// are of no use to it), NET_RAW (forged packets to its neighbours; `ping` does without) and AUDIT_WRITE (false lines in the host's audit log).
pub const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// All that Linux has, each at the place of its number (linux/capability.h).
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Capabilities as the kernel counts them: bit `n` is number `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Capabilities(pub(crate) u64);

impl Capabilities {
    /// Those of a container; within another one, none that this one lacks. What is added by name is stronger than what is dropped, so that all can be dropped but one; where
    /// all are added, it is the other way round. (moby's rule, oci/caps/utils.go.)
    pub(crate) fn of(spec: &ContainerSpec) -> Capabilities {
        let security = &spec.security;
        let (adds, drops) = (|name: &str| names(&security.cap_add, name), |name: &str| names(&security.cap_drop, name));
        let has = |name: &&str| match security.privileged || ALL.iter().all(|name| adds(name)) {
            true => !drops(name),
            false => adds(name) || CAPABILITIES.contains(name) && !drops(name),
        };
        let bits = (0_u32..).zip(&ALL).filter(|(_, name)| has(name));
        let within = spec.parent.as_ref().map_or(u64::MAX, |parent| parent.capabilities().0);
        Capabilities(bits.fold(0, |bits, (number, _)| bits | 1 << number) & within)
    }

    /// Whether `name` is among them; a name that there is not is not.
    pub(crate) fn has(self, name: &str) -> bool {
        ALL.iter().position(|known| *known == name).is_some_and(|number| self.0 >> number & 1 == 1)
    }

    pub(crate) fn names(self) -> Vec<&'static str> {
        ALL.iter().copied().filter(|name| self.has(name)).collect()
    }
}

/// The set of these names.
pub(crate) fn capability_set<'a>(names: impl IntoIterator<Item = &'a str>) -> Capabilities {
    let numbers = names.into_iter().filter_map(|name| ALL.iter().position(|known| *known == name));
    Capabilities(numbers.fold(0, |bits, number| bits | 1 << number))
}

/// Whether a list of capabilities names this one, or all.
fn names(list: &[String], name: &str) -> bool {
    list.iter().any(|listed| listed == name || listed == "ALL" || listed == "CAP_ALL")
}

/// The first name of these lists that is no capability's.
pub(super) fn unknown(spec: &ContainerSpec) -> Option<&str> {
    let given = spec.security.cap_add.iter().chain(&spec.security.cap_drop).map(String::as_str);
    given.into_iter().find(|name| !ALL.contains(name) && *name != "ALL" && *name != "CAP_ALL")
}

#[cfg(test)]
mod tests {
    use super::{CAPABILITIES, Capabilities};
    use crate::{ContainerSpec, LogPolicy, Security};

    #[test]
    fn capabilities_are_added_and_dropped() {
        let check = |add: &[&str], drop: &[&str], privileged: bool, expect: u64| {
            let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            let mut spec = ContainerSpec::new("c", Vec::new(), Vec::new(), LogPolicy::default());
            spec.security = Security { cap_add: list(add), cap_drop: list(drop), privileged, ..Security::default() };
            assert_eq!(Capabilities::of(&spec), Capabilities(expect), "{add:?} {drop:?}");
        };
        check(&[], &[], false, 0x8004_05fb);
        check(&["CAP_SYS_ADMIN"], &["CAP_CHOWN"], false, 0x8024_05fa);
        check(&[], &["ALL"], false, 0);
        check(&["CAP_MKNOD"], &["ALL"], false, 1 << 27);
        check(&["ALL"], &["CAP_MKNOD"], false, ((1 << 41) - 1) & !(1 << 27));
        check(&["ALL"], &[], false, (1 << 41) - 1);
        check(&[], &[], true, (1 << 41) - 1);
        assert!(Capabilities(0x8004_05fb).names().iter().all(|name| CAPABILITIES.contains(name)));
    }
}
