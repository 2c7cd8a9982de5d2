//! Runs many simulated fleets: `coord-sim --seeds 10000 --from 0`. Ends with 1 at the first promise that is broken, having told the
//! story and the command that repeats it.

use anyhow::{Context as _, bail};
use coord_tests::sim::{self, Stats};
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let (from, seeds) = arguments()?;
    let mut out = std::io::stdout().lock();
    let mut total = Stats::default();
    for seed in from..from.saturating_add(seeds) {
        match sim::run(seed) {
            Ok(stats) => total += stats,
            Err(failure) => {
                writeln!(out, "{failure}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    writeln!(out, "{seeds} fleets from seed {from} on kept every promise: {total:?}")?;
    Ok(ExitCode::SUCCESS)
}

fn arguments() -> anyhow::Result<(u64, u64)> {
    let (mut from, mut seeds) = (0, 1000);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next().with_context(|| format!("{word} needs a number"))?;
        let number: u64 = number.parse().with_context(|| format!("{number:?} is no number"))?;
        match word.as_str() {
            "--from" => from = number,
            "--seeds" => seeds = number,
            other => bail!("{other:?} is not known; usage: coord-sim [--seeds N] [--from S]"),
        }
    }
    Ok((from, seeds))
}
