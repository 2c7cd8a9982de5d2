//! `coordctl history`: who changed a workload, when, and what.

use super::changes;
use crate::cli::{Format, HistoryArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Cell, Column, Output, Palette, Shrink, Table, Tone, age};
use coord_shared::wire::{ChangeView, HistoryAction, HistoryEntry, HistoryView};
use jiff::tz::TimeZone;

pub(super) async fn run(args: &HistoryArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let work = client.history(&args.workload);
    let view = output.waiting(&format!("reading the history of {}", args.workload), work).await?;
    match args.format.format {
        Format::Json => output.json(&view)?,
        Format::Table if args.verbose => output.data(&render_long(&view, &TimeZone::system(), output.palette))?,
        Format::Table => output.data(&render(&view, output.width(), output.palette))?,
    }
    Ok(Exit::Done)
}

const COLUMNS: [Column; 6] = [
    Column::right("REV"),
    Column::right("AGE"),
    Column::left("ACTION"),
    Column::left("WHO").shrinks(Shrink::End(8)),
    Column::left("IMAGE").shrinks(Shrink::Start(16)),
    Column::left("CHANGED").shrinks(Shrink::End(16)),
];

fn render(view: &HistoryView, width: Option<usize>, palette: Palette) -> String {
    let mut table = Table::new(&COLUMNS);
    for entry in &view.entries {
        let keys: Vec<&str> = entry.changes.iter().map(|change| change.key.as_str()).collect();
        // Of a creation every key is new; naming them all says nothing.
        let keys = if entry.action == HistoryAction::Update { keys.join(", ") } else { String::new() };
        table.row([
            Cell::new(entry.revision.to_string()),
            Cell::new(age(view.now, entry.at)),
            Cell::toned(action(entry.action), tone(entry.action)),
            Cell::new(&entry.who),
            Cell::new(entry.image.as_ref().map_or_else(|| "-".to_owned(), super::status::short_image)),
            Cell::new(keys),
        ]);
    }
    table.render(width, palette)
}

fn render_long(view: &HistoryView, zone: &TimeZone, palette: Palette) -> String {
    let entries: Vec<String> = view.entries.iter().map(|entry| long_entry(entry, zone, palette)).collect();
    entries.join("\n")
}

fn long_entry(entry: &HistoryEntry, zone: &TimeZone, palette: Palette) -> String {
    let revision = palette.paint(Tone::Strong, &format!("revision {}", entry.revision));
    let at = entry.at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z");
    let verb = palette.paint(tone(entry.action), action(entry.action));
    let mut text = format!("{revision}  {verb} by {} through {} at {at}\n", entry.who, entry.source);
    if let Some(image) = &entry.image {
        text.push_str(&format!("  image   {image}\n"));
    }
    if let Some(digest) = &entry.digest {
        text.push_str(&format!("  digest  {digest}\n"));
    }
    let changes: &[ChangeView] = if entry.action == HistoryAction::Delete { &[] } else { &entry.changes };
    text.push_str(&changes::lines(changes, entry.action == HistoryAction::Update, palette));
    text
}

fn action(action: HistoryAction) -> &'static str {
    match action {
        HistoryAction::Create => "created",
        HistoryAction::Update => "updated",
        HistoryAction::Delete => "deleted",
    }
}

fn tone(action: HistoryAction) -> Tone {
    match action {
        HistoryAction::Create => Tone::Good,
        HistoryAction::Update => Tone::Plain,
        HistoryAction::Delete => Tone::Bad,
    }
}

#[cfg(test)]
mod tests;
