//! Pipelines good and bad, as `document::tests` has documents.

mod bad;
mod good;
mod urls;

use super::keys::PIPELINE;
use super::reference::{example, reference};
use super::{Pipeline, parse};
use crate::document::tests::expect_file;
use crate::document::tests::robust::{for_mutants, sound};
use std::path::PathBuf;

/// The smallest pipeline.
const LEAST: &str = "[source]\ngit = \"https://git.lan/shop.git\"\n[image]\nrepository = \"shop\"\n";

fn read(text: &str) -> Pipeline {
    parse(text).unwrap_or_else(|mistakes| panic!("{}", mistakes.render("pipeline.toml", text, false)))
}

#[test]
fn the_reference_says_what_the_code_does() {
    expect_file(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/pipeline.md"), &reference());
}

#[test]
fn the_example_of_the_reference_is_a_pipeline() {
    read(&example());
}

#[test]
fn mutated_pipelines_never_panic() {
    for_mutants(&PIPELINE, LEAST, 2000, |text| {
        if let Err(mistakes) = parse(text) {
            sound(&mistakes, text);
        }
    });
}
