//! `hosts`: who runs the workload.

use crate::document::diagnostic::Rule;
use crate::document::raw::{Field, Mistakes};
use crate::names::HostSelector;
use std::collections::BTreeMap;

/// The selectors, at least one, none twice.
pub(super) fn hosts(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Vec<HostSelector>> {
    let entries = field.entries("an array of strings", mistakes)?;
    if entries.is_empty() {
        let empty = field.is_wrong(Rule::NoHosts, "is empty, so nothing would run");
        mistakes.push(
            empty.hint("name hosts, as in [\"web-1\", \"edge-*\", \"role=web\"]; to stop the workload, delete the document"),
        );
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
