//! How the container is made.

use super::args::args;
use super::choice::choice;
use super::pairs::{Pairs, pairs};
use super::path::PATH_MAX_BYTES;
use super::tables::TOP;
use super::{addresses, devices, kernel, logging, mounts, nested, ports, resources, security};
use crate::document::diagnostic::Rule;
use crate::document::model::{Container, Network};
use crate::document::parts::RuntimeName;
use crate::document::raw::{Field, Mistakes, field};
use crate::names::HostName;
use crate::quantity::ByteSize;
use toml::de::DeTable;

/// Longest host name, in bytes (Linux, `__NEW_UTS_LEN`).
const HOSTNAME_MAX_BYTES: usize = 64;
/// Longest user or group name, in bytes (Linux, `LOGIN_NAME_MAX` without its NUL).
const USER_NAME_MAX_BYTES: usize = 255;
/// Greatest user or group number: the one above it means "no change" to chown(2) and setresuid(2).
const ID_MAX: u32 = u32::MAX - 1;
/// Least size of `/dev/shm`: one page (x86 and ARM). To the kernel, 0 is no limit.
const SHM_MIN: ByteSize = ByteSize(4096);

/// The tables of a document that shape the container.
pub(crate) struct Tables<'t> {
    pub(crate) resources: Option<&'t DeTable<'t>>,
    pub(crate) logging: Option<&'t DeTable<'t>>,
}

/// `network` is None where it could not be read; what depends on it is then left unchecked.
pub(crate) fn container(root: &DeTable<'_>, tables: &Tables<'_>, network: Option<Network>, mistakes: &mut Mistakes) -> Container {
    let top = |key| field(root, "", key);
    let args = args(root, "", mistakes);
    let security = security::security(root, mistakes);
    let container = Container {
        entrypoint: args.entrypoint,
        command: args.command,
        working_dir: top("working_dir").and_then(|field| working_dir(&field, mistakes)),
        user: top("user").and_then(|field| user(&field, mistakes)),
        hostname: top("hostname").and_then(|field| hostname(&field, network, mistakes)),
        environment: top("environment").map(|field| pairs(&field, Pairs::Environment, &TOP, mistakes)).unwrap_or_default(),
        labels: top("labels").map(|field| pairs(&field, Pairs::Labels, &TOP, mistakes)).unwrap_or_default(),
        network: network.unwrap_or_default(),
        ports: top("ports").map(|field| ports::ports(&field, mistakes)).unwrap_or_default(),
        expose: top("expose").map(|field| ports::expose(&field, mistakes)).unwrap_or_default(),
        extra_hosts: top("extra_hosts").map(|field| addresses::extra_hosts(&field, mistakes)).unwrap_or_default(),
        dns: addresses::dns(root, mistakes),
        mounts: mounts::mounts(root, mistakes),
        shm_size: top("shm_size").and_then(|field| field.size(SHM_MIN, mistakes)),
        read_only: top("read_only").and_then(|field| field.boolean(mistakes)).unwrap_or(false),
        init: top("init").and_then(|field| field.boolean(mistakes)).unwrap_or(false),
        devices: top("devices").map(|field| devices::devices(&field, mistakes)).unwrap_or_default(),
        ulimits: top("ulimits").map(|field| kernel::ulimits(&field, mistakes)).unwrap_or_default(),
        sysctls: top("sysctls").map(|field| kernel::sysctls(&field, network, security.host_ipc, mistakes)).unwrap_or_default(),
        oom_score_adj: top("oom_score_adj")
            .and_then(|field| field.signed(-1000..=1000, mistakes))
            .and_then(|score| i16::try_from(score).ok()),
        runtime: top("runtime").and_then(|field| choice(&field, &RUNTIMES, mistakes)),
        logging: tables.logging.map(|table| logging::logging(table, mistakes)).unwrap_or_default(),
        stop_signal: top("stop_signal").and_then(|field| field.parse("a string", Rule::BadSignal, mistakes)),
        resources: tables.resources.map(|table| resources::limits(table, "resources", mistakes)).unwrap_or_default(),
        security,
        nested: None,
    };
    let container = Container { nested: nested::of_document(root, &container, mistakes), ..container };
    if network.is_some_and(|network| network != Network::Bridge) {
        needs_bridge(root, mistakes);
    }
    container
}

const RUNTIMES: [(&str, RuntimeName); 4] = [
    ("embedded", RuntimeName::Embedded),
    ("crun", RuntimeName::Crun),
    ("runc", RuntimeName::Runc),
    ("runsc", RuntimeName::Runsc),
];

/// The network that the document asks for: where it opens ports and says nothing else, one in which they have a meaning. None after
/// a mistake.
pub(crate) fn network(root: &DeTable<'_>, mistakes: &mut Mistakes) -> Option<Network> {
    const NETWORKS: [(&str, Network); 3] = [("bridge", Network::Bridge), ("host", Network::Host), ("none", Network::None)];
    match field(root, "", "network") {
        Some(field) => choice(&field, &NETWORKS, mistakes),
        None => {
            let ports = field(root, "", "ports");
            let opens = ports.is_some_and(|field| field.value.get_ref().as_array().is_none_or(|entries| !entries.is_empty()));
            Some(if opens { Network::Bridge } else { Network::None })
        }
    }
}

/// Reports what has a meaning on the bridge alone.
fn needs_bridge(root: &DeTable<'_>, mistakes: &mut Mistakes) {
    let is_host = field(root, "", "network").is_some_and(|field| field.value.get_ref().as_str() == Some("host"));
    let lost = [
        ("ports", "with network = \"host\" the program's own ports are the host's", "the container has no network"),
        ("dns", "with network = \"host\" the host's resolver applies", "the container has no network"),
        ("dns_search", "with network = \"host\" the host's resolver applies", "the container has no network"),
        ("dns_opt", "with network = \"host\" the host's resolver applies", "the container has no network"),
    ];
    for (key, on_host, on_none) in lost {
        let Some(field) = field(root, "", key) else { continue };
        if field.value.get_ref().as_array().is_some_and(|entries| entries.is_empty()) {
            continue;
        }
        let cure = format!("write network = \"bridge\", or remove `{key}`");
        mistakes.push(field.wrong(Rule::NeedsNetwork, if is_host { on_host } else { on_none }).hint(cure));
    }
}

pub(crate) fn working_dir(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<String> {
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

pub(crate) fn user(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<String> {
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
pub(crate) fn user_problem(name: &str, what: &str) -> Option<String> {
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

fn hostname(field: &Field<'_>, network: Option<Network>, mistakes: &mut Mistakes) -> Option<String> {
    let text = field.text(mistakes)?;
    if network == Some(Network::Host) {
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
