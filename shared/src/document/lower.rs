//! From raw values to the checked model: every key is looked at, every mistake reported, nothing decided twice.

mod addresses;
pub(crate) mod args;
pub(crate) mod choice;
pub(crate) mod container;
mod devices;
pub(crate) mod health;
mod hooks;
pub(crate) mod hosts;
mod kernel;
mod logging;
mod mounts;
pub(crate) mod nested;
pub(crate) mod pairs;
pub(crate) mod path;
pub(crate) mod policy;
pub(crate) mod ports;
pub(crate) mod resources;
pub(crate) mod security;
pub(crate) mod tables;

pub use path::mount_target;
pub(super) use policy::ROLLOUT;

use super::diagnostic::{Diagnostic, Rule};
use super::keys::{DOCUMENT, Format, Standing};
use super::model::Document;
use super::raw::{Field, Mistakes, field};
use crate::quantity::Span;
use toml::de::{DeTable, DeValue};

/// How long a stop may take unless the document says otherwise (Compose's default).
pub(super) const STOP_GRACE_PERIOD: Span = Span::seconds(10);

const NO_HOSTS: &str = "is empty, so nothing would run";
const NO_HOSTS_CURE: &str = "name hosts, as in [\"web-1\", \"edge-*\", \"role=web\"]; to stop the workload, delete the document";

/// The document that `root` describes. None only after a mistake was reported; after one, the document is there for the sake of
/// the remaining checks alone, with defaults where a value is wrong.
pub(super) fn lower(root: &DeTable<'_>, mistakes: &mut Mistakes) -> Option<Document> {
    check_keys(&DOCUMENT, root, "", mistakes);
    let image = required(root, "", "image", "image = \"registry.lan/shop/web:1.4.2\"", mistakes);
    let image = image.and_then(|field| field.parse("a string", Rule::BadImage, mistakes));
    let hosts = required(root, "", "hosts", "hosts = [\"web-1\", \"edge-*\", \"role=web\"]", mistakes);
    let hosts = hosts.and_then(|field| hosts::hosts(&field, NO_HOSTS, NO_HOSTS_CURE, mistakes));
    let tables = container::Tables {
        resources: table(&DOCUMENT, root, "resources", mistakes),
        logging: table(&DOCUMENT, root, "logging", mistakes),
    };
    let rollout = table(&DOCUMENT, root, "rollout", mistakes);
    let healthcheck = table(&DOCUMENT, root, "healthcheck", mistakes);
    let restart_policy = table(&DOCUMENT, root, "restart_policy", mistakes);
    let network = container::network(root, mistakes);
    let container = container::container(root, &tables, network, mistakes);
    let restart = policy::restart(root, mistakes);
    let stop_grace_period = policy::span(root, "", "stop_grace_period", STOP_GRACE_PERIOD, mistakes);
    let restart_policy = restart_policy.map(|table| policy::restart_settings(table, restart, mistakes)).unwrap_or_default();
    let healthcheck = healthcheck.and_then(|table| health::healthcheck(table, "healthcheck", network, mistakes));
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

/// The field `key` of the text's top, whose absence is reported.
pub(crate) fn required<'t>(
    root: &'t DeTable<'t>,
    section: &str,
    key: &str,
    example: &str,
    mistakes: &mut Mistakes,
) -> Option<Field<'t>> {
    let found = field(root, section, key);
    if found.is_none() {
        let missing = Diagnostic::new(Rule::MissingKey, 0..0, format!("`{key}` is missing"));
        mistakes.push(missing.hint(format!("add for example {example}")));
    }
    found
}

/// The table `[section]`, whose last part is its name in `root`, with its keys checked.
pub(crate) fn table<'t>(
    format: &Format,
    root: &'t DeTable<'t>,
    section: &str,
    mistakes: &mut Mistakes,
) -> Option<&'t DeTable<'t>> {
    let (above, name) = section.rsplit_once('.').unwrap_or(("", section));
    let found = field(root, above, name)?;
    let DeValue::Table(table) = found.value.get_ref() else {
        mistakes.push(found.wrong_type("a table").hint(format!("write its keys under a line [{section}]")));
        return None;
    };
    check_keys(format, table, section, mistakes);
    Some(table)
}

/// Reports every key of `table` that is not honoured.
pub(crate) fn check_keys(format: &Format, table: &DeTable<'_>, section: &str, mistakes: &mut Mistakes) {
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        let place = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
        // Debug notation where a name could not be read otherwise, bare where it is a word.
        let shown: String = name.escape_debug().take(SHOWN_MAX_CHARS).collect();
        mistakes.push(match format.standing(section, name) {
            Standing::Honoured => continue,
            Standing::NotYet(hint) => {
                Diagnostic::new(Rule::NotSupportedYet, key.span(), format!("`{shown}`{place} is not supported yet")).hint(hint)
            }
            Standing::Elsewhere(hint) => {
                Diagnostic::new(Rule::MisplacedKey, key.span(), format!("`{shown}` is no key{}", at(format, section))).hint(hint)
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

fn at(format: &Format, section: &str) -> String {
    if section.is_empty() { format!(" of a {}", format.noun) } else { format!(" of [{section}]") }
}
