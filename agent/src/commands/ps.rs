//! `coord-agent ps`: the host's instances.

use super::{CommandError, Outcome, without_agent};
use crate::cli::Format;
use crate::output::Output;
use coord_agent::clock;
use coord_agent::config::Config;
use coord_agent::containers::{self, ContainersError, InstanceRow};
use coord_agent::control::Client;
use coord_agent::sync::ledger::Ledger;
use coord_shared::text::nested::branches;
use coord_shared::text::{Cell, Column, Shrink, Table, Tone, age};
use coord_shared::wire::{ErrorBody, HealthStatus, InstanceReport, InstanceState};
use jiff::Timestamp;

/// Of the second containers of an instance that ended, so many are listed; JSON has them all.
const ENDED_MAX: usize = 3;

pub(super) async fn run(config: &Config, format: Format, output: &Output) -> Result<Outcome, CommandError> {
    let rows = match Client::new(&config.run_dir).get::<Vec<InstanceRow>>("/v1/instances").await {
        Err(error) if error.code == "unreachable" => {
            let rows = on_disk(config)?;
            without_agent(output);
            rows
        }
        answer => answer?,
    };
    let now = clock::now().wall;
    let one_offs = containers::one_offs(config, now).map_err(ErrorBody::from)?;
    let steps = containers::steps(config, now).map_err(ErrorBody::from)?;
    let rows = [rows, one_offs, steps].concat();
    match format {
        Format::Json => output.json(&rows)?,
        Format::Table => output.data(&table(&rows, now).render(output.width(), output.palette))?,
    }
    Ok(Outcome::Done)
}

fn on_disk(config: &Config) -> Result<Vec<InstanceRow>, ErrorBody> {
    let reports = containers::reports(config, clock::now().wall)?;
    let ledger = Ledger::of_any_host(&config.state_dir).map_err(ContainersError::Ledger)?;
    Ok(containers::rows(&reports, &ledger))
}

fn table(rows: &[InstanceRow], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        Column::left("INSTANCE"),
        Column::left("STATE"),
        Column::left("READY"),
        Column::right("RESTARTS"),
        Column::right("AGE"),
        Column::left("ADDRESS"),
        Column::left("PORTS").shrinks(Shrink::End(12)),
        Column::left("IMAGE").shrinks(Shrink::Start(20)),
    ]);
    let or_dash = |text: String| if text.is_empty() { Cell::toned("-", Tone::Faint) } else { Cell::new(text) };
    for InstanceRow { report, image, ports } in rows {
        let (ready, tone) = if report.ready { ("yes", Tone::Good) } else { ("no", Tone::Warn) };
        table.row([
            Cell::new(report.instance.to_string()),
            state(report),
            Cell::toned(ready, tone),
            Cell::new(report.restarts.to_string()),
            Cell::new(age(now, report.since)),
            or_dash(report.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
            or_dash(ports.join(", ")),
            or_dash(image.clone().unwrap_or_default()),
        ]);
        notes(&mut table, report, now);
    }
    table
}

fn state(report: &InstanceReport) -> Cell {
    let tone = if report.state == InstanceState::Running { Tone::Good } else { Tone::Plain };
    match report.health.as_ref().map(|health| health.status) {
        None => Cell::toned(report.state.to_string(), tone),
        Some(HealthStatus::Healthy) => Cell::toned(format!("{} (healthy)", report.state), tone),
        Some(HealthStatus::Starting) => Cell::toned(format!("{} (starting)", report.state), Tone::Plain),
        Some(HealthStatus::Unhealthy) => Cell::toned(format!("{} (unhealthy)", report.state), Tone::Bad),
        Some(HealthStatus::Unknown) => Cell::toned(format!("{} (health unknown)", report.state), Tone::Plain),
    }
}

/// Why it is not as desired, how it ended last, and what runs within it.
fn notes(table: &mut Table, report: &InstanceReport, now: Timestamp) {
    if let Some(reason) = &report.reason {
        let tone = if report.ready { Tone::Faint } else { Tone::Warn };
        table.note(Cell::default(), Cell::toned(reason.to_string(), tone), "");
    } else if let Some(exit) = report.last_exit.filter(|_| report.state != InstanceState::Running) {
        table.note(Cell::default(), Cell::toned(exit.to_string(), Tone::Faint), "");
    }
    for branch in report.nested.iter().flat_map(|nested| branches(nested, now, ENDED_MAX)) {
        table.note(Cell::new(branch.head), Cell::toned(branch.text, branch.tone), "");
    }
}
