//! Makes the demonstration image and pushes it to a registry: `coord-testimage 127.0.0.1:5000 demo/web 1 2`.
//!
//! `coord-testimage --probe 127.0.0.1:5000 guest/probe 1` pushes busybox with `coord-probe` instead. One push per version, and the reference of each on standard output. The registry is asked by plain HTTP.

use std::io::Write as _;

use anyhow::{Context, Result, bail};
use coord_tests::{image, probe, registry};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (probe, words) = match args.as_slice() {
        [first, rest @ ..] if first == "--probe" => (true, rest),
        words => (false, words),
    };
    let [authority, repository, versions @ ..] = words else {
        bail!("usage: coord-testimage [--probe] HOST:PORT REPOSITORY VERSION...");
    };
    for version in versions {
        let image = if probe { probe::image()? } else { image::web::image(version)? };
        registry::push(authority, &image, repository, version).with_context(|| format!("push version {version}"))?;
        writeln!(std::io::stdout(), "{authority}/{repository}:{version}")?;
    }
    Ok(())
}
