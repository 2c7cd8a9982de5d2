//! The benchmarks: how long from saving a document to a running process and how much memory the daemons take; and, as
//! `coord-bench pull`, how long from an image in a registry to a mounted root file system. `coord-bench equal` compares what
//! is mounted with what other tools unpack.
//!
//! Real processes on this machine, as they ship (`tests/bench/run.sh` builds them). The moment at which a container runs
//! is when its own socket accepts a connection: no word of the product is taken for it. Beside it, other engines do the
//! same with the same image, where they are installed. The result is a Markdown table on standard output; what is going
//! on is on standard error.

mod chaos;
mod crashloop;
mod engines;
mod equal;
mod isolation;
mod line;
mod memory;
mod nested;
mod network;
mod ours;
mod publish;
mod pull;
mod registry;
mod rivals;
mod start;
mod table;
mod upgrade;
mod weight;

use anyhow::{Context, Result};
use coord_tests::need_root;

use table::Table;

/// What to measure, and how often.
struct Size {
    /// Times each thing is timed.
    runs: usize,
    /// Agents on this machine in the large fleet.
    agents: usize,
    /// Times the large fleet starts a workload.
    fleet_runs: usize,
}

const FULL: Size = Size { runs: 50, agents: 50, fleet_runs: 10 };
const QUICK: Size = Size { runs: 5, agents: 5, fleet_runs: 2 };

fn main() -> Result<()> {
    need_root();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let size = match words.as_slice() {
        ["pull", rest @ ..] => return pull::run(rest),
        ["equal", rest @ ..] => return equal::run(rest),
        ["isolation", rest @ ..] => return isolation::run(rest),
        ["start", rest @ ..] => return start::run(rest),
        ["memory", rest @ ..] => return weight::run(rest),
        ["nested", rest @ ..] => return nested::run(rest),
        ["network", rest @ ..] => return network::run(rest),
        ["chaos", rest @ ..] => return chaos::run(rest),
        ["upgrade", rest @ ..] => return upgrade::run(rest),
        ["crashloop", rest @ ..] => return crashloop::run(rest),
        ["registry", rest @ ..] => return registry::run(rest),
        ["line", rest @ ..] => return line::run(rest),
        [] => FULL,
        ["--quick"] => QUICK,
        _ => {
            let usage = [
                "usage: coord-bench [--quick]",
                pull::USAGE,
                equal::USAGE,
                isolation::USAGE,
                start::USAGE,
                weight::USAGE,
                nested::USAGE,
                network::USAGE,
                chaos::USAGE,
                upgrade::USAGE,
                crashloop::USAGE,
                registry::USAGE,
                line::USAGE,
            ]
            .join("\n");
            anyhow::bail!("unknown: {}\n{usage}", words.join(" "))
        }
    };
    let mut times = Table::new(&["from", "to", "runs", "median", "p99", "least", "most"]);
    publish::one_host(&size, &mut times).context("one host")?;
    engines::all(&size, &mut times);
    let mut bytes = Table::new(&["process", "PSS"]);
    memory::one_host(&mut bytes).context("memory on one host")?;
    publish::fleet(&size, &mut times, &mut bytes).context("a fleet")?;
    table::print(&[("Time", &times), ("Memory", &bytes)])
}
