//! `coord-agent top`: what each container uses, again and again.

mod rates;
#[cfg(test)]
mod tests;

use super::{CommandError, Outcome};
use crate::cli::{Format, TopArgs};
use crate::output::Output;
use coord_agent::config::Config;
use coord_agent::control::Client;
use coord_agent::metrics::UsageRow;
use coord_shared::quantity::ByteSize;
use coord_shared::text::{Cell, Column, Table, Tone};
use rates::{Rates, rates};
use std::time::Duration;

/// Between two looks: long enough for a share of processor time to mean something.
const PAUSE: Duration = Duration::from_secs(2);
/// Between the two looks that a single table takes.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Share of a limit from which it is shown as a warning, in percent.
const NEAR_LIMIT_PERCENT: u64 = 90;
/// The screen is cleared from the cursor on, which goes to its upper left corner (ECMA-48).
const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";

pub(super) async fn run(args: &TopArgs, config: &Config, output: &Output) -> Result<Outcome, CommandError> {
    let client = Client::new(&config.run_dir);
    // Where nobody looks, one table is enough.
    let refreshes = output.is_terminal() && args.format.format == Format::Table;
    let tables = args.tables.or((!refreshes).then_some(1));
    let mut before = client.get::<Vec<UsageRow>>("/v1/usage").await?;
    let mut pause = FIRST_PAUSE;
    let mut shown = 0;
    while tables.is_none_or(|tables| shown < tables) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Outcome::Done),
        }
        let now = client.get::<Vec<UsageRow>>("/v1/usage").await?;
        let rates = rates(&before, &now);
        match args.format.format {
            Format::Json => output.json(&rates)?,
            Format::Table => {
                let clear = if refreshes && tables != Some(1) { HOME_AND_CLEAR } else { "" };
                output.data(&format!("{clear}{}", table(&rates).render(output.width(), output.palette)))?;
            }
        }
        (before, pause, shown) = (now, PAUSE, shown + 1);
    }
    Ok(Outcome::Done)
}

fn table(rates: &[Rates]) -> Table {
    let mut table = Table::new(&[
        Column::left("INSTANCE"),
        Column::right("CPU"),
        Column::right("MEMORY"),
        Column::right("LIMIT"),
        Column::right("PIDS"),
        Column::right("READ"),
        Column::right("WRITTEN"),
        Column::right("RECEIVED"),
        Column::right("SENT"),
    ]);
    for Rates { usage, cpu_permille, .. } in rates {
        table.row([
            Cell::new(usage.instance.to_string()),
            match cpu_permille {
                Some(permille) => limited(permille_text(*permille), *permille, usage.cpus_milli.map(u64::from)),
                None => dash(),
            },
            match usage.memory_bytes {
                Some(bytes) => limited(size(bytes), bytes, usage.memory_limit_bytes),
                None => dash(),
            },
            or_dash(usage.memory_limit_bytes.map(size)),
            match usage.pids {
                Some(pids) => limited(pids.to_string(), pids, usage.pids_limit),
                None => dash(),
            },
            Cell::new(size(usage.read_bytes)),
            Cell::new(size(usage.written_bytes)),
            or_dash(usage.received_bytes.map(size)),
            or_dash(usage.sent_bytes.map(size)),
        ]);
    }
    table
}

/// Of one processor, as docker shows it.
fn permille_text(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

fn limited(text: String, value: u64, limit: Option<u64>) -> Cell {
    let is_near = limit.is_some_and(|limit| value.saturating_mul(100) >= limit.saturating_mul(NEAR_LIMIT_PERCENT));
    if is_near { Cell::toned(text, Tone::Warn) } else { Cell::new(text) }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).human()
}

fn or_dash(text: Option<String>) -> Cell {
    text.map_or_else(dash, Cell::new)
}

fn dash() -> Cell {
    Cell::toned("-", Tone::Faint)
}
