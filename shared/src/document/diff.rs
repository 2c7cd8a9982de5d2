//! What changes between two documents, key by key, as a person would say it.
//!
//! It compares meanings, not texts: a comment, another order of keys or a default that is written out is no change.

use super::keys::{DOCUMENT, is_joined};
use super::model::{
    Container, Document, Nested, NestedNetwork, Network, Parallelism, PidsLimit, Resources, RestartPolicy, Rollout, RolloutOrder,
};
use super::parts::{
    Dns, Healthcheck, Hook, LogDriver, Logging, Mount, MountSource, Probe, RestartSettings, RuntimeName, Security,
};
use crate::wire::ChangeView;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// Every key whose meaning differs, dotted as in the file and in the order of the key reference, with values in TOML notation.
///
/// None stands for a document that is not there. Then the keys of the other one are listed, without those that say what their
/// default says. `replaces` is set for keys of the image and the container while both documents are there: where a workload starts
/// or ends, nothing is replaced.
pub fn diff(old: Option<&Document>, new: Option<&Document>) -> Vec<ChangeView> {
    let both = old.is_some() && new.is_some();
    let old = old.map(entries).unwrap_or_default();
    let new = new.map(entries).unwrap_or_default();
    let places: BTreeSet<&Place> = old.0.keys().chain(new.0.keys()).collect();
    let change = |place: &Place| {
        let (old, new) = (old.0.get(place), new.0.get(place));
        let shown = |entry: Option<&Entry>| entry.filter(|entry| both || !entry.is_default).map(|entry| entry.value.clone());
        let replaces = both && old.or(new).is_some_and(|entry| entry.replaces);
        let view = ChangeView { key: place.key.clone(), old: shown(old), new: shown(new), replaces };
        (view.old != view.new).then_some(view)
    };
    places.into_iter().filter_map(change).collect()
}

/// Orders keys: by their rank in the reference, the entries of one table by name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    rank: usize,
    key: String,
}

struct Entry {
    value: String,
    is_default: bool,
    replaces: bool,
}

/// What a document says, flat. Absent keys are absent.
#[derive(Default)]
struct Entries(BTreeMap<Place, Entry>);

impl Entries {
    /// `name` is what `key`, one of the reference, holds an entry for; empty for all of it.
    fn put(&mut self, key: &str, name: &str, entry: Entry) {
        let rank = DOCUMENT.all_keys().position(|(table, known)| is_joined(key, table, known.name)).unwrap_or(usize::MAX);
        let key = if name.is_empty() { key.to_owned() } else { format!("{key}.{}", key_text(name)) };
        self.0.insert(Place { rank, key }, entry);
    }

    fn add(&mut self, key: &str, value: String, is_default: bool, replaces: bool) {
        self.put(key, "", Entry { value, is_default, replaces });
    }

    /// A key of the container without a default: there or not.
    fn optional(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.add(key, value, false, true);
        }
    }

    /// A key without a default that leaves containers alone.
    fn aside(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.add(key, value, false, false);
        }
    }

    /// A list of the container, which is absent where it is empty.
    fn list<T: Display>(&mut self, key: &str, values: &[T]) {
        self.optional(key, (!values.is_empty()).then(|| list(values)));
    }

    /// A boolean of the container, which is false where it is absent.
    fn flag(&mut self, key: &str, value: bool) {
        self.add(key, value.to_string(), !value, true);
    }

    fn pairs(&mut self, key: &str, pairs: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in pairs {
            self.put(key, &name, Entry { value, is_default: false, replaces: true });
        }
    }
}

/// Takes every struct apart by name, so that a new field cannot be forgotten here.
fn entries(document: &Document) -> Entries {
    let Document {
        image,
        hosts,
        container,
        restart,
        stop_grace_period,
        restart_policy: RestartSettings { delay, max_attempts, window },
        healthcheck,
        post_start,
        pre_stop,
        rollout,
    } = document;
    let Rollout { parallelism, order, monitor, drain } = rollout;
    let mut all = Entries::default();
    all.add("image", text(image), false, true);
    all.add("hosts", list(hosts), false, false);
    add_container(&mut all, container);
    all.add("restart", text(restart_text(*restart)), *restart == RestartPolicy::Always, false);
    all.add("stop_grace_period", text(stop_grace_period), *stop_grace_period == super::lower::STOP_GRACE_PERIOD, false);
    all.aside("post_start", hooks_text(post_start));
    all.aside("pre_stop", hooks_text(pre_stop));
    if let Some(healthcheck) = healthcheck {
        add_healthcheck(&mut all, healthcheck);
    }
    all.aside("restart_policy.delay", delay.map(text));
    all.aside("restart_policy.max_attempts", max_attempts.map(|count| count.to_string()));
    all.aside("restart_policy.window", window.map(text));
    let usual = super::lower::ROLLOUT;
    all.add("rollout.parallelism", parallelism_text(*parallelism), *parallelism == usual.parallelism, false);
    all.add("rollout.order", text(order_text(*order)), *order == usual.order, false);
    all.add("rollout.monitor", text(monitor), *monitor == usual.monitor, false);
    all.add("rollout.drain", text(drain), *drain == usual.drain, false);
    all
}

fn add_container(all: &mut Entries, container: &Container) {
    let Container {
        entrypoint,
        command,
        working_dir,
        user,
        hostname,
        environment,
        labels,
        network,
        ports,
        expose,
        extra_hosts,
        dns: Dns { servers, search, options },
        mounts,
        shm_size,
        read_only,
        init,
        security,
        devices,
        ulimits,
        sysctls,
        oom_score_adj,
        runtime,
        logging: Logging { driver, max_size, max_files, rate },
        stop_signal,
        resources,
        nested,
    } = container;
    all.optional("entrypoint", entrypoint.as_deref().map(list));
    all.optional("command", command.as_deref().map(list));
    all.optional("working_dir", working_dir.as_ref().map(text));
    all.optional("user", user.as_ref().map(text));
    all.optional("hostname", hostname.as_ref().map(text));
    all.pairs("environment", texts(environment));
    all.pairs("labels", texts(labels));
    all.add("network", text(network_text(*network)), *network == Network::None, true);
    all.list("ports", ports);
    all.list("expose", expose);
    all.pairs("extra_hosts", extra_hosts.iter().map(|(name, addresses)| (name.clone(), list(addresses))));
    all.list("dns", servers);
    all.list("dns_search", search);
    all.list("dns_opt", options);
    let is_tmpfs = |mount: &&Mount| matches!(mount.source, MountSource::Tmpfs { .. });
    let (tmpfs, volumes): (Vec<&Mount>, Vec<&Mount>) = mounts.iter().partition(is_tmpfs);
    all.list("volumes", &volumes);
    all.list("tmpfs", &tmpfs);
    all.optional("shm_size", shm_size.map(text));
    all.flag("read_only", *read_only);
    all.flag("init", *init);
    add_security(all, security);
    all.list("devices", devices);
    all.pairs("ulimits", ulimits.iter().map(|(name, limit)| (name.clone(), limit.to_string())));
    all.pairs("sysctls", texts(sysctls));
    all.optional("oom_score_adj", oom_score_adj.map(|score| score.to_string()));
    all.optional("runtime", runtime.map(|runtime| text(runtime_text(runtime))));
    all.optional("stop_signal", stop_signal.map(text));
    add_resources(all, resources);
    if let Some(nested) = nested {
        add_nested(all, nested);
    }
    all.add("logging.driver", text(driver_text(*driver)), *driver == LogDriver::JsonFile, true);
    all.optional("logging.max_size", max_size.map(text));
    all.optional("logging.max_files", max_files.map(|count| count.to_string()));
    all.optional("logging.rate", rate.map(text));
}

fn add_security(all: &mut Entries, security: &Security) {
    let Security {
        cap_add,
        cap_drop,
        privileged,
        seccomp_unconfined,
        unmasked,
        new_privileges,
        host_users,
        host_pid,
        host_ipc,
        group_add,
    } = security;
    let names = |set: &BTreeSet<String>| set.iter().map(|name| name.replacen("CAP_", "", 1)).collect::<Vec<_>>();
    let options: Vec<&str> = [
        (*seccomp_unconfined, "seccomp=unconfined"),
        (*unmasked, "systempaths=unconfined"),
        (*new_privileges, "no-new-privileges=false"),
    ]
    .into_iter()
    .filter_map(|(set, option)| set.then_some(option))
    .collect();
    all.list("group_add", group_add);
    all.list("cap_add", &names(cap_add));
    all.list("cap_drop", &names(cap_drop));
    all.flag("privileged", *privileged);
    all.list("security_opt", &options);
    all.optional("userns_mode", host_users.then(|| text("host")));
    all.optional("pid", host_pid.then(|| text("host")));
    all.add("ipc", text(if *host_ipc { "host" } else { "private" }), !host_ipc, true);
}

fn add_resources(all: &mut Entries, resources: &Resources) {
    let Resources { memory, memory_swap, memory_reservation, cpus, cpuset, pids, io_weight } = resources;
    all.optional("resources.memory", memory.map(text));
    all.optional("resources.memory_swap", memory_swap.map(text));
    all.optional("resources.memory_reservation", memory_reservation.map(text));
    all.optional("resources.cpus", cpus.map(|cpus| cpus.to_string()));
    all.optional("resources.cpuset", cpuset.as_ref().map(|cpus| text(&cpus.0)));
    let pids_text = |pids: PidsLimit| match pids {
        PidsLimit::Count(count) => count.to_string(),
        PidsLimit::Unlimited => text("unlimited"),
    };
    all.optional("resources.pids", pids.map(pids_text));
    all.optional("resources.io_weight", io_weight.map(|weight| weight.to_string()));
}

fn add_nested(all: &mut Entries, nested: &Nested) {
    let Nested { containers, memory, cpus, pids, images, caches, network } = nested;
    let usual = Nested::default();
    // Never a default: that there is a permission is said by it.
    all.add("nested.containers", containers.to_string(), false, true);
    all.optional("nested.memory", memory.map(text));
    all.optional("nested.cpus", cpus.map(|cpus| cpus.to_string()));
    all.add("nested.pids", pids.to_string(), *pids == usual.pids, true);
    all.list("nested.images", images);
    all.add("nested.caches", text(caches), *caches == usual.caches, true);
    let network_text = match network {
        NestedNetwork::Parent => "parent",
        NestedNetwork::None => "none",
    };
    all.add("nested.network", text(network_text), *network == usual.network, true);
}

fn add_healthcheck(all: &mut Entries, healthcheck: &Healthcheck) {
    let Healthcheck { disable, probe, interval, timeout, start_period, start_interval, retries } = healthcheck;
    match probe {
        Some(Probe::Exec(words)) => {
            let words: Vec<&str> = ["CMD"].into_iter().chain(words.iter().map(String::as_str)).collect();
            all.aside("healthcheck.test", Some(list(&words)));
        }
        Some(probe @ Probe::Http { .. }) => all.aside("healthcheck.http", Some(text(probe))),
        Some(probe @ Probe::Tcp { .. }) => all.aside("healthcheck.tcp", Some(text(probe))),
        None => {}
    }
    all.aside("healthcheck.interval", interval.map(text));
    all.aside("healthcheck.timeout", timeout.map(text));
    all.aside("healthcheck.start_period", start_period.map(text));
    all.aside("healthcheck.start_interval", start_interval.map(text));
    all.aside("healthcheck.retries", retries.map(|count| count.to_string()));
    all.aside("healthcheck.disable", disable.then(|| "true".to_owned()));
}

fn hooks_text(hooks: &[Hook]) -> Option<String> {
    let hook = |hook: &Hook| {
        let Hook { command, user, working_dir, environment } = hook;
        let mut keys = vec![format!("command = {}", list(command))];
        keys.extend(user.as_ref().map(|user| format!("user = {}", text(user))));
        keys.extend(working_dir.as_ref().map(|path| format!("working_dir = {}", text(path))));
        if !environment.is_empty() {
            let variables: Vec<String> =
                environment.iter().map(|(name, value)| format!("{} = {}", key_text(name), text(value))).collect();
            keys.push(format!("environment = {{ {} }}", variables.join(", ")));
        }
        format!("{{ {} }}", keys.join(", "))
    };
    let hooks: Vec<String> = hooks.iter().map(hook).collect();
    (!hooks.is_empty()).then(|| format!("[{}]", hooks.join(", ")))
}

fn texts(pairs: &BTreeMap<String, String>) -> impl Iterator<Item = (String, String)> {
    pairs.iter().map(|(name, value)| (name.clone(), text(value)))
}

fn runtime_text(runtime: RuntimeName) -> &'static str {
    match runtime {
        RuntimeName::Embedded => "embedded",
        RuntimeName::Crun => "crun",
        RuntimeName::Runc => "runc",
        RuntimeName::Runsc => "runsc",
    }
}

fn driver_text(driver: LogDriver) -> &'static str {
    match driver {
        LogDriver::JsonFile => "json-file",
        LogDriver::Journald => "journald",
        LogDriver::None => "none",
    }
}

fn network_text(network: Network) -> &'static str {
    match network {
        Network::Bridge => "bridge",
        Network::Host => "host",
        Network::None => "none",
    }
}

fn restart_text(restart: RestartPolicy) -> String {
    match restart {
        RestartPolicy::No => "no".to_owned(),
        RestartPolicy::Always => "always".to_owned(),
        RestartPolicy::OnFailure(None) => "on-failure".to_owned(),
        RestartPolicy::OnFailure(Some(count)) => format!("on-failure:{count}"),
    }
}

fn parallelism_text(parallelism: Parallelism) -> String {
    match parallelism {
        Parallelism::Count(count) => count.to_string(),
        Parallelism::Percent(percent) => text(format!("{percent}%")),
    }
}

fn order_text(order: RolloutOrder) -> &'static str {
    match order {
        RolloutOrder::StopFirst => "stop-first",
        RolloutOrder::StartFirst => "start-first",
    }
}

/// A TOML basic string on one line. JSON's escapes are a part of TOML's.
fn text(value: impl Display) -> String {
    serde_json::Value::String(value.to_string()).to_string()
}

fn list<T: Display>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(text).collect();
    format!("[{}]", values.join(", "))
}

/// A key, in quotes where TOML wants them.
fn key_text(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if is_bare { name.to_owned() } else { text(name) }
}
