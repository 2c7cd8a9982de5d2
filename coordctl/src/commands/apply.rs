//! `coordctl apply`: publishes documents.
//!
//! All files are checked before the first is sent. Each is then published by itself: the coordinator knows no set of documents, so
//! one that it refuses does not undo the others, and is said.

use super::status::{Goal, wait};
use super::{changes, diff, files};
use crate::cli::{ApplyArgs, Format};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Palette, Tone};
use coord_shared::decide::reason::Reason;
use coord_shared::wire::DiffView;

pub(super) async fn run(args: &ApplyArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let files = files::load_good(&args.paths, output.err_palette().on)?;
    let mut views = Vec::with_capacity(files.len());
    let mut exit = Exit::Done;
    for file in &files {
        let publish = client.publish(&file.workload, &file.text, args.take_over);
        match output.waiting(&format!("publishing {}", file.workload), publish).await {
            Ok(view) => {
                report(&view, args.format.format, output)?;
                views.push(view);
            }
            Err(error) => {
                let concerns_this_one = error.is_about_the_object();
                let failure = diff::refused(error.into(), file);
                // A coordinator that is away, or does not know us, will be no different for the next file.
                if !concerns_this_one {
                    return Err(failure);
                }
                output.failure(&failure);
                exit = Exit::Error;
            }
        }
    }
    if args.format.format == Format::Json {
        output.json(&views)?;
    }
    if args.wait.wait && !views.is_empty() {
        let published = views.into_iter().map(|view| (view.name, view.published.or(view.current))).collect();
        wait(client, output, &Goal::Converged(published), args.wait.timeout.0).await?;
    }
    Ok(exit)
}

/// Says it at once: the next file may take long, or fail.
pub(super) fn report(view: &DiffView, format: Format, output: &Output) -> std::io::Result<()> {
    if format == Format::Table {
        output.data(&render(view, output.palette))?;
    }
    for note in changes::notes(view) {
        output.warning(&format!("{}: {note}", view.name));
    }
    Ok(())
}

fn render(view: &DiffView, palette: Palette) -> String {
    let name = palette.paint(Tone::Strong, view.name.as_str());
    let hosts = changes::hosts(view, false);
    let hosts = if hosts.is_empty() { hosts } else { format!("; {hosts}") };
    let waits = view.reasons.iter().any(|reason| matches!(reason, Reason::ImageUnresolved { .. }));
    match (view.published, view.current) {
        (Some(revision), _) => format!("{name}: revision {revision}{hosts}\n"),
        (None, Some(revision)) if waits => format!("{name}: accepted, not yet published; revision {revision} stays until then\n"),
        (None, None) => format!("{name}: accepted, not yet published\n"),
        (None, Some(revision)) => format!("{name}: unchanged, revision {revision}\n"),
    }
}
