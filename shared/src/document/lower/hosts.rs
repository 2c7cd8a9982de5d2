//! `hosts`: who runs the workload.

use crate::document::diagnostic::Rule;
use crate::document::raw::{Field, Mistakes};
use crate::names::HostSelector;
use std::collections::BTreeMap;

/// The selectors, at least one, none twice. `nothing` says what comes of none, and `cure` what to do.
pub(crate) fn hosts(field: &Field<'_>, nothing: &str, cure: &str, mistakes: &mut Mistakes) -> Option<Vec<HostSelector>> {
    let entries = field.entries("an array of strings", mistakes)?;
    if entries.is_empty() {
        let empty = field.is_wrong(Rule::NoHosts, nothing);
        mistakes.push(empty.hint(cure));
    }
    let mut first_places = BTreeMap::new();
    let mut selectors = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(selector) = entry.parse::<HostSelector>("a string", Rule::BadHostSelector, mistakes) else { continue };
        match first_places.get(selector.as_str()) {
            None => {
                first_places.insert(selector.to_string(), entry.span());
                selectors.push(selector);
            }
            Some(first) => {
                let twice = entry.wrong(Rule::Duplicate, format!("\"{selector}\" is there already"));
                mistakes.push(twice.related(first.clone(), "first here").hint("remove one of them"));
            }
        }
    }
    Some(selectors)
}
