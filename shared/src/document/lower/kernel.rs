//! What is asked of the kernel for the container's processes: `ulimits` and `sysctls`.

use super::pairs::{self, Pairs};
use super::tables::{TOP, inner};
use crate::document::diagnostic::{Diagnostic, Rule};
use crate::document::keys::{DOCUMENT, closest};
use crate::document::model::Network;
use crate::document::parts::Ulimit;
use crate::document::raw::{Field, Mistakes};
use std::collections::BTreeMap;
use toml::de::DeValue;

/// Limits of setrlimit(2), in lower case and without `RLIMIT_`.
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Parameters of the IPC namespace, beside `fs.mqueue.*` (ipc_namespaces(7)).
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];
/// Longest name: several times the longest that the kernel has.
const SYSCTL_NAME_MAX_BYTES: usize = 256;
/// Longest value: what one write to a file of `/proc/sys` takes on every kernel, a page.
const SYSCTL_VALUE_MAX_BYTES: usize = 4095;

pub(super) fn ulimits(field: &Field<'_>, mistakes: &mut Mistakes) -> BTreeMap<String, Ulimit> {
    let DeValue::Table(table) = field.value.get_ref() else {
        let cure = "write it as ulimits = { nofile = 1024 }";
        mistakes.push(field.wrong_type("a table").hint(cure));
        return BTreeMap::new();
    };
    let mut limits = BTreeMap::new();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let entry = Field { path: format!("{}.{}", field.path, name.escape_debug()), value, has_heading: false };
        if !ULIMITS.contains(&name) {
            let shown: String = name.escape_debug().take(60).collect();
            let unknown = Diagnostic::new(Rule::BadUlimit, key.span(), format!("there is no limit `{shown}`"));
            mistakes.push(match closest(name, ULIMITS.into_iter()) {
                Some(near) => unknown.hint(format!("did you mean `{near}`?")),
                None if field.has_heading && DOCUMENT.is_honoured("", name) => {
                    unknown.hint(format!("`{name}` belongs to the top: move it above the line [ulimits]"))
                }
                None => unknown.hint(format!("the limits are {}", ULIMITS.join(", "))),
            });
        } else if let Some(limit) = ulimit(&entry, mistakes) {
            limits.insert(name.to_owned(), limit);
        }
    }
    limits
}

fn ulimit(entry: &Field<'_>, mistakes: &mut Mistakes) -> Option<Ulimit> {
    if entry.value.get_ref().is_integer() {
        let both = bound(entry, mistakes)?;
        return Some(Ulimit { soft: both, hard: both });
    }
    if !entry.value.get_ref().is_table() {
        mistakes.push(entry.wrong_type("an integer or a table { soft, hard }"));
        return None;
    }
    let table = inner(entry, &["soft", "hard"], mistakes)?;
    let soft = table.required("soft", "soft = 1024", entry, mistakes).and_then(|field| bound(&field, mistakes));
    let hard = table.required("hard", "hard = 4096", entry, mistakes).and_then(|field| bound(&field, mistakes));
    let limit = Ulimit { soft: soft?, hard: hard? };
    if limit.soft.unwrap_or(u64::MAX) > limit.hard.unwrap_or(u64::MAX) {
        let above = entry.wrong(Rule::BadUlimit, "the soft limit is above the hard one");
        mistakes.push(above.hint("a process may raise its soft limit up to the hard one: make `hard` the larger"));
        return None;
    }
    Some(limit)
}

/// A number, or -1 for none. The outer None is a mistake.
fn bound(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Option<u64>> {
    field.signed(-1..=i64::MAX, mistakes).map(|number| number.try_into().ok())
}

/// `network` is None where it could not be read.
pub(super) fn sysctls(
    field: &Field<'_>,
    network: Option<Network>,
    host_ipc: bool,
    mistakes: &mut Mistakes,
) -> BTreeMap<String, String> {
    let mut sysctls = BTreeMap::new();
    for (name, (value, place)) in pairs::placed(field, Pairs::Sysctls, &TOP, mistakes).unwrap_or_default() {
        let shown: String = name.escape_debug().take(60).collect();
        let wrong = |rule, problem: &str, cure: &str| {
            Diagnostic::new(rule, place.clone(), format!("`{}`: `{shown}` {problem}", field.path)).hint(cure)
        };
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let spelt = name.len() <= SYSCTL_NAME_MAX_BYTES && name.bytes().all(good) && name.split('.').all(|part| !part.is_empty());
        let of_network = name.starts_with("net.");
        let of_ipc = name.starts_with("fs.mqueue.") || IPC_SYSCTLS.contains(&name.as_str());
        if !spelt || !(of_network || of_ipc) {
            let cure = "set it on the host; a container has its own net.*, fs.mqueue.*, kernel.msg*, kernel.sem and kernel.shm*";
            mistakes.push(wrong(Rule::BadSysctl, "is no kernel parameter of a container", cure));
        } else if of_network && network == Some(Network::Host) {
            let cure = "set it on the host, or use network = \"bridge\"";
            mistakes.push(wrong(Rule::NeedsNetwork, "would change the host's network", cure));
        } else if of_ipc && host_ipc {
            mistakes.push(wrong(Rule::Conflict, "would change the host's IPC", "set it on the host, or remove ipc = \"host\""));
        } else if value.len() > SYSCTL_VALUE_MAX_BYTES || value.contains('\n') {
            mistakes.push(wrong(Rule::BadSysctl, "has a value that the kernel does not take", "write one short line"));
        } else {
            sysctls.insert(name, value);
        }
    }
    sysctls
}
