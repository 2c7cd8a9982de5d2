//! How the container is made.

use super::args::args;
use super::pairs::{Pairs, pairs};
use super::policy;
use crate::document::diagnostic::Rule;
use crate::document::model::{Container, Network, PidsLimit, Resources};
use crate::document::raw::{Field, Mistakes, field};
use crate::names::HostName;
use crate::quantity::{ByteSize, MilliCpus};
use toml::de::DeTable;

/// Least memory limit. The kernel charges a starting process for its page tables, its stack and the program's first pages before it
/// runs its first instruction; below this it would be killed on every start, with an error that explains nothing.
const MEMORY_MIN: ByteSize = ByteSize(4 << 20);
/// Most processes that a kernel can have (Linux, `PID_MAX_LIMIT`).
const PIDS_MAX: u32 = 1 << 22;
/// Longest path, in bytes, without the terminating NUL (Linux, `PATH_MAX`).
const PATH_MAX_BYTES: usize = 4095;
/// Longest host name, in bytes (Linux, `__NEW_UTS_LEN`).
const HOSTNAME_MAX_BYTES: usize = 64;
/// Longest user or group name, in bytes (Linux, `LOGIN_NAME_MAX` without its NUL).
const USER_NAME_MAX_BYTES: usize = 255;
/// Greatest user or group number: the one above it means "no change" to chown(2) and setresuid(2).
const ID_MAX: u32 = u32::MAX - 1;

pub(super) fn container(root: &DeTable<'_>, resources: Option<&DeTable<'_>>, mistakes: &mut Mistakes) -> Container {
    let top = |key| field(root, "", key);
    let args = args(root, mistakes);
    let network = top("network").and_then(|field| network(&field, mistakes)).unwrap_or(Network::None);
    Container {
        entrypoint: args.entrypoint,
        command: args.command,
        working_dir: top("working_dir").and_then(|field| working_dir(&field, mistakes)),
        user: top("user").and_then(|field| user(&field, mistakes)),
        hostname: top("hostname").and_then(|field| hostname(&field, network, mistakes)),
        environment: pairs(root, Pairs::Environment, mistakes),
        labels: pairs(root, Pairs::Labels, mistakes),
        network,
        read_only: top("read_only").and_then(|field| field.boolean(mistakes)).unwrap_or(false),
        stop_signal: top("stop_signal").and_then(|field| field.parse("a string", Rule::BadSignal, mistakes)),
        resources: resources.map(|table| limits(table, mistakes)).unwrap_or_default(),
        ..Container::default()
    }
}

fn network(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Network> {
    match field.text_of("\"host\" or \"none\"", mistakes)? {
        "host" => Some(Network::Host),
        "none" => Some(Network::None),
        "bridge" => {
            let bridge = field.wrong(Rule::NotSupportedYet, "\"bridge\" is not supported yet; it will come with published ports");
            mistakes.push(bridge.hint("use \"host\", or \"none\" where no network is needed"));
            None
        }
        other => {
            mistakes.push(policy::bad_choice(field, other, &["host", "none"]));
            None
        }
    }
}

fn working_dir(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let path = field.text(mistakes)?;
    if path.starts_with('/') && path.len() <= PATH_MAX_BYTES {
        return Some(path.to_owned());
    }
    mistakes.push(if path.len() > PATH_MAX_BYTES {
        field.wrong(Rule::BadWorkingDir, format!("the path is longer than {PATH_MAX_BYTES} bytes"))
    } else {
        field.wrong(Rule::BadWorkingDir, format!("{path:?} is not an absolute path")).hint("start it with a slash")
    });
    None
}

fn user(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let text = field.text(mistakes)?;
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let problem = user_problem(user, "user").or_else(|| group.and_then(|group| user_problem(group, "group")));
    match problem {
        None => Some(text.to_owned()),
        Some(problem) => {
            let bad = field.wrong(Rule::BadUser, format!("{text:?} {problem}"));
            mistakes.push(bad.hint("write for example \"app\", \"1000:1000\" or \"app:www-data\""));
            None
        }
    }
}

/// Why `name` is no name or number of a user or group. Which names exist, only the image knows.
fn user_problem(name: &str, what: &str) -> Option<String> {
    if name.is_empty() {
        return Some(format!("has no {what} name"));
    }
    if name.bytes().all(|b| b.is_ascii_digit()) {
        let fits = name.parse::<u32>().is_ok_and(|id| id <= ID_MAX);
        return if fits { None } else { Some(format!("has a {what} number above {ID_MAX}")) };
    }
    // Colons end a field of /etc/passwd; the rest could not be typed or would be taken for an option.
    let strange = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/');
    if name.starts_with('-') || name.contains(strange) || name.len() > USER_NAME_MAX_BYTES {
        return Some(format!("has {name:?} as its {what}, which is no name and no number"));
    }
    None
}

fn hostname(field: &Field<'_>, network: Network, mistakes: &mut Mistakes) -> Option<String> {
    let text = field.text(mistakes)?;
    if network == Network::Host {
        let refused = field.wrong(Rule::HostnameOnHostNetwork, "with network = \"host\" the container has the host's own name");
        mistakes.push(refused.hint("remove `hostname`"));
        return None;
    }
    let problem = match text.to_ascii_lowercase().parse::<HostName>() {
        Ok(_) if text.len() <= HOSTNAME_MAX_BYTES => return Some(text.to_owned()),
        Ok(_) => format!("is longer than {HOSTNAME_MAX_BYTES} characters"),
        Err(error) => error.problem,
    };
    mistakes.push(field.wrong(Rule::BadHostname, format!("{text:?} {problem}")));
    None
}

fn limits(table: &DeTable<'_>, mistakes: &mut Mistakes) -> Resources {
    let key = |name| field(table, "resources", name);
    Resources {
        memory: key("memory").and_then(|field| memory(&field, mistakes)),
        cpus: key("cpus").and_then(|field| {
            let cpus = MilliCpus::from_cpus(field.number(mistakes)?);
            cpus.map_err(|error| mistakes.push(field.wrong(Rule::BadCpus, error))).ok()
        }),
        pids: key("pids").and_then(|field| field.integer(1..=PIDS_MAX, mistakes)).map(PidsLimit::Count),
        ..Resources::default()
    }
}

fn memory(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<ByteSize> {
    let memory: ByteSize = field.parse("a size", Rule::BadSize, mistakes)?;
    if memory >= MEMORY_MIN {
        return Some(memory);
    }
    let small =
        field.wrong(Rule::MemoryTooSmall, format!("{memory} is too little for a process to start; {MEMORY_MIN} is the least"));
    mistakes.push(small.hint("mind the unit: 256MiB, not 256"));
    None
}
