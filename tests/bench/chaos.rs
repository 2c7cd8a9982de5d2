//! Chaos in earnest: `coord-bench chaos [KILLS [SEED [NETWORK]]]`; the suite makes twenty blows, this makes two hundred.

use anyhow::{Context, Result, bail};
use coord_tests::chaos;

use crate::table::{self, Table};

pub(crate) const USAGE: &str = "       coord-bench chaos [KILLS [SEED [none|bridge]]]";

const KILLS: usize = 200;

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let number = |text: &str| text.parse::<u64>().with_context(|| format!("{text:?} is no number\n{USAGE}"));
    let (kills, seed, network) = match words {
        [] => (KILLS as u64, 1, "none"),
        [kills] => (number(kills)?, 1, "none"),
        [kills, seed] => (number(kills)?, number(seed)?, "none"),
        [kills, seed, network] => (number(kills)?, number(seed)?, *network),
        _ => bail!("unknown: {}\n{USAGE}", words.join(" ")),
    };
    let report = chaos::run(usize::try_from(kills)?, seed, network)?;
    let mut table = Table::new(&["killed", "times"]);
    report.kills.iter().for_each(|(victim, count)| table.row(&[(*victim).to_owned(), count.to_string()]));
    table.row(&["containers started anew, each because it or its shim was killed".to_owned(), report.restarts.to_string()]);
    table.row(&["lines of logs, without a hole".to_owned(), report.lines.to_string()]);
    table.row(&["left behind".to_owned(), "nothing".to_owned()]);
    table::print(&[("Chaos", &table)])
}
