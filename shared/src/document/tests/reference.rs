//! The reference and the parser agree, because both go by the same tables; here is shown that the tables are sound.

use super::{LEAST, expect_file};
use crate::document::keys::DOCUMENT;
use crate::document::reference::example;
use crate::document::{Rule, parse, reference};
use std::collections::BTreeSet;
use std::path::PathBuf;

#[test]
fn the_reference_says_what_the_code_does() {
    expect_file(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/document.md"), &reference());
}

#[test]
fn the_example_of_the_reference_is_a_document() {
    let text = example();
    parse(&text).unwrap_or_else(|mistakes| panic!("{}", mistakes.render("example", &text, false)));
}

#[test]
fn no_key_is_in_two_tables() {
    let mut seen = BTreeSet::new();
    let honoured = DOCUMENT
        .all_keys()
        .map(|(table, key)| if table.is_empty() { key.name.to_owned() } else { format!("{table}.{}", key.name) });
    let refused = DOCUMENT.not_yet.iter().chain(DOCUMENT.elsewhere).map(|(path, _)| (*path).to_owned());
    for path in honoured.chain(refused) {
        assert!(seen.insert(path.clone()), "{path}");
    }
}

#[test]
fn every_refused_key_is_refused_with_its_cure() {
    for (path, hint) in DOCUMENT.not_yet.iter().chain(DOCUMENT.elsewhere) {
        let text = format!("{}{path} = 1\n", LEAST);
        let mistakes = parse(&text).expect_err("a refused key");
        let found: Vec<_> = mistakes.iter().map(|mistake| (mistake.rule, mistake.hint.as_deref())).collect();
        let rule =
            if DOCUMENT.not_yet.iter().any(|(known, _)| known == path) { Rule::NotSupportedYet } else { Rule::MisplacedKey };
        assert_eq!(found, [(rule, Some(*hint))], "{path}");
    }
}
