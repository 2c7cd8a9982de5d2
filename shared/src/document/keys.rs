//! Every key of the format, in one place: what is honoured, what is to come, and what Compose calls otherwise.
//!
//! The parser decides by these tables which keys a document may have, and `docs/document.md` is generated from them: what is
//! written here is what holds.

/// A table of a document; the empty name is the document's top.
pub(super) struct Section {
    /// As in the file, without brackets.
    pub(super) name: &'static str,
    /// What its keys have in common.
    pub(super) about: &'static str,
}

pub(super) const SECTIONS: [Section; 3] = [
    Section { name: "", about: "What runs, where, and how its container is made." },
    Section {
        name: "resources",
        about: "Upper limits of each container. An absent key means no limit. A change replaces the containers.",
    },
    Section {
        name: "rollout",
        about: "How one revision gives way to the next, host by host (Compose's `update_config`). A change restarts nothing.",
    },
];

/// A key that is honoured.
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// What a value may be.
    pub(super) shape: &'static str,
    /// What an absent key means.
    pub(super) default: &'static str,
    pub(super) meaning: &'static str,
    /// A line of TOML, as it would stand in its section.
    pub(super) example: &'static str,
}

/// Shortens the table below to a line of facts per key.
const fn key(
    section: &'static str,
    name: &'static str,
    shape: &'static str,
    default: &'static str,
    meaning: &'static str,
    example: &'static str,
) -> Key {
    Key { section, name, shape, default, meaning, example }
}

const ARGS: &str = "array of strings, or one string of shell words";
const PAIRS: &str = "table of strings, numbers and booleans, or array of `\"NAME=VALUE\"`";

#[rustfmt::skip] // One block per key reads better than one line per argument.
pub(super) const KEYS: &[Key] = &[
    key("", "image", "string", "required",
        "The image to run: `registry/repository:tag` or `...@sha256:...`. A tag is resolved to a digest once, when the document is published, so that every host runs the same bytes.",
        r#"image = "registry.lan:5000/shop/web:1.4.2""#),
    key("", "hosts", "array of strings", "required",
        "Where it runs: host names, globs over names (`*`, `?`), labels (`key=value`, whose value may be a glob). A host that any of them matches runs one instance. At least one, no duplicates.",
        r#"hosts = ["web-1", "edge-*", "role=web"]"#),
    key("", "entrypoint", ARGS, "the image's",
        "Replaces the image's entrypoint. With it, the image's own command no longer applies. No shell runs it.",
        r#"entrypoint = ["/docker-entrypoint.sh"]"#),
    key("", "command", ARGS, "the image's",
        "Replaces the image's command. No shell runs it: for pipes and variables write `[\"sh\", \"-c\", \"...\"]`.",
        r#"command = ["nginx", "-g", "daemon off;"]"#),
    key("", "working_dir", "string", "the image's",
        "The directory in which the program starts: an absolute path in the container.",
        r#"working_dir = "/srv""#),
    key("", "user", "string", "the image's",
        "Who runs the program: `USER` or `USER:GROUP`, by name (as the image's `/etc/passwd` has it) or number.",
        r#"user = "1000:1000""#),
    key("", "hostname", "string", "the instance's name",
        "The container's host name, at most 64 characters. Refused with `network = \"host\"`, where the host's own name applies.",
        r#"hostname = "web""#),
    key("", "environment", PAIRS, "empty",
        "Variables, added to the image's and stronger than them. Integers are passed on in decimal, floats and booleans as they are written.",
        r#"environment = { LOG_LEVEL = "info", WORKERS = 4 }"#),
    key("", "labels", PAIRS, "empty",
        "Carried along for people and tools. (Labels that select hosts belong to the hosts.)",
        r#"labels = { team = "shop" }"#),
    key("", "network", "`\"none\"` or `\"host\"`", "`\"none\"`",
        "Which network the container sees: `none` is a loopback interface alone, `host` is the host's own. `bridge` will come together with published ports.",
        r#"network = "host""#),
    key("", "read_only", "boolean", "`false`",
        "Whether the container's root file system refuses writes.",
        "read_only = true"),
    key("", "restart", "`\"always\"`, `\"on-failure\"`, `\"on-failure:N\"` or `\"no\"`", "`\"always\"`",
        "What to do when the program ends by itself: start it again always, or after an exit code other than 0 (at most N times in a row), or leave it ended. Starts are spaced by a growing pause. A change restarts nothing.",
        r#"restart = "on-failure:5""#),
    key("", "stop_signal", "string", "the image's, else `\"SIGTERM\"`",
        "The signal that asks the program to end.",
        r#"stop_signal = "SIGQUIT""#),
    key("", "stop_grace_period", "duration", "`\"10s\"`",
        "How long the program may take to end before it is killed. A change restarts nothing.",
        r#"stop_grace_period = "30s""#),
    key("resources", "memory", "size", "no limit",
        "Memory, swap included; at least 4 MiB. A container that needs more is killed by the kernel, and its status says so.",
        r#"memory = "256MiB""#),
    key("resources", "cpus", "number", "no limit",
        "CPU time: 0.5 is half of one CPU. At least 0.01.",
        "cpus = 0.5"),
    key("resources", "pids", "integer", "no limit",
        "Processes and threads, at least 1.",
        "pids = 200"),
    key("rollout", "parallelism", "integer, or percentage as a string", "`1`",
        "How many hosts may be between revisions at a time; a percentage is of the targets, rounded up.",
        r#"parallelism = "25%""#),
    key("rollout", "order", "`\"stop-first\"` or `\"start-first\"`", "`\"stop-first\"`",
        "What comes first on each host: the end of the old container (safe where both want one port) or the start of the new one (no gap).",
        r#"order = "start-first""#),
    key("rollout", "monitor", "duration", "`\"5s\"`",
        "How long a new instance must have run before the next host's turn comes.",
        r#"monitor = "10s""#),
];

/// Keys that the format will have, by dotted path, with what to do meanwhile.
pub(super) const NOT_YET: &[(&str, &str)] = &[
    ("replicas", "one instance runs on every host that `hosts` selects; remove the key"),
    ("ports", "use network = \"host\", where the program's own ports are the host's"),
    ("expose", "remove the key; with network = \"host\" every port that the program opens is reachable"),
    ("volumes", "keep the data outside of the container until volumes are there"),
    ("tmpfs", "the container's root file system is writable and ends with the container, unless read_only = true"),
    ("shm_size", "remove the key"),
    ("healthcheck", "remove the key; an instance counts as ready while its program runs"),
    ("depends_on", "remove the key and let the program retry what it depends on"),
    ("init", "use an image whose entrypoint is an init, such as tini"),
    ("cap_add", "remove the key; every container has the same small set of capabilities"),
    ("cap_drop", "remove the key; every container has the same small set of capabilities"),
    ("privileged", "remove the key; every container has the same small set of capabilities"),
    ("security_opt", "remove the key; every container runs with no_new_privs and a system call filter"),
    ("devices", "remove the key; containers have the usual pseudo devices only"),
    ("gpus", "remove the key; containers have the usual pseudo devices only"),
    ("group_add", "remove the key, or name one group in `user`"),
    ("ulimits", "remove the key; limits of [resources] apply"),
    ("sysctls", "set them on the host"),
    ("logging", "remove the key; every instance has a log of its own, rotated by size"),
    ("secrets", "hand the secret over by `environment`, and let few read the document"),
    ("configs", "hand the configuration over by `environment` or in the image"),
    ("extra_hosts", "remove the key"),
    ("dns", "remove the key; with network = \"host\" the host's resolver applies"),
    ("dns_search", "remove the key; with network = \"host\" the host's resolver applies"),
    ("dns_opt", "remove the key; with network = \"host\" the host's resolver applies"),
    ("runtime", "remove the key; the agent's own runtime is used"),
    ("platform", "remove the key; each host takes the image of its own platform"),
    ("pull_policy", "remove the key; an image is pulled where its digest is missing"),
    ("tty", "remove the key"),
    ("stdin_open", "remove the key"),
    ("userns_mode", "remove the key"),
    ("pid", "remove the key; every container has its own processes"),
    ("ipc", "remove the key; every container has its own IPC"),
    ("uts", "remove the key"),
    ("cgroup", "remove the key"),
    ("schedule", "remove the key, or start the work from the host's own timer"),
    ("autoscale", "one instance runs on every host that `hosts` selects; remove the key"),
    ("nested", "remove the key"),
    ("resources.memory_reservation", "remove the key; resources.memory is the limit"),
    ("resources.cpuset", "remove the key; resources.cpus limits CPU time"),
    ("resources.io", "remove the key"),
    ("rollout.failure_action", "remove the key; a rollout whose new instances do not become ready stops and says so"),
    ("rollout.max_failure_ratio", "remove the key; a rollout whose new instances do not become ready stops and says so"),
    ("rollout.delay", "use rollout.monitor, which keeps the next host waiting"),
    ("rollout.deadline", "remove the key"),
];

/// Keys that people bring along from Compose, and neighbours, with where their meaning lives here.
pub(super) const ELSEWHERE: &[(&str, &str)] = &[
    ("services", "one file is one workload: its name is the file's, and its keys stand at the top"),
    ("version", "remove the key; the image's tag is the version"),
    ("name", "remove the key; the file's name is the workload's name"),
    ("container_name", "remove the key; containers are named after the file, as in web.0"),
    ("build", "build and push the image first, then name it in `image`"),
    (
        "deploy",
        "write [resources] for deploy.resources.limits, [rollout] for deploy.update_config, and `restart` for deploy.restart_policy",
    ),
    ("update_config", "write it as [rollout]"),
    ("restart_policy", "write it as `restart`"),
    ("mem_limit", "write it as memory = \"256MiB\" under [resources]"),
    ("memswap_limit", "write it as `memory` under [resources], which counts swap too"),
    ("mem_swappiness", "remove the key; `memory` under [resources] counts swap too"),
    ("mem_reservation", "write the limit as `memory` under [resources]"),
    ("cpu_quota", "write it as `cpus` under [resources]"),
    ("cpu_period", "write it as `cpus` under [resources]"),
    ("cpu_shares", "write a limit as `cpus` under [resources]"),
    ("cpu_count", "write it as `cpus` under [resources]"),
    ("cpu_percent", "write it as `cpus` under [resources]"),
    ("cpuset", "limit CPU time by `cpus` under [resources]"),
    ("pids_limit", "write it as `pids` under [resources]"),
    ("network_mode", "write it as network = \"host\" or network = \"none\""),
    ("networks", "write it as network = \"host\" or network = \"none\""),
    ("env_file", "write the variables under `environment`; a document reads no other file"),
    ("env", "write it as `environment`"),
    ("args", "write it as `command`"),
    ("cmd", "write it as `command`"),
    ("workdir", "write it as `working_dir`"),
    ("scale", "one instance runs on every host that `hosts` selects; remove the key"),
    ("host", "write it as hosts = [\"...\"]"),
    ("targets", "write it as hosts = [\"...\"]"),
    ("resources.limits", "write the limits under [resources] itself: memory, cpus, pids"),
    ("resources.reservations", "remove it; nothing is reserved, [resources] sets limits"),
    ("resources.mem", "write it as `memory`"),
    ("resources.cpu", "write it as `cpus`"),
];

/// What the format says of a key.
pub(super) enum Standing {
    Honoured,
    NotYet(&'static str),
    Elsewhere(String),
    /// With the key that was probably meant, as a hint.
    Unknown(Option<String>),
}

/// Whether `section` has the key, or the document the table, `name`.
pub(super) fn is_honoured(section: &str, name: &str) -> bool {
    let is_table = section.is_empty() && !name.is_empty() && SECTIONS.iter().any(|s| s.name == name);
    is_table || KEYS.iter().any(|key| key.section == section && key.name == name)
}

/// Looks up `name` in `section`.
pub(super) fn standing(section: &str, name: &str) -> Standing {
    if is_honoured(section, name) {
        return Standing::Honoured;
    }
    let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
    let find = |table: &'static [(&str, &'static str)]| table.iter().find(|(known, _)| *known == path).map(|(_, hint)| *hint);
    if let Some(hint) = find(NOT_YET) {
        return Standing::NotYet(hint);
    }
    if let Some(hint) = find(ELSEWHERE) {
        return Standing::Elsewhere(hint.to_owned());
    }
    match KEYS.iter().find(|key| key.name == name) {
        // In TOML, a key after a table's heading belongs to that table, whatever the indentation.
        Some(key) if key.section.is_empty() => {
            Standing::Elsewhere(format!("`{name}` belongs to the top: move it above the first [table]"))
        }
        Some(key) => Standing::Elsewhere(format!("`{name}` belongs under [{}]", key.section)),
        None => Standing::Unknown(nearest(section, name)),
    }
}

/// Asks for the key of `section` that `name` was probably meant to be.
fn nearest(section: &str, name: &str) -> Option<String> {
    let tables = SECTIONS.iter().map(|s| s.name).filter(|table| section.is_empty() && !table.is_empty());
    let keys = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    if let Some(key) = closest(name, keys.chain(tables)) {
        return Some(format!("did you mean `{key}`?"));
    }
    let of_section = |path: &'static str| match path.split_once('.') {
        Some((table, key)) => (table == section).then_some(key),
        None => section.is_empty().then_some(path),
    };
    let to_come = closest(name, NOT_YET.iter().filter_map(|(path, _)| of_section(path)))?;
    Some(format!("did you mean `{to_come}`? It is not supported yet"))
}

/// The candidate nearest to `text`, if it is near enough to be a slip: a third of its characters, spelling of `a_b`, `aB` and
/// `a-b` apart.
pub(super) fn closest(text: &str, candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // No candidate is half as long; measuring a hostile name against all of them would only cost time.
    const TEXT_MAX_BYTES: usize = 64;
    if text.len() > TEXT_MAX_BYTES {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(text);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
