//! No text makes the parser panic, hang or say nothing: what comes over the network is a text, too.

use super::LEAST;
use crate::document::keys::{DOCUMENT, Format};
use crate::document::{DOCUMENT_MAX_BYTES, Diagnostics, MISTAKES_MAX, diff, parse};

/// Parses, and renders what is wrong.
fn survive(text: &str) {
    match parse(text) {
        Ok(document) => {
            // What is a document stays the same one.
            assert!(diff(Some(&document), parse(text).ok().as_ref()).is_empty(), "{text:?}");
        }
        Err(mistakes) => sound(&mistakes, text),
    }
}

/// The mistakes must be few, lie within the text, and be tellable.
pub(crate) fn sound(mistakes: &Diagnostics, text: &str) {
    assert!((1..=MISTAKES_MAX).contains(&mistakes.iter().count()), "{text:?}");
    assert!(mistakes.iter().all(|mistake| mistake.span.start <= mistake.span.end && mistake.span.end <= text.len()), "{text:?}");
    assert!(!mistakes.render("fuzz.toml", text, false).is_empty());
    assert!(!mistakes.summary(text).is_empty());
}

#[test]
fn deep_and_wide_texts_are_bounded() {
    let most = DOCUMENT_MAX_BYTES;
    for text in [
        format!("a = {}", "[".repeat(most - 4)),
        format!("a = {}", "{a=".repeat((most - 4) / 3)),
        "a.".repeat(most / 2),
        "[a]\n".repeat(most / 4),
        "[[a]]\n".repeat(most / 6),
        format!("[{}a]", "a.".repeat(most / 2 - 2)),
        "\"".repeat(most),
        "=".repeat(most),
        "\n".repeat(most),
        "\0".repeat(most),
        "a=1\n".repeat(most / 4),
        (0..most / 8).map(|n| format!("{n:x}=1\n")).collect(),
        format!("{} = 1", "k".repeat(most - 4)),
        format!("image = \"{}\"", "x".repeat(most - 10)),
        format!("image = \"{}\"", "\u{1b}".repeat(most - 10)),
        format!("hosts = [{}]", "\"a\",".repeat(1000)),
        format!("restart = \"{}\"", "é".repeat(most / 2 - 8)),
        format!("command = '''{}'''", "\\\n".repeat(most / 2 - 10)),
    ] {
        survive(&text);
    }
}

/// A xorshift generator (Marsaglia, 2003): the same texts on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// Pieces of which mistakes are made.
const PIECES: [&str; 28] = [
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "\r\n",
    "#",
    "\\",
    "\0",
    "\\u0000",
    "é",
    "日本",
    "\u{feff}",
    "1e999",
    "99999999999999999999",
    "true",
    "1979-05-27",
    "image",
    "hosts",
    "[resources]",
];

#[test]
fn mutated_documents_never_panic() {
    for_mutants(&DOCUMENT, LEAST, 4000, survive);
}

/// Hands `count` broken variants of `format`'s examples to `survive`, each behind `least`; the same ones on every run.
pub(crate) fn for_mutants(format: &Format, least: &str, count: usize, survive: impl Fn(&str)) {
    let mut seeds: Vec<String> =
        format
            .all_keys()
            .map(|(table, key)| {
                if table.is_empty() {
                    format!("{}\n{least}", key.example)
                } else {
                    format!("{least}[{table}]\n{}\n", key.example)
                }
            })
            .collect();
    seeds.push(seeds.concat());
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..count {
        let mut text: Vec<char> = seeds[numbers.below(seeds.len())].chars().collect();
        for _ in 0..=numbers.below(6) {
            let at = numbers.below(text.len() + 1);
            let until = (at + numbers.below(8)).min(text.len());
            match numbers.below(4) {
                0 => drop(text.drain(at..until)),
                1 => drop(text.splice(at..at, PIECES[numbers.below(PIECES.len())].chars())),
                2 => text.truncate(at),
                _ => {
                    let copy: Vec<char> = text[at..until].to_vec();
                    let to = numbers.below(text.len() + 1);
                    drop(text.splice(to..to, copy));
                }
            }
        }
        survive(&text.into_iter().collect::<String>());
    }
}
