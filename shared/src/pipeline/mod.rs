//! The pipeline: one TOML file, the way of a repository's commits into the fleet.
//!
//! ```toml
//! [source]
//! git = "https://git.lan/shop.git"
//! branch = "main"
//! [build]
//! image = "registry.lan/rust:1.95"
//! steps = ["cargo build --release"]
//! [test]
//! steps = ["cargo test --release"]
//! [package]
//! include = ["target/release/shop", "assets/**"]
//! [image]
//! repository = "shop"
//! base = "registry.lan/debian:12"
//! entrypoint = ["/app/shop"]
//! [deploy]
//! document = "deploy/web.toml"
//! ```

mod keys;
mod lower;
mod model;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use model::{
    Deploy, Git, Include, NotifyTarget, Package, Pipeline, PipelineImage, Reference, Source, SourceKind, Stage, Trigger, Webhook,
};

use crate::document::{Diagnostics, parse_as};

/// Reads and checks a pipeline's text, by the rules and within the limits of [`crate::document::parse`].
pub fn parse(text: &str) -> Result<Pipeline, Diagnostics> {
    parse_as(&keys::PIPELINE, text, lower::lower)
}
