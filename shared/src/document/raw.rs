//! The raw shape: TOML values with their places, read as what a key wants them to be.
//!
//! Every reader answers None after it has reported why, so that the caller goes on with the next key and one text yields all its
//! mistakes. This is why no serde derive stands here: it ends at the first mistake.

use super::diagnostic::{Diagnostic, Rule};
use crate::quantity::ByteSize;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most entries of a list or table: a thousand times what a careful document has, small enough for every later step to walk.
pub(crate) const ENTRIES_MAX: usize = 1000;

/// Where mistakes are gathered.
pub(crate) type Mistakes = Vec<Diagnostic>;

/// A value, its place, and what to call it.
#[derive(Clone)]
pub(crate) struct Field<'t> {
    /// Dotted, as in the file: `resources.memory`, `hosts[2]`.
    pub(crate) path: String,
    pub(crate) value: &'t Spanned<DeValue<'t>>,
    /// Whether the value is a table that a heading `[...]` starts.
    pub(crate) has_heading: bool,
}

/// The field `key` of `table`, if it is there. `section` is the table's own name, empty at the top.
pub(crate) fn field<'t>(table: &'t DeTable<'t>, section: &str, key: &str) -> Option<Field<'t>> {
    let (name, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
    let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
    // The place of such a table is its heading, within which its name stands.
    Some(Field { path, value, has_heading: value.span().start < name.span().start })
}

impl<'t> Field<'t> {
    pub(crate) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// Reports that the value breaks `rule`; `predicate` goes on after the key: "is empty".
    pub(crate) fn is_wrong(&self, rule: Rule, predicate: impl Display) -> Diagnostic {
        Diagnostic::new(rule, self.span(), format!("`{}` {predicate}", self.path))
    }

    /// Reports that the value breaks `rule`; `problem` is a sentence of its own.
    pub(crate) fn wrong(&self, rule: Rule, problem: impl Display) -> Diagnostic {
        Diagnostic::new(rule, self.span(), format!("`{}`: {problem}", self.path))
    }

    /// Reports a value of another type than `wanted`, with the cure where it can be told from the value.
    pub(crate) fn wrong_type(&self, wanted: &str) -> Diagnostic {
        let value = self.value.get_ref();
        let message = format!("`{}` must be {wanted}, not {}", self.path, kind(value));
        let diagnostic = Diagnostic::new(Rule::WrongType, self.span(), message).label(format!("expected {wanted}"));
        let wants = |what: &str| wanted.starts_with(what);
        let hint = match value {
            DeValue::String(text) if wants("an array of strings") && shows(text) => format!("write it in brackets: [{text:?}]"),
            DeValue::String(text) if wants("a number") && text.parse::<f64>().is_ok() => {
                format!("write it without quotes: {text}")
            }
            DeValue::String(text) if wants("an integer") && text.parse::<i64>().is_ok() => {
                format!("write it without quotes: {text}")
            }
            DeValue::String(text) if wants("true or false") && matches!(text.as_ref(), "true" | "false") => {
                format!("write it without quotes: {text}")
            }
            DeValue::Integer(number) if wants("a length of time") => format!("write it with its unit, in quotes: \"{number}s\""),
            DeValue::Integer(_) | DeValue::Float(_) if wants("a size") => {
                "write it with its unit, in quotes: \"256MiB\"".to_owned()
            }
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) if wants("a string") => {
                match scalar_text(value) {
                    Some(text) => format!("write it in quotes: \"{text}\""),
                    None => "write it in quotes".to_owned(),
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return diagnostic,
        };
        diagnostic.hint(hint)
    }

    /// The value as text without NUL. `wanted` names the kind of text in the report of another type, such as "a size".
    pub(crate) fn text_of(&self, wanted: &str, mistakes: &mut Mistakes) -> Option<&'t str> {
        let Some(text) = self.value.get_ref().as_str() else {
            mistakes.push(self.wrong_type(wanted));
            return None;
        };
        if text.contains('\0') {
            mistakes.push(nul(&self.path, self.span()));
            return None;
        }
        Some(text)
    }

    /// The value as text without NUL.
    pub(crate) fn text(&self, mistakes: &mut Mistakes) -> Option<&'t str> {
        self.text_of("a string", mistakes)
    }

    /// The value as text that parses as `T`; `rule` is the one that other texts break.
    pub(crate) fn parse<T: FromStr<Err: Display>>(&self, wanted: &str, rule: Rule, mistakes: &mut Mistakes) -> Option<T> {
        let text = self.text_of(wanted, mistakes)?;
        text.parse().map_err(|error| mistakes.push(self.wrong(rule, error))).ok()
    }

    pub(crate) fn boolean(&self, mistakes: &mut Mistakes) -> Option<bool> {
        let value = self.value.get_ref().as_bool();
        if value.is_none() {
            mistakes.push(self.wrong_type("true or false"));
        }
        value
    }

    pub(crate) fn number(&self, mistakes: &mut Mistakes) -> Option<f64> {
        let value = self.value.get_ref();
        let number = match (value.as_integer(), value.as_float()) {
            (Some(_), _) => scalar_text(value).and_then(|text| text.parse().ok()),
            (_, Some(float)) => float.as_str().parse().ok(),
            (None, None) => {
                mistakes.push(self.wrong_type("a number"));
                return None;
            }
        };
        if number.is_none() {
            mistakes.push(self.is_wrong(Rule::OutOfRange, "is too large a number"));
        }
        number
    }

    /// The value as an integer within `limits`.
    pub(crate) fn integer(&self, limits: RangeInclusive<u32>, mistakes: &mut Mistakes) -> Option<u32> {
        let (least, most) = limits.into_inner();
        self.signed(least.into()..=most.into(), mistakes).and_then(|number| number.try_into().ok())
    }

    /// The entries of an array, each with its place; at most [`ENTRIES_MAX`].
    pub(crate) fn entries(&self, wanted: &str, mistakes: &mut Mistakes) -> Option<Vec<Field<'t>>> {
        let DeValue::Array(array) = self.value.get_ref() else {
            mistakes.push(self.wrong_type(wanted));
            return None;
        };
        self.few_enough(array.len(), mistakes)?;
        let entry = |(at, value)| Field { path: format!("{}[{at}]", self.path), value, has_heading: false };
        Some(array.iter().enumerate().map(entry).collect())
    }

    /// The entries of an array, or the value itself where it is a string (Compose's "string or list").
    pub(crate) fn entries_or_text(&self, mistakes: &mut Mistakes) -> Option<Vec<Field<'t>>> {
        if self.value.get_ref().is_str() {
            return Some(vec![self.clone()]);
        }
        self.entries("a string or an array of strings", mistakes)
    }

    /// The value as an integer within `limits`, negative ones among them.
    pub(crate) fn signed(&self, limits: RangeInclusive<i64>, mistakes: &mut Mistakes) -> Option<i64> {
        let value = self.value.get_ref();
        if !value.is_integer() {
            mistakes.push(self.wrong_type("an integer"));
            return None;
        }
        let number = scalar_text(value).and_then(|text| text.parse::<i64>().ok()).filter(|number| limits.contains(number));
        if number.is_none() {
            let (least, most) = limits.into_inner();
            mistakes.push(self.is_wrong(Rule::OutOfRange, format!("must be from {least} to {most}")));
        }
        number
    }

    /// The value as a size of at least `least`.
    pub(crate) fn size(&self, least: ByteSize, mistakes: &mut Mistakes) -> Option<ByteSize> {
        let size: ByteSize = self.parse("a size", Rule::BadSize, mistakes)?;
        if size >= least {
            return Some(size);
        }
        mistakes.push(self.is_wrong(Rule::OutOfRange, format!("must be at least {least}")).hint("mind the unit: 64MiB, not 64"));
        None
    }

    /// The entries of an array of strings. Entries that are none are reported and left out.
    pub(crate) fn texts(&self, wanted: &str, mistakes: &mut Mistakes) -> Option<Vec<String>> {
        let entries = self.entries(wanted, mistakes)?;
        Some(entries.iter().filter_map(|entry| entry.text(mistakes)).map(str::to_owned).collect())
    }

    /// Refuses more than [`ENTRIES_MAX`] entries.
    pub(crate) fn few_enough(&self, count: usize, mistakes: &mut Mistakes) -> Option<()> {
        if count <= ENTRIES_MAX {
            return Some(());
        }
        mistakes.push(self.is_wrong(Rule::TooMany, format!("has {count} entries, {ENTRIES_MAX} are allowed")));
        None
    }
}

/// The report of a NUL character in `name` at `span`.
pub(crate) fn nul(name: &str, span: Range<usize>) -> Diagnostic {
    Diagnostic::new(Rule::NulByte, span, format!("`{}` has a NUL character", name.escape_debug()))
        .hint("remove \\u0000; no program can receive it")
}

/// A number or boolean as text: integers in decimal, floats as they are written. None for anything else, and for integers beyond 64 bits.
pub(crate) fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::String(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// What TOML calls a value, with its article.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Whether a text is short and plain enough to be repeated in a hint.
pub(crate) fn shows(text: &str) -> bool {
    const SHOWN_MAX_CHARS: usize = 60;
    !text.is_empty() && text.chars().count() <= SHOWN_MAX_CHARS && !text.chars().any(|c| c.is_control() || c == '"')
}
