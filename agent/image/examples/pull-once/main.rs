//! Pulls one image into a store, mounts it, and says how long that took: to measure with, without an agent around it.
//!
//! ```text
//!   cargo run --release -p coord-image --example pull-once -- [--insecure] [--format auto|directories|loop] IMAGE STORE
//! ```
//! On standard output comes one line of JSON: seconds from asking for the manifest to the mounted root file system, seconds of CPU,
//! largest resident set, bytes written. The store stays, so that a second run shows what an update costs; `findmnt` shows what to
//! unmount before the folder is removed.

mod clock;

use anyhow::{Context as _, bail};
use coord_image::{FormatChoice, ImageStore, Options};
use coord_registry::{Registry, RegistryConfig};
use coord_shared::names::ImageReference;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (mut insecure, mut format, mut rest) = (false, FormatChoice::Auto, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--insecure" => insecure = true,
            "--format" => format = choice(&arguments.next().unwrap_or_default())?,
            _ => rest.push(argument),
        }
    }
    let [image, store] = &rest[..] else { bail!("usage: pull-once [--insecure] [--format auto|directories|loop] IMAGE STORE") };
    // Reqwest without a provider of its own needs one, also for plain HTTP; a second installation is refused, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let image: ImageReference = image.parse()?;
    let config = RegistryConfig { prefix: image.registry().to_owned(), insecure, ..RegistryConfig::default() };
    let registry = Registry::new(vec![config], None)?;
    let store = ImageStore::open_with(&PathBuf::from(store), Options { format, ..Options::default() })?;
    let digest = registry.resolve(&image).await?;
    let started = clock::now();
    let image = store.pull(&registry, &image, &digest, Arc::default()).await?;
    let pulled = started.elapsed().as_secs_f64();
    let root = tokio::task::spawn_blocking(move || store.mount(&image.digest)).await??;
    let mounted = started.elapsed().as_secs_f64();
    let usage = usage()?;
    writeln!(
        std::io::stdout(),
        r#"{{"pulled_s":{pulled:.4},"mounted_s":{mounted:.4},"cpu_s":{:.2},"rss_max_kib":{},"written_kib":{},"lowers":{}}}"#,
        usage.cpu_s,
        usage.rss_max_kib,
        usage.written_kib,
        root.lowers.len()
    )?;
    Ok(())
}

fn choice(text: &str) -> anyhow::Result<FormatChoice> {
    Ok(match text {
        "auto" => FormatChoice::Auto,
        "directories" => FormatChoice::Directories,
        "loop" => FormatChoice::Loop,
        other => bail!("no such format: {other}"),
    })
}

struct Usage {
    cpu_s: f64,
    rss_max_kib: u64,
    written_kib: u64,
}

/// Of this process, from proc(5).
fn usage() -> anyhow::Result<Usage> {
    let field = |text: &str, name: &str| -> anyhow::Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        let number = line.split_whitespace().next().with_context(|| format!("empty {name}"))?;
        Ok(number.parse()?)
    };
    let status = std::fs::read_to_string("/proc/self/status")?;
    let io = std::fs::read_to_string("/proc/self/io")?;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').context("a process without a name")?.1;
    // utime and stime are the 14th and 15th field, the name is the 2nd.
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Usage {
        cpu_s: std::time::Duration::from_secs(ticks).as_secs_f64() / std::time::Duration::from_secs(per_second).as_secs_f64(),
        rss_max_kib: field(&status, "VmHWM:")?,
        written_kib: field(&io, "write_bytes:")? / 1024,
    })
}
