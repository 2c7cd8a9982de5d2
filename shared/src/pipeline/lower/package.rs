//! `[package]`: what goes into the archive.

use super::{Table, source};
use crate::document::diagnostic::{Diagnostic, Rule};
use crate::document::lower::tables::Inner;
use crate::document::raw::{Field, Mistakes};
use crate::pipeline::keys::PIPELINE;
use crate::pipeline::{Include, Package};
use crate::recipe::pattern::{Wildcards, relative};
use toml::de::DeValue;

/// Everything in the workspace.
const EVERYTHING: &str = "**";
/// The workspace's or the archive's own folder.
const TOP: &str = ".";

/// Where there is a `build`, it must be said what of it is packed.
pub(super) fn package(table: Option<&Table<'_>>, build: Option<&Field<'_>>, mistakes: &mut Mistakes) -> Option<Package> {
    let key = |name| table.and_then(|table| table.field(name));
    let exclude = key("exclude").map(|field| source::patterns(&field, mistakes)).unwrap_or_default();
    let include = match key("include") {
        Some(field) => includes(&field, mistakes)?,
        None if build.is_some() => {
            let place = table.map(|table| table.whole.span()).or(build.map(Field::span)).unwrap_or_default();
            let missing = Diagnostic::new(
                Rule::MissingKey,
                place,
                "`package.include` is missing: nothing says what of the build is packed",
            );
            mistakes.push(missing.hint("add for example a line [package], and include = [\"target/release/shop\"] below it"));
            return None;
        }
        None => vec![Include { path: EVERYTHING.to_owned(), to: None }],
    };
    Some(Package { include, exclude })
}

fn includes(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Vec<Include>> {
    let entries = field.entries("an array of strings and tables", mistakes)?;
    if entries.is_empty() {
        let empty = field.is_wrong(Rule::MissingKey, "is empty, so the image would hold nothing new");
        mistakes.push(empty.hint("name what is packed, as in [\"target/release/shop\"]; [\"**\"] is the whole workspace"));
        return None;
    }
    let mut includes: Vec<Include> = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(include) = include(&entry, mistakes) else { continue };
        if includes.contains(&include) {
            let twice = entry.wrong(Rule::Duplicate, format!("{:?} is there already", super::shortened(&include.path)));
            mistakes.push(twice.hint("remove one of them"));
        } else {
            includes.push(include);
        }
    }
    Some(includes)
}

fn include(entry: &Field<'_>, mistakes: &mut Mistakes) -> Option<Include> {
    let DeValue::Table(table) = entry.value.get_ref() else {
        if !entry.value.get_ref().is_str() {
            let cure = "write a pattern, or { path = \"conf/prod.toml\", to = \"etc/shop.toml\" }";
            mistakes.push(entry.wrong_type("a string or a table").hint(cure));
            return None;
        }
        return path_of(entry, mistakes).map(|path| Include { path, to: None });
    };
    let keys = Inner { path: &entry.path, table };
    keys.check(&PIPELINE, "include[]", mistakes);
    let path = keys.required("path", "path = \"conf/prod.toml\"", entry, mistakes);
    let path = path.and_then(|field| path_of(&field, mistakes));
    let to = keys.field("to").map(|field| place_of(&field, mistakes));
    match to {
        Some(to) => Some(Include { path: path?, to: Some(to?) }),
        None => Some(Include { path: path?, to: None }),
    }
}

/// The workspace itself is everything in it.
fn path_of(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<String> {
    if is_top(field) { Some(EVERYTHING.to_owned()) } else { relative(field, Wildcards::Allowed, mistakes) }
}

/// A slash at the end stays: it makes a folder of the place.
fn place_of(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<String> {
    if is_top(field) {
        return Some(TOP.to_owned());
    }
    let place = relative(field, Wildcards::Refused, mistakes)?;
    let is_folder = field.value.get_ref().as_str().is_some_and(|text| text.ends_with('/'));
    Some(if is_folder { place + "/" } else { place })
}

fn is_top(field: &Field<'_>) -> bool {
    field.value.get_ref().as_str().is_some_and(|text| text.trim_end_matches('/') == TOP)
}
