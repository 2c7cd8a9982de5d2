//! What sets a container apart from the default isolation.

use super::choice::choice;
use super::container::user_problem;
use crate::document::diagnostic::Rule;
use crate::document::keys::closest;
use crate::document::parts::Security;
use crate::document::raw::{Field, Mistakes, field, scalar_text};
use std::collections::BTreeSet;
use toml::de::DeTable;

/// Every capability of Linux (capabilities(7), 6.18), without `CAP_`.
pub(crate) const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

pub(super) fn security(root: &DeTable<'_>, mistakes: &mut Mistakes) -> Security {
    let top = |key| field(root, "", key);
    let mut security = Security::default();
    capabilities(root, &mut security, mistakes);
    security.privileged = top("privileged").and_then(|field| field.boolean(mistakes)).unwrap_or(false);
    if let Some(field) = top("security_opt") {
        for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
            option(&entry, &mut security, mistakes);
        }
    }
    security.host_users = top("userns_mode").and_then(|field| choice(&field, &[("host", true)], mistakes)).unwrap_or(false);
    security.host_pid = top("pid").and_then(|field| choice(&field, &[("host", true)], mistakes)).unwrap_or(false);
    let ipc = top("ipc").and_then(|field| choice(&field, &[("private", false), ("host", true)], mistakes));
    security.host_ipc = ipc.unwrap_or(false);
    if let Some(field) = top("group_add") {
        security.group_add = groups(&field, mistakes);
    }
    conflicts(root, &security, mistakes);
    security
}

/// What `cap_add` or `cap_drop` says.
struct Listed<'t> {
    field: Field<'t>,
    all: bool,
    named: BTreeSet<String>,
}

/// What is named stands against an `ALL` on the other side, as in Docker; two names contradict each other.
fn capabilities(root: &DeTable<'_>, security: &mut Security, mistakes: &mut Mistakes) {
    let mut list = |key| field(root, "", key).map(|field| listed(field, mistakes));
    let (add, drop) = (list("cap_add"), list("cap_drop"));
    let all = || CAPABILITIES.iter().map(|name| format!("CAP_{name}"));
    let nothing = BTreeSet::new();
    let named = |list: &Option<Listed<'_>>| list.as_ref().map_or_else(|| nothing.clone(), |list| list.named.clone());
    let has_all = |list: &Option<Listed<'_>>| list.as_ref().is_some_and(|list| list.all);
    let (added, dropped) = (named(&add), named(&drop));
    if let (Some(add), Some(drop)) = (&add, &drop) {
        let both = added.intersection(&dropped).next().map(String::as_str).or((add.all && drop.all).then_some("ALL"));
        if let Some(both) = both {
            let contradiction = drop.field.wrong(Rule::Conflict, format!("{both:?} is in `cap_add`, too"));
            mistakes.push(contradiction.related(add.field.span(), "added here").hint("remove it from one of them"));
        }
    }
    security.cap_add = if has_all(&add) { all().filter(|name| !dropped.contains(name)).collect() } else { added.clone() };
    security.cap_drop = if has_all(&drop) { all().filter(|name| !added.contains(name)).collect() } else { dropped };
}

fn listed<'t>(field: Field<'t>, mistakes: &mut Mistakes) -> Listed<'t> {
    let (mut all, mut named) = (false, BTreeSet::new());
    for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
        let Some(text) = entry.text(mistakes) else { continue };
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" {
            all = true;
        } else if CAPABILITIES.contains(&name) {
            named.insert(format!("CAP_{name}"));
        } else {
            let shown: String = text.chars().take(60).collect();
            let unknown = entry.wrong(Rule::BadCapability, format!("Linux has no capability {shown:?}"));
            mistakes.push(match closest(name, CAPABILITIES.into_iter()) {
                Some(near) => unknown.hint(format!("did you mean {near:?}?")),
                None => unknown.hint("write for example \"NET_ADMIN\"; capabilities(7) lists them"),
            });
        }
    }
    Listed { field, all, named }
}

/// An entry of `security_opt`. Docker separates its parts by `=`, in older versions by `:`.
fn option(entry: &Field<'_>, security: &mut Security, mistakes: &mut Mistakes) {
    let Some(text) = entry.text(mistakes) else { return };
    let (name, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
    let cure = match (name, value) {
        ("seccomp", "unconfined") => {
            security.seccomp_unconfined = true;
            return;
        }
        ("systempaths", "unconfined") | ("unmask", "ALL" | "all") => {
            security.unmasked = true;
            return;
        }
        ("no-new-privileges", "" | "true") => {
            security.new_privileges = false;
            return;
        }
        ("no-new-privileges", "false") => {
            security.new_privileges = true;
            return;
        }
        ("seccomp", _) => "write \"seccomp=unconfined\", or remove it for the default filter",
        ("systempaths" | "unmask", _) => "write \"systempaths=unconfined\", or remove it for the default",
        ("no-new-privileges", _) => "write \"no-new-privileges=false\", or remove it for the default",
        ("apparmor" | "label", _) => "remove it; neither AppArmor nor SELinux profiles are set",
        _ => "write \"seccomp=unconfined\", \"systempaths=unconfined\" or \"no-new-privileges=false\"",
    };
    let shown: String = text.chars().take(60).collect();
    mistakes.push(entry.wrong(Rule::BadSecurityOption, format!("{shown:?} has no meaning here")).hint(cure));
}

fn groups(field: &Field<'_>, mistakes: &mut Mistakes) -> Vec<String> {
    let mut groups = Vec::new();
    for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
        let number = if entry.value.get_ref().is_integer() { scalar_text(entry.value.get_ref()) } else { None };
        let Some(text) = number.or_else(|| entry.text(mistakes).map(str::to_owned)) else { continue };
        match user_problem(&text, "group") {
            None if groups.contains(&text) => {
                mistakes.push(entry.wrong(Rule::Duplicate, format!("{text:?} is there already")).hint("remove one of them"));
            }
            None => groups.push(text),
            Some(problem) => {
                let bad = entry.wrong(Rule::BadUser, format!("{text:?} {problem}"));
                mistakes.push(bad.hint("write for example \"www-data\" or \"1000\""));
            }
        }
    }
    groups
}

fn conflicts(root: &DeTable<'_>, security: &Security, mistakes: &mut Mistakes) {
    let top = |key| field(root, "", key);
    if let (true, Some(drop), Some(privileged)) = (security.privileged, top("cap_drop"), top("privileged")) {
        let lost = drop.wrong(Rule::Conflict, "a privileged container has all capabilities");
        mistakes.push(
            lost.related(privileged.span(), "privileged here").hint("remove `privileged`, and add what is needed by `cap_add`"),
        );
    }
    if let (true, Some(size), Some(ipc)) = (security.host_ipc, top("shm_size"), top("ipc")) {
        let lost = size.wrong(Rule::Conflict, "with ipc = \"host\" the container has the host's /dev/shm");
        mistakes.push(lost.related(ipc.span(), "shared here").hint("remove `shm_size`"));
    }
    if let (true, Some(init), Some(pid)) = (security.host_pid, top("init"), top("pid"))
        && init.value.get_ref().as_bool() == Some(true)
    {
        let lost = init.wrong(Rule::Conflict, "with pid = \"host\" nothing in the container is process 1");
        mistakes.push(lost.related(pid.span(), "shared here").hint("remove `init`; the host's own init reaps"));
    }
}
