//! Numbers as people read them: medians, percentiles, Markdown.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;

/// A Markdown table.
pub(crate) struct Table {
    lines: Vec<String>,
}

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Table {
        let rule = columns.iter().map(|_| "---").collect::<Vec<_>>();
        let mut table = Table { lines: Vec::new() };
        table.row(columns);
        table.row(&rule);
        table
    }

    pub(crate) fn row<T: AsRef<str>>(&mut self, cells: &[T]) {
        let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
        self.lines.push(format!("| {} |", cells.join(" | ")));
    }

    /// One row of a table of times. Times are sorted here.
    pub(crate) fn times(&mut self, from: &str, to: &str, mut times: Vec<Duration>) {
        times.sort();
        let cells = [
            from.to_owned(),
            to.to_owned(),
            times.len().to_string(),
            show(percentile(&times, 50)),
            show(percentile(&times, 99)),
            show(times.first().copied()),
            show(times.last().copied()),
        ];
        self.row(&cells);
    }
}

/// The smallest of the sorted times that `percent` of a hundred do not exceed.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

pub(crate) fn show(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1000.0))
}

/// `1.23 MiB`.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / (1024.0 * 1024.0))
}

/// Everything, with headings.
pub(crate) fn print(tables: &[(&str, &Table)]) -> Result<()> {
    let mut text = String::new();
    for (title, table) in tables {
        write!(text, "\n### {title}\n\n{}\n", table.lines.join("\n"))?;
    }
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
