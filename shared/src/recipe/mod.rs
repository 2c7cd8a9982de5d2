//! The recipe: what an archive becomes an image by. A small TOML file, or the `[image]` table of a pipeline.
//!
//! ```toml
//! base = "registry.lan/debian:12"     # absent: from scratch
//! target = "/app"                     # where the archive's files land
//! entrypoint = ["/app/shop"]
//! user = "1000:1000"
//! expose = ["8080"]
//! ```
//!
//! Reproducible: the same archive, recipe, base and time give the same digest. Deliberately absent: steps that run anything; whatever is
//! to be computed is computed before the archive is packed.

pub(crate) mod keys;
pub(crate) mod lower;
mod model;
pub(crate) mod pattern;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use model::{ModeRule, Owner, Recipe};

use crate::document::{Diagnostics, parse_as};

/// Reads and checks a recipe's text, by the rules and within the limits of [`crate::document::parse`].
pub fn parse(text: &str) -> Result<Recipe, Diagnostics> {
    parse_as(&keys::RECIPE, text, lower::lower)
}
