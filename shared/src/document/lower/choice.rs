//! A value that is one of a few words.

use crate::document::diagnostic::{Diagnostic, Rule};
use crate::document::keys::closest;
use crate::document::raw::{Field, Mistakes};

/// Most characters of a wrong word that its report repeats.
const SHOWN_MAX_CHARS: usize = 60;

/// What the word means, of `choices`.
pub(crate) fn choice<T: Copy>(field: &Field<'_>, choices: &[(&'static str, T)], mistakes: &mut Mistakes) -> Option<T> {
    let words: Vec<&'static str> = choices.iter().map(|(word, _)| *word).collect();
    let written = either(&words);
    let text = field.text_of(&written, mistakes)?;
    let found = choices.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    if found.is_none() {
        mistakes.push(bad_word(field, Rule::BadChoice, text, &words, &written));
    }
    found
}

/// The report of a word that is none of `words`, which `written` lists.
pub(crate) fn bad_word(field: &Field<'_>, rule: Rule, text: &str, words: &[&'static str], written: &str) -> Diagnostic {
    let shown: String = text.chars().take(SHOWN_MAX_CHARS).collect();
    let bad = field.wrong(rule, format!("{shown:?} is not {written}"));
    match closest(text, words.iter().copied()) {
        Some(near) => bad.hint(format!("did you mean {near:?}?")),
        None if words.len() == 1 => bad.hint(format!("write {written}, or remove the key")),
        None => bad.hint(format!("write {written}")),
    }
}

/// `"a", "b" or "c"`.
fn either(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => String::new(),
    }
}
