//! From text to TOML values with places, past as many syntax mistakes as can be told apart.
//!
//! The TOML parser recovers and goes on. After a mistake within one value (`memory = 256MiB`) what follows can be trusted; after one
//! of structure (a quote or bracket that is not closed) what follows is guesswork, and its mistakes would only confuse. So all
//! mistakes of values are reported up to the first of structure, and nothing behind that.

use super::diagnostic::{Diagnostic, Rule};
use super::raw::{Mistakes, shows};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What could be read of a text.
pub(super) struct Syntax<'t> {
    pub(super) table: Spanned<DeTable<'t>>,
    pub(super) mistakes: Mistakes,
    /// Where guesswork starts: the first line with a mistake of structure.
    trusted_until: Option<usize>,
}

/// What the TOML parser says of a second key of one name.
const DUPLICATE_KEY: &str = "duplicate key";

pub(super) fn read(text: &str) -> Syntax<'_> {
    let (table, mut errors) = DeTable::parse_recoverable(text);
    let span = |error: &toml::de::Error| error.span().unwrap_or(0..0);
    errors.sort_by_key(|error| span(error).start);
    let mut places = Vec::new();
    if !errors.is_empty() {
        gather_places(table.get_ref(), &mut places);
        places.sort_by_key(|place| (place.start, place.end));
    }
    let mut syntax = Syntax { table, mistakes: Mistakes::new(), trusted_until: None };
    for error in &errors {
        let place = span(error);
        syntax.mistakes.push(with_first_place(diagnostic(error, place.clone(), text), &places, text));
        // A second key of one name is left out of the table, so its place is not among the known ones.
        let is_of_a_value = error.message() == DUPLICATE_KEY
            || places.binary_search_by_key(&(place.start, place.end), |known| (known.start, known.end)).is_ok();
        if !is_of_a_value {
            syntax.trusted_until = Some(text[..place.start.min(text.len())].rfind('\n').map_or(0, |newline| newline + 1));
            break;
        }
    }
    syntax
}

impl Syntax<'_> {
    /// Whether a mistake that was found in the values is one of the text, and not the echo of a mistake in its syntax.
    pub(super) fn trusts(&self, found: &Diagnostic) -> bool {
        let echoes = |mistake: &Diagnostic| found.span.start <= mistake.span.end && mistake.span.start <= found.span.end;
        let whole_text = found.span == (0..0);
        match self.trusted_until {
            Some(limit) => !whole_text && found.span.end < limit,
            None => !self.mistakes.iter().any(echoes),
        }
    }
}

/// The places of all keys and values.
fn gather_places(table: &DeTable<'_>, places: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        places.push(key.span());
        gather_value(value, places);
    }
}

fn gather_value(value: &Spanned<DeValue<'_>>, places: &mut Vec<Range<usize>>) {
    places.push(value.span());
    match value.get_ref() {
        DeValue::Table(table) => gather_places(table, places),
        DeValue::Array(array) => array.iter().for_each(|value| gather_value(value, places)),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// Adds the place that explains a mistake: where a key is first set, or where an array starts.
fn with_first_place(mistake: Diagnostic, places: &[Range<usize>], text: &str) -> Diagnostic {
    let at = mistake.span.clone();
    let written = |place: &Range<usize>| text.get(place.clone()).unwrap_or_default();
    if mistake.message == DUPLICATE_KEY {
        // Of several, which one is meant depends on their tables; a wrong place would be worse than none.
        let mut first = places.iter().filter(|place| place.start < at.start && written(place) == written(&at));
        return match (first.next(), first.next()) {
            (Some(place), None) => mistake.related(place.clone(), "first here"),
            (None, _) | (Some(_), Some(_)) => mistake,
        };
    }
    if mistake.message.contains("array") {
        // The innermost one is the one that starts last.
        let around = |place: &&Range<usize>| place.start < at.start && at.start <= place.end && written(place).starts_with('[');
        if let Some(array) = places.iter().rfind(around) {
            return mistake.related(array.start..array.start + 1, "the array starts here");
        }
    }
    mistake
}

/// Says a TOML error in our words where they help more.
fn diagnostic(error: &toml::de::Error, span: Range<usize>, text: &str) -> Diagnostic {
    let written = text.get(span.clone()).unwrap_or_default();
    let (message, expected) = match error.message().split_once(", expected ") {
        Some((message, expected)) => (message, Some(expected)),
        None => (error.message(), None),
    };
    let new = |message: &str| Diagnostic::new(Rule::Syntax, span.clone(), message);
    let about_a_key = message.contains("key");
    let about_a_string = message.starts_with("invalid ") && message.ends_with(" string");
    if about_a_key && text.get(span.start..).is_some_and(|rest| rest.starts_with(':')) {
        return new("a key and its value are joined by `=`").hint("write `=` in place of the colon");
    }
    if about_a_string && expected.is_some_and(|expected| expected.starts_with(['`', '\''])) {
        return new("the quote is not closed").label(format!("expected {}", expected.unwrap_or_default()));
    }
    let about_a_bare_word = message == "string values must be quoted" || (message.starts_with("invalid ") && !about_a_key);
    if about_a_bare_word && written.is_empty() && message.starts_with("string") {
        return new("no value after `=`");
    }
    if about_a_bare_word && (written.eq_ignore_ascii_case("true") || written.eq_ignore_ascii_case("false")) {
        return new("true and false are lower case").hint(format!("write it as {}", written.to_ascii_lowercase()));
    }
    if about_a_bare_word && shows(written) && !written.contains('\'') {
        return new("text must be in quotes").hint(format!("write it as \"{written}\""));
    }
    match expected {
        Some(expected) => new(message).label(format!("expected {expected}")),
        None => new(message),
    }
}
