//! What changes between two documents, key by key, as a person would say it.
//!
//! It compares meanings, not texts: a comment, another order of keys or a default that is written out is no change.

use super::model::{Container, Document, Network, Parallelism, PidsLimit, Resources, RestartPolicy, Rollout, RolloutOrder};
use crate::wire::ChangeView;
use std::collections::{BTreeMap, BTreeSet};

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
    fn add(&mut self, rank: usize, key: &str, value: String, is_default: bool, replaces: bool) {
        self.0.insert(Place { rank, key: key.to_owned() }, Entry { value, is_default, replaces });
    }

    /// A key without a default: there or not.
    fn optional(&mut self, rank: usize, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.add(rank, key, value, false, true);
        }
    }

    fn pairs(&mut self, rank: usize, key: &str, pairs: &BTreeMap<String, String>) {
        for (name, value) in pairs {
            self.add(rank, &format!("{key}.{}", key_text(name)), text(value), false, true);
        }
    }
}

/// Takes every struct apart by name, so that a new field cannot be forgotten here.
fn entries(document: &Document) -> Entries {
    let Document { image, hosts, container, restart, stop_grace_period, rollout, .. } = document;
    let Container {
        entrypoint,
        command,
        working_dir,
        user,
        hostname,
        environment,
        labels,
        network,
        read_only,
        stop_signal,
        resources: Resources { memory, cpus, pids, .. },
        ..
    } = container;
    let Rollout { parallelism, order, monitor } = rollout;
    let mut all = Entries::default();
    all.add(0, "image", text(image), false, true);
    all.add(1, "hosts", list(hosts), false, false);
    all.optional(2, "entrypoint", entrypoint.as_deref().map(list));
    all.optional(3, "command", command.as_deref().map(list));
    all.optional(4, "working_dir", working_dir.as_ref().map(text));
    all.optional(5, "user", user.as_ref().map(text));
    all.optional(6, "hostname", hostname.as_ref().map(text));
    all.pairs(7, "environment", environment);
    all.pairs(8, "labels", labels);
    all.add(9, "network", text(network_text(*network)), *network == Network::None, true);
    all.add(10, "read_only", read_only.to_string(), !read_only, true);
    all.add(11, "restart", text(restart_text(*restart)), *restart == RestartPolicy::Always, false);
    all.optional(12, "stop_signal", stop_signal.map(text));
    all.add(13, "stop_grace_period", text(stop_grace_period), *stop_grace_period == super::lower::STOP_GRACE_PERIOD, false);
    all.optional(14, "resources.memory", memory.map(text));
    all.optional(15, "resources.cpus", cpus.map(|cpus| cpus.to_string()));
    all.optional(
        16,
        "resources.pids",
        pids.map(|pids| match pids {
            PidsLimit::Count(count) => count.to_string(),
            PidsLimit::Unlimited => text("unlimited"),
        }),
    );
    let usual = super::lower::ROLLOUT;
    all.add(17, "rollout.parallelism", parallelism_text(*parallelism), *parallelism == usual.parallelism, false);
    all.add(18, "rollout.order", text(order_text(*order)), *order == usual.order, false);
    all.add(19, "rollout.monitor", text(monitor), *monitor == usual.monitor, false);
    all
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
fn text(value: impl std::fmt::Display) -> String {
    serde_json::Value::String(value.to_string()).to_string()
}

fn list<T: std::fmt::Display>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(text).collect();
    format!("[{}]", values.join(", "))
}

/// A key, in quotes where TOML wants them.
fn key_text(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if is_bare { name.to_owned() } else { text(name) }
}
