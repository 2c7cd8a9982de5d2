//! `[nested]`: what a container may start within itself. All of it comes out of what the container itself may have, so a permission that
//! promises more is refused.

use super::choice::choice;
use super::{check_keys, resources};
use crate::document::PIDS_DEFAULT;
use crate::document::diagnostic::{Diagnostic, Rule};
use crate::document::keys::{DOCUMENT, Format};
use crate::document::model::{Container, Nested, NestedNetwork, PidsLimit, Resources};
use crate::document::parts::RuntimeName;
use crate::document::raw::{Field, Mistakes, field, shows};
use crate::names::ImagePattern;
use crate::quantity::ByteSize;
use std::fmt::Display;
use toml::de::{DeTable, DeValue};

/// Most second containers at a time: each costs a monitor, a log, and an entry of every report.
const CONTAINERS_MAX: u32 = 64;
/// Least room of file caches: one page, without which no file has a place.
const CACHES_MIN: ByteSize = ByteSize(4096);
/// Most room of file caches: what is listed, digested and compared in seconds, and leaves something of a host's disk.
const CACHES_MAX: ByteSize = ByteSize(64 << 30);
/// Where a container finds the door; nothing else is mounted there.
const DOOR: &str = "/run/coord";

/// The permission of a document, whose container is `container` otherwise.
pub(super) fn of_document(root: &DeTable<'_>, container: &Container, mistakes: &mut Mistakes) -> Option<Nested> {
    let whole = field(root, "", "nested")?;
    let within = Within { name: "resources", table: field(root, "", "resources"), limits: &container.resources };
    let nested = nested(&DOCUMENT, &whole, &within, mistakes);
    let runtime = field(root, "", "runtime");
    if let (Some(runtime), Some(RuntimeName::Crun | RuntimeName::Runc | RuntimeName::Runsc)) = (runtime, container.runtime) {
        let other = whole.wrong(Rule::Conflict, "only the agent's own runtime runs containers within a container");
        mistakes.push(other.related(runtime.span(), "another one here").hint("remove `runtime`, or `nested`"));
    }
    for mount in &container.mounts {
        let is_within = mount.target.strip_prefix(DOOR).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_within {
            let taken = whole.wrong(Rule::Conflict, format!("the mount at {} is where the door is", mount.target));
            mistakes.push(taken.hint(format!("mount it elsewhere than in {DOOR}")));
        }
    }
    nested
}

/// The limits of the container itself, as the text says them.
pub(crate) struct Within<'t> {
    /// What their table is called, also where there is none.
    pub(crate) name: &'static str,
    pub(crate) table: Option<Field<'t>>,
    pub(crate) limits: &'t Resources,
}

/// The permission `whole`, which is within those limits.
pub(crate) fn nested(format: &Format, whole: &Field<'_>, within: &Within<'_>, mistakes: &mut Mistakes) -> Option<Nested> {
    let DeValue::Table(table) = whole.value.get_ref() else {
        let other = whole.wrong_type("a table");
        mistakes.push(match whole.value.get_ref().as_bool() {
            Some(true) => other.hint("write nested = {} for what is allowed by default"),
            Some(false) => other.hint("remove the key; without it nothing is allowed"),
            None => other.hint(format!("write its keys under a line [{}]", whole.path)),
        });
        return None;
    };
    check_keys(format, table, &whole.path, mistakes);
    let key = |name| field(table, &whole.path, name);
    let usual = Nested::default();
    let most_pids = most_pids(within.limits);
    let nested = Nested {
        containers: key("containers").and_then(|field| field.integer(1..=CONTAINERS_MAX, mistakes)).unwrap_or(usual.containers),
        memory: key("memory").and_then(|field| resources::memory(&field, mistakes)),
        cpus: key("cpus").and_then(|field| resources::cpus(&field, mistakes)),
        pids: key("pids").and_then(|field| field.integer(1..=resources::PIDS_MAX, mistakes)).unwrap_or(usual.pids.min(most_pids)),
        images: key("images").map(|field| images(&field, mistakes)).unwrap_or_default(),
        caches: key("caches").and_then(|field| caches(&field, mistakes)).unwrap_or(usual.caches),
        network: key("network").and_then(|field| choice(&field, &NETWORKS, mistakes)).unwrap_or(usual.network),
    };
    within.check(key("memory"), "memory", nested.memory, within.limits.memory, mistakes);
    within.check(key("cpus"), "cpus", nested.cpus, within.limits.cpus, mistakes);
    within.check(key("pids"), "pids", Some(nested.pids), Some(most_pids), mistakes);
    Some(nested)
}

const NETWORKS: [(&str, NestedNetwork); 2] = [("parent", NestedNetwork::Parent), ("none", NestedNetwork::None)];

/// Processes that the container itself may have.
fn most_pids(resources: &Resources) -> u32 {
    match resources.pids {
        None => PIDS_DEFAULT,
        Some(PidsLimit::Count(count)) => count,
        Some(PidsLimit::Unlimited) => u32::MAX,
    }
}

impl Within<'_> {
    /// Reports a part that is more than the whole.
    fn check<T: PartialOrd + Display>(
        &self,
        part: Option<Field<'_>>,
        key: &str,
        asked: Option<T>,
        most: Option<T>,
        mistakes: &mut Mistakes,
    ) {
        let (Some(part), Some(asked), Some(most)) = (part, asked, most) else { return };
        if asked <= most {
            return;
        }
        let said = self.table.as_ref().and_then(|table| field(table.value.get_ref().as_table()?, &table.path, key));
        let more = format!("{asked} is more than the container itself may have, {most}");
        let more = part.wrong(Rule::Conflict, more);
        let name = self.name;
        mistakes.push(match said {
            Some(said) => {
                more.related(said.span(), "its own limit").hint(format!("raise `{key}` under [{name}], or lower this one"))
            }
            None => more.hint(format!("set `{key}` under [{name}], or lower this one")),
        });
    }
}

/// Patterns, each once.
fn images(field: &Field<'_>, mistakes: &mut Mistakes) -> Vec<ImagePattern> {
    let mut patterns: Vec<ImagePattern> = Vec::new();
    for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
        let Some(text) = entry.text(mistakes) else { continue };
        match text.parse::<ImagePattern>() {
            Ok(pattern) if patterns.contains(&pattern) => {
                mistakes.push(entry.wrong(Rule::Duplicate, format!("\"{pattern}\" is there already")).hint("remove one of them"));
            }
            Ok(pattern) => patterns.push(pattern),
            Err(error) => mistakes.push(bad_pattern(&entry, text, error)),
        }
    }
    patterns
}

fn bad_pattern(entry: &Field<'_>, text: &str, error: impl Display) -> Diagnostic {
    let bad = entry.wrong(Rule::BadImagePattern, error);
    match text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) {
        Some(rest) if shows(rest) => bad.hint(format!("write it without its scheme: {rest:?}")),
        Some(_) | None => bad.hint("write for example \"registry.lan/tools/*\""),
    }
}

fn caches(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<ByteSize> {
    let size = field.size(CACHES_MIN, mistakes)?;
    if size <= CACHES_MAX {
        return Some(size);
    }
    mistakes.push(field.is_wrong(Rule::OutOfRange, format!("must be at most {CACHES_MAX}")));
    None
}
