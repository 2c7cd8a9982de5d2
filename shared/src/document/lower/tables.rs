//! Tables within lists, and tables within those: their keys, and the report of every other.

use super::SHOWN_MAX_CHARS;
use crate::document::diagnostic::{Diagnostic, Rule};
use crate::document::keys::{DOCUMENT, Format, closest};
use crate::document::raw::{Field, Mistakes, field};
use toml::de::{DeTable, DeValue};

/// A table that may have a heading, for what its own tables swallow.
pub(crate) struct Place {
    /// Of which format.
    pub(crate) format: &'static Format,
    /// Its name, dotted; empty for the top.
    pub(crate) section: &'static str,
}

/// The top of a document.
pub(crate) static TOP: Place = Place { format: &DOCUMENT, section: "" };

/// A table within another value.
pub(crate) struct Inner<'f, 't> {
    /// What it is called in reports: `volumes[2]`.
    pub(crate) path: &'f str,
    pub(crate) table: &'t DeTable<'t>,
}

impl<'t> Inner<'_, 't> {
    /// The field `key`, if it is there.
    pub(crate) fn field(&self, key: &str) -> Option<Field<'t>> {
        field(self.table, self.path, key)
    }

    /// The field `key`; its absence is reported at `whole`.
    pub(crate) fn required(&self, key: &str, example: &str, whole: &Field<'_>, mistakes: &mut Mistakes) -> Option<Field<'t>> {
        let found = self.field(key);
        if found.is_none() {
            let missing = whole.is_wrong(Rule::MissingKey, format!("has no `{key}`"));
            mistakes.push(missing.hint(format!("add for example {example}")));
        }
        found
    }

    /// Reports every key that tables of the kind `section` do not have.
    pub(crate) fn check(&self, format: &Format, section: &str, mistakes: &mut Mistakes) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !format.inner_keys(section).any(|known| known == name) {
                let unknown = format!("unknown key `{}` in `{}`", shown(name), self.path);
                mistakes.push(Diagnostic::new(Rule::UnknownKey, key.span(), unknown).hint(format.inner_hint(section, name)));
            }
        }
    }
}

/// `field` as a table that has these keys and no other.
pub(crate) fn inner<'f, 't>(field: &'f Field<'t>, known: &[&'static str], mistakes: &mut Mistakes) -> Option<Inner<'f, 't>> {
    let DeValue::Table(table) = field.value.get_ref() else {
        mistakes.push(field.wrong_type("a table"));
        return None;
    };
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if !known.contains(&name) {
            let unknown =
                Diagnostic::new(Rule::UnknownKey, key.span(), format!("unknown key `{}` in `{}`", shown(name), field.path));
            mistakes.push(match closest(name, known.iter().copied()) {
                Some(near) => unknown.hint(format!("did you mean `{near}`?")),
                None if name == "create_host_path" => unknown.hint("remove the key; make the file or folder on the host"),
                None => unknown.hint(format!("it may have `{}`", known.join("`, `"))),
            });
        }
    }
    Some(Inner { path: &field.path, table })
}

/// A name in notation that cannot steer a terminal, and not long.
fn shown(name: &str) -> String {
    name.escape_debug().take(SHOWN_MAX_CHARS).collect()
}
