//! Pipelines good and bad, as `document::tests` has documents.

mod good;

use super::{Pipeline, parse};

/// The smallest pipeline.
const LEAST: &str = "[source]\ngit = \"https://git.lan/shop.git\"\n[image]\nrepository = \"shop\"\n";

fn read(text: &str) -> Pipeline {
    parse(text).unwrap_or_else(|mistakes| panic!("{}", mistakes.render("pipeline.toml", text, false)))
}
