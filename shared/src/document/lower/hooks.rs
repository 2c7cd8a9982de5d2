//! `post_start` and `pre_stop`: programs that are run in the container at a point of its life.

use super::args;
use super::container::{user, working_dir};
use super::pairs::{Pairs, pairs};
use super::tables::{Inner, TOP};
use crate::document::diagnostic::Rule;
use crate::document::keys::DOCUMENT;
use crate::document::parts::Hook;
use crate::document::raw::{Field, Mistakes, field};
use toml::de::{DeTable, DeValue};

pub(super) fn hooks(root: &DeTable<'_>, key: &str, mistakes: &mut Mistakes) -> Vec<Hook> {
    let Some(field) = field(root, "", key) else { return Vec::new() };
    let mut hooks = Vec::new();
    for entry in field.entries("an array of tables", mistakes).unwrap_or_default() {
        let DeValue::Table(table) = entry.value.get_ref() else {
            let cure = format!("write it as {key} = [{{ command = [\"/program\"] }}]");
            mistakes.push(entry.wrong_type("a table").hint(cure));
            continue;
        };
        hooks.extend(hook(&entry, table, mistakes));
    }
    hooks
}

fn hook(entry: &Field<'_>, table: &DeTable<'_>, mistakes: &mut Mistakes) -> Option<Hook> {
    let keys = Inner { path: &entry.path, table };
    keys.check(&DOCUMENT, "post_start[]", mistakes);
    let command = keys.required("command", "command = [\"/warm-up.sh\"]", entry, mistakes);
    let command = command.and_then(|field| {
        let words = args::list(&field, mistakes)?;
        if words.first().is_none_or(String::is_empty) {
            mistakes.push(field.is_wrong(Rule::NothingToRun, "names no program").hint("name it, or remove the entry"));
            return None;
        }
        Some(words)
    });
    let user = keys.field("user").and_then(|field| user(&field, mistakes));
    let working_dir = keys.field("working_dir").and_then(|field| working_dir(&field, mistakes));
    let environment =
        keys.field("environment").map(|field| pairs(&field, Pairs::Environment, &TOP, mistakes)).unwrap_or_default();
    Some(Hook { command: command?, user, working_dir, environment })
}
