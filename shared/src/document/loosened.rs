//! What a document takes from the default isolation, in the words that `coordctl status` shows.

use super::model::{Container, Document, Network, PidsLimit};
use super::parts::{Device, MountSource, Propagation, Security};
use std::collections::BTreeSet;

/// What root may do in a container unless told otherwise; the runtime's own list agrees with it.
pub const DEFAULT_CAPABILITIES: [&str; 11] = [
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

/// Capabilities beyond which naming them one by one tells nobody more.
const NAMED_MAX: usize = 8;

/// Folders of a host through which its owner is reached.
const TELLING_FOLDERS: [&str; 12] =
    ["/", "/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/usr", "/var", "/var/run"];

impl Document {
    /// What the document takes from the default isolation, a few words each; empty where it takes nothing.
    pub fn loosened(&self) -> Vec<String> {
        let Container { network, security, devices, mounts, oom_score_adj, resources, .. } = &self.container;
        let mut loosened = of_security(security);
        if *network == Network::Host {
            loosened.push("host's network".to_owned());
        }
        loosened.extend(devices.iter().map(|device| match device {
            Device::File { source, .. } => format!("device {source}"),
            Device::Cdi(name) => format!("device {name}"),
        }));
        for mount in mounts {
            let MountSource::Bind { path, propagation } = &mount.source else { continue };
            if TELLING_FOLDERS.contains(&path.as_str()) || path.ends_with(".sock") {
                loosened.push(format!("host's {path}"));
            }
            if *propagation == Propagation::Rshared {
                loosened.push(format!("mounts of {} shared with the host", mount.target));
            }
        }
        if resources.pids == Some(PidsLimit::Unlimited) {
            loosened.push("no limit of processes".to_owned());
        }
        if oom_score_adj.is_some_and(|score| score < 0) {
            loosened.push("ended late when the host is out of memory".to_owned());
        }
        loosened
    }
}

fn of_security(security: &Security) -> Vec<String> {
    let Security {
        cap_add,
        cap_drop: _,
        privileged,
        seccomp_unconfined,
        unmasked,
        new_privileges,
        host_users,
        host_pid,
        host_ipc,
        group_add: _,
    } = security;
    let mut loosened = Vec::new();
    if *privileged {
        loosened.push("privileged: all capabilities and devices, no seccomp, host's users".to_owned());
    } else {
        let added: BTreeSet<&str> =
            cap_add.iter().map(String::as_str).filter(|name| !DEFAULT_CAPABILITIES.contains(name)).collect();
        if added.len() > NAMED_MAX {
            loosened.push(format!("{} more capabilities", added.len()));
        } else {
            loosened.extend(added.iter().map(|name| format!("capability {}", name.trim_start_matches("CAP_"))));
        }
    }
    let words = [
        (*seccomp_unconfined && !privileged, "no seccomp"),
        (*unmasked && !privileged, "kernel interfaces unmasked"),
        (*new_privileges, "new privileges"),
        (*host_users && !privileged, "host's users"),
        (*host_pid, "host's process IDs"),
        (*host_ipc, "host's IPC"),
    ];
    loosened.extend(words.into_iter().filter(|(loose, _)| *loose).map(|(_, words)| words.to_owned()));
    loosened
}
