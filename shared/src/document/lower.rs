//! From raw values to the checked model: every key is looked at, every mistake reported, nothing decided twice.

mod addresses;
mod args;
mod choice;
mod container;
mod devices;
mod health;
mod hooks;
mod hosts;
mod kernel;
mod logging;
mod mounts;
mod pairs;
mod path;
mod policy;
mod ports;
mod resources;
mod security;
mod tables;

pub use path::mount_target;
pub(super) use policy::ROLLOUT;

use super::diagnostic::{Diagnostic, Rule};
use super::keys::{self, Standing};
use super::model::Document;
use super::raw::{Field, Mistakes, field};
use crate::quantity::Span;
use toml::de::{DeTable, DeValue};

/// How long a stop may take unless the document says otherwise (Compose's default).
pub(super) const STOP_GRACE_PERIOD: Span = Span::seconds(10);

/// The document that `root` describes. None only after a mistake was reported; after one, the document is there for the sake of
/// the remaining checks alone, with defaults where a value is wrong.
pub(super) fn lower(root: &DeTable<'_>, mistakes: &mut Mistakes) -> Option<Document> {
    check_keys(root, "", mistakes);
    let image = required(root, "image", "image = \"registry.lan/shop/web:1.4.2\"", mistakes);
    let image = image.and_then(|field| field.parse("a string", Rule::BadImage, mistakes));
    let hosts = required(root, "hosts", "hosts = [\"web-1\", \"edge-*\", \"role=web\"]", mistakes);
    let hosts = hosts.and_then(|field| hosts::hosts(&field, mistakes));
    let tables = container::Tables { resources: table(root, "resources", mistakes), logging: table(root, "logging", mistakes) };
    let rollout = table(root, "rollout", mistakes);
    let healthcheck = table(root, "healthcheck", mistakes);
    let restart_policy = table(root, "restart_policy", mistakes);
    let network = container::network(root, mistakes);
    let container = container::container(root, &tables, network, mistakes);
    let restart = policy::restart(root, mistakes);
    let stop_grace_period = policy::span(root, "", "stop_grace_period", STOP_GRACE_PERIOD, mistakes);
    let restart_policy = restart_policy.map(|table| policy::restart_settings(table, restart, mistakes)).unwrap_or_default();
    let healthcheck = healthcheck.and_then(|table| health::healthcheck(table, network, mistakes));
    let post_start = hooks::hooks(root, "post_start", mistakes);
    let pre_stop = hooks::hooks(root, "pre_stop", mistakes);
    let rollout = policy::rollout(rollout, mistakes);
    Some(Document {
        image: image?,
        hosts: hosts?,
        container,
        restart,
        stop_grace_period,
        restart_policy,
        healthcheck,
        post_start,
        pre_stop,
        rollout,
    })
}

fn required<'t>(root: &'t DeTable<'t>, key: &str, example: &str, mistakes: &mut Mistakes) -> Option<Field<'t>> {
    let found = field(root, "", key);
    if found.is_none() {
        let missing = Diagnostic::new(Rule::MissingKey, 0..0, format!("`{key}` is missing"));
        mistakes.push(missing.hint(format!("add for example {example}")));
    }
    found
}

/// The table `[name]`, with its keys checked.
fn table<'t>(root: &'t DeTable<'t>, name: &str, mistakes: &mut Mistakes) -> Option<&'t DeTable<'t>> {
    let found = field(root, "", name)?;
    let DeValue::Table(table) = found.value.get_ref() else {
        mistakes.push(found.wrong_type("a table").hint(format!("write its keys under a line [{name}]")));
        return None;
    };
    check_keys(table, name, mistakes);
    Some(table)
}

/// Reports every key of `table` that is not honoured.
fn check_keys(table: &DeTable<'_>, section: &str, mistakes: &mut Mistakes) {
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        let place = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
        // Debug notation where a name could not be read otherwise, bare where it is a word.
        let shown: String = name.escape_debug().take(SHOWN_MAX_CHARS).collect();
        mistakes.push(match keys::standing(section, name) {
            Standing::Honoured => continue,
            Standing::NotYet(hint) => {
                Diagnostic::new(Rule::NotSupportedYet, key.span(), format!("`{shown}`{place} is not supported yet")).hint(hint)
            }
            Standing::Elsewhere(hint) => {
                Diagnostic::new(Rule::MisplacedKey, key.span(), format!("`{shown}` is no key{}", at(section))).hint(hint)
            }
            Standing::Unknown(nearest) => {
                let unknown = Diagnostic::new(Rule::UnknownKey, key.span(), format!("unknown key `{shown}`{place}"));
                match nearest {
                    Some(nearest) => unknown.hint(nearest),
                    None => unknown,
                }
            }
        });
    }
}

/// Most characters of an unknown key that its report repeats.
const SHOWN_MAX_CHARS: usize = 60;

fn at(section: &str) -> String {
    if section.is_empty() { " of a document".to_owned() } else { format!(" of [{section}]") }
}
