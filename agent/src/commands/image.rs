//! `coord-agent image ...`.

use super::access::Access;
use super::{CommandError, Outcome, failure};
use crate::cli::{Format, ImageCommand};
use crate::output::Output;
use coord_agent::clock;
use coord_agent::config::Config;
use coord_agent::images::{Finding, ImageDetails, ImageRow, Pruned, PullProgress, Pulled, Verified};
use coord_shared::quantity::ByteSize;
use coord_shared::text::{Cell, Column, Shrink, Table, Tone, ago, printable};
use coord_shared::wire::ErrorBody;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Does one of them and shows what came of it.
pub(super) async fn run(
    command: ImageCommand,
    config: &Config,
    format: Format,
    output: &Output,
) -> Result<Outcome, CommandError> {
    let show = Show { format, output };
    let images = Access::open(config).await?;
    match command {
        ImageCommand::Ls => {
            let rows = images.list().await?;
            show.data(&rows, |output| table(&rows, output))?;
        }
        ImageCommand::Pull { image } => {
            let pulled = pull(&images, image, output).await?;
            show.data(&pulled, |_| pulled_line(&pulled))?;
        }
        ImageCommand::Mount { image, dir } => {
            let view = images.mount(image, absolute(&dir)?).await?;
            show.data(&view, |_| format!("{}\n", view.dir.display()))?;
        }
        ImageCommand::Unmount { dir } => {
            let view = images.unmount(absolute(&dir)?).await?;
            show.data(&view, |_| String::new())?;
        }
        ImageCommand::Inspect { image } => {
            let details = images.inspect(&image).await?;
            show.data(&details, |_| details_text(&details))?;
        }
        ImageCommand::Verify { image, repair } => {
            let verified = images.verify(image, repair).await?;
            show.data(&verified, |output| verified_text(&verified, output))?;
            let is_whole = verified.findings.iter().all(|finding| finding.is_repaired);
            return Ok(if is_whole { Outcome::Done } else { Outcome::Bad });
        }
        ImageCommand::Prune { all } => {
            let pruned = images.prune(all).await?;
            show.data(&pruned, |_| pruned_text(&pruned))?;
        }
    }
    Ok(Outcome::Done)
}

struct Show<'a> {
    format: Format,
    output: &'a Output,
}

impl Show<'_> {
    fn data(&self, body: &impl Serialize, text: impl FnOnce(&Output) -> String) -> std::io::Result<()> {
        match self.format {
            Format::Table => self.output.data(&text(self.output)),
            Format::Json => self.output.json(body),
        }
    }
}

/// The folder as the agent's process would find it too.
fn absolute(dir: &Path) -> Result<PathBuf, ErrorBody> {
    std::path::absolute(dir).map_err(|e| failure("invalid_folder", format!("cannot find {}: {e}", dir.display())))
}

pub(super) async fn pull(images: &Access<'_>, image: String, output: &Output) -> Result<Pulled, ErrorBody> {
    let mut line = output.progress();
    let name = image.clone();
    images.pull(image, |progress| line.show(&progress_text(&name, progress))).await
}

fn progress_text(image: &str, progress: PullProgress) -> String {
    let PullProgress { total_bytes, done_bytes, total_layers, done_layers } = progress;
    if total_layers == 0 {
        return format!("{image}: asking the registry");
    }
    let percent = done_bytes.saturating_mul(100).checked_div(total_bytes).unwrap_or(100);
    let (done, total) = (size(done_bytes), size(total_bytes));
    format!("{image}: {percent} %, {done} of {total}, {done_layers} of {total_layers} layers")
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).human()
}

fn pulled_line(pulled: &Pulled) -> String {
    let Pulled { reference, digest, was_here, download_bytes, seconds } = pulled;
    if *was_here {
        return format!("{reference}@{digest} was here already\n");
    }
    format!("{reference}@{digest}: {} in {seconds:.2} s\n", size(*download_bytes))
}

fn table(rows: &[ImageRow], output: &Output) -> String {
    let mut table = Table::new(&[
        Column::left("IMAGE").shrinks(Shrink::Start(20)),
        Column::left("DIGEST"),
        Column::right("LAYERS"),
        Column::right("SIZE"),
        Column::right("DISK"),
        Column::right("SHARED"),
        Column::right("LAST USED"),
        Column::left("USED BY").shrinks(Shrink::End(12)),
    ]);
    let now = clock::now().wall;
    for row in rows {
        let used_by = match &row.used_by[..] {
            [] => Cell::toned("-", Tone::Faint),
            names => Cell::new(names.join(", ")),
        };
        let last_used = match row.last_used {
            Some(then) if row.used_by.is_empty() => Cell::new(ago(now, then)),
            Some(_) | None => Cell::toned("-", Tone::Faint),
        };
        table.row([
            // The latest name; the others are in the details.
            Cell::new(row.references.last().map_or("-", String::as_str)),
            Cell::new(row.digest.short()),
            Cell::new(row.layers.to_string()),
            Cell::new(size(row.content_bytes)),
            Cell::new(size(row.disk_bytes)),
            Cell::new(size(row.shared_bytes)),
            last_used,
            used_by,
        ]);
    }
    table.render(output.width(), output.palette)
}

/// The details are made for programs; people read them well enough.
fn details_text(details: &ImageDetails) -> String {
    format!("{}\n", serde_json::to_string_pretty(details).unwrap_or_default())
}

fn verified_text(verified: &Verified, output: &Output) -> String {
    if verified.findings.is_empty() {
        return format!("{} as written\n", counted(verified.images, "image"));
    }
    let line = |finding: &Finding| {
        let word = if finding.is_repaired { ("repaired", Tone::Warn) } else { ("damaged", Tone::Bad) };
        format!("{}: {}\n", output.palette.paint(word.1, word.0), printable(&finding.text))
    };
    verified.findings.iter().map(line).collect()
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn pruned_text(pruned: &Pruned) -> String {
    let mut text: String = pruned.images.iter().map(|digest| format!("removed {digest}\n")).collect();
    let (images, layers) = (counted(pruned.images.len(), "image"), counted(pruned.layers, "layer"));
    text.push_str(&format!("{images} and {layers} removed, {}\n", size(pruned.content_bytes)));
    text
}
