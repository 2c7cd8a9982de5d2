//! What is measured against, and what makes measuring fair: warm memory, warm files, a quiet disk.

use std::process::Command;

use anyhow::{Context, Result, bail};
use coord_tests::process::describe;
use coord_tests::say;

use super::images::Served;

/// Of the free memory, how much is touched before the first run.
const WARM_PERCENT: u64 = 60;

pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The command lines of the floor: every layer from the registry through the fastest inflater into nothing, `workers` at a time.
pub(crate) fn lines(image: &Served, workers: usize) -> Vec<Vec<String>> {
    let inflate = if image.zstd { "zstd -dcq" } else { "igzip -dc" };
    let script = format!(
        "printf '%s\\n' \"$@\" | xargs -P {workers} -I URL sh -c 'set -o pipefail; curl -sfS URL | {inflate} >/dev/null'"
    );
    let mut line: Vec<String> = ["bash", "-c", &script.replace("sh -c", "bash -c"), "floor"].map(str::to_owned).to_vec();
    line.extend(image.layers.iter().cloned());
    vec![line]
}

/// The registry's files into the page cache.
pub(crate) fn warm_pages(image: &Served) -> Result<()> {
    for url in &image.layers {
        let got = Command::new("curl").args(["-sfS", "-o", "/dev/null", url]).output().context("run curl")?;
        if !got.status.success() {
            bail!("fetch {url}: {}", describe(&got));
        }
    }
    Ok(())
}

/// A virtual machine gets its memory from its host at the first touch of every page, which is ten times slower than
/// using it. So most of the free memory is touched once, by a process of its own: the peak memory of a parent is
/// passed on to the children that it starts, and would be measured as theirs.
pub(crate) fn warm_memory() -> Result<()> {
    let text = std::fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemFree:"));
    let free_kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok());
    let mib = free_kib.context("/proc/meminfo has no MemFree")? * WARM_PERCENT / 100 / 1024;
    say(&format!("touching {mib} MiB of memory"));
    // One pipe buffer of that size: dd allocates it, and reading zeros into it touches every page.
    let (size, count) = (format!("bs={}M", mib.clamp(1, 1024)), format!("count={}", mib.div_ceil(1024)));
    let file = tempfile::Builder::new().prefix("coord-warm-").tempfile_in("/dev/shm").context("a file in memory")?;
    let to = format!("of={}", file.path().display());
    let touched = Command::new("dd").args(["if=/dev/zero", &to, &size, &count]).output().context("run dd")?;
    if !touched.status.success() {
        say(&format!("not all memory could be touched: {}", describe(&touched)));
    }
    Ok(())
}

/// Lets the disk write what earlier runs have left to it.
pub(crate) fn settle() {
    nix::unistd::sync();
}
