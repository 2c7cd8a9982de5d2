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

mod model;

pub use model::{
    Deploy, Git, Include, NotifyTarget, Package, Pipeline, PipelineImage, Reference, Source, SourceKind, Stage, Trigger, Webhook,
};
