//! `environment`, `labels` and `sysctls`: pairs of names and texts, as a table or, as in Compose, as an array of `"NAME=VALUE"`.

use super::tables::Place;
use crate::document::diagnostic::{Diagnostic, Rule};
use crate::document::raw::{Field, Mistakes, nul, scalar_text};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Which pairs are read, where they differ.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pairs {
    Environment,
    Labels,
    Sysctls,
}

impl Pairs {
    fn what(self) -> &'static str {
        match self {
            Self::Environment => "variable",
            Self::Labels => "label",
            Self::Sysctls => "kernel parameter",
        }
    }

    fn rule(self) -> Rule {
        match self {
            Self::Environment => Rule::BadVariable,
            Self::Labels => Rule::BadLabel,
            Self::Sysctls => Rule::BadSysctl,
        }
    }

    /// Why `name` is none.
    fn problem(self, name: &str) -> Option<&'static str> {
        if name.is_empty() {
            Some("this one is empty")
        } else if self == Self::Environment && name.contains('=') {
            Some("this one contains '='")
        } else {
            None
        }
    }
}

/// Pairs with the places of their names.
pub(crate) type Placed = BTreeMap<String, (String, Range<usize>)>;

/// `place` is where the key itself stands.
pub(crate) fn pairs(field: &Field<'_>, pairs: Pairs, place: &Place, mistakes: &mut Mistakes) -> BTreeMap<String, String> {
    let placed = placed(field, pairs, place, mistakes).unwrap_or_default();
    placed.into_iter().map(|(name, (text, _))| (name, text)).collect()
}

pub(crate) fn placed(field: &Field<'_>, pairs: Pairs, place: &Place, mistakes: &mut Mistakes) -> Option<Placed> {
    match field.value.get_ref() {
        DeValue::Table(table) => from_table(field, table, pairs, place, mistakes),
        DeValue::Array(_) => from_array(field, pairs, mistakes),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            let key = field.path.rsplit('.').next().unwrap_or_default();
            mistakes.push(field.wrong_type("a table").hint(format!("write it as {key} = {{ NAME = \"value\" }}")));
            None
        }
    }
}

fn from_table(field: &Field<'_>, table: &DeTable<'_>, pairs: Pairs, place: &Place, mistakes: &mut Mistakes) -> Option<Placed> {
    field.few_enough(table.len(), mistakes)?;
    let mut read = BTreeMap::new();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let entry = Field { path: format!("{}.{}", field.path, name.escape_debug()), value, has_heading: false };
        if field.has_heading && place.format.is_honoured(place.section, name) {
            mistakes.push(swallowed(name, key.span(), &field.path, pairs));
            continue;
        }
        let named = check_name(name, key.span(), pairs, mistakes);
        let text = scalar_text(value.get_ref());
        let text = match text {
            Some(text) => Some(text),
            None if value.get_ref().is_integer() => {
                mistakes.push(entry.is_wrong(Rule::OutOfRange, "is too large a number").hint("write it in quotes"));
                None
            }
            None if pairs == Pairs::Sysctls && value.get_ref().is_table() => {
                let nested = entry.wrong_type("a string, number or boolean");
                mistakes.push(nested.hint("write the whole name in quotes, as in \"net.core.somaxconn\" = 1024"));
                None
            }
            None => entry.text_of("a string, number or boolean", mistakes).map(str::to_owned),
        };
        if let (Some(()), Some(text)) = (named, text) {
            read.insert(name.to_owned(), (text, key.span()));
        }
    }
    Some(read)
}

/// A key of the table above behind a line `[environment]` would silently become a variable.
fn swallowed(name: &str, span: Range<usize>, key: &str, pairs: Pairs) -> Diagnostic {
    let what = pairs.what();
    let short = key.rsplit('.').next().unwrap_or_default();
    let message = format!("`{name}` stands under [{key}], which makes it a {what}");
    Diagnostic::new(Rule::MisplacedKey, span, message)
        .hint(format!("move `{name}` above the line [{key}]; for a {what} of that name write {short} = {{ ... }}"))
}

fn from_array(field: &Field<'_>, pairs: Pairs, mistakes: &mut Mistakes) -> Option<Placed> {
    let mut read = BTreeMap::new();
    let mut first_places = BTreeMap::new();
    for entry in field.entries("an array of strings", mistakes)? {
        let Some(text) = entry.text(mistakes) else { continue };
        let (name, value) = match (text.split_once('='), pairs) {
            (Some(pair), _) => pair,
            (None, Pairs::Labels) => (text, ""),
            (None, Pairs::Environment) => {
                let bare = entry.wrong(Rule::BadVariable, format!("the variable {text:?} has no value"));
                mistakes.push(bare.hint("write it as \"NAME=VALUE\"; nothing is taken from anybody's own environment"));
                continue;
            }
            (None, Pairs::Sysctls) => {
                let bare = entry.wrong(Rule::BadSysctl, format!("the kernel parameter {text:?} has no value"));
                mistakes.push(bare.hint("write it as \"NAME=VALUE\""));
                continue;
            }
        };
        if check_name(name, entry.span(), pairs, mistakes).is_none() {
            continue;
        }
        if let Some(first) = first_places.insert(name, entry.span()) {
            let twice = entry.wrong(Rule::Duplicate, format!("the {} {name:?} is there already", pairs.what()));
            mistakes.push(twice.related(first, "first here").hint("remove one of them"));
        }
        read.insert(name.to_owned(), (value.to_owned(), entry.span()));
    }
    Some(read)
}

fn check_name(name: &str, span: Range<usize>, pairs: Pairs, mistakes: &mut Mistakes) -> Option<()> {
    if name.contains('\0') {
        mistakes.push(nul(name, span));
        return None;
    }
    let Some(problem) = pairs.problem(name) else { return Some(()) };
    mistakes.push(Diagnostic::new(pairs.rule(), span, format!("a {} needs a name, and {problem}", pairs.what())));
    None
}
