//! `coordctl diff`: what publishing would change, and on which hosts.
//!
//! The coordinator compares, because it knows what is published and which hosts there are.

use super::files::{self, DocumentFile};
use super::{changes, words};
use crate::cli::{DiffArgs, Format};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Palette, Tone};
use coord_shared::wire::DiffView;

pub(super) async fn run(args: &DiffArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let files = files::load_good(&args.paths, output.err_palette().on)?;
    let mut views = Vec::with_capacity(files.len());
    for file in &files {
        let view = output.waiting(&format!("comparing {}", file.workload), client.diff(&file.workload, &file.text)).await;
        views.push(view.map_err(|error| refused(error.into(), file))?);
    }
    match args.format.format {
        Format::Table => {
            for view in &views {
                output.data(&render(view, args.verbose, output.palette))?;
            }
        }
        Format::Json => output.json(&views)?,
    }
    let changed = views.iter().filter(|view| changes::is_change(view)).count();
    if changed == 0 {
        output.message("nothing would change");
        return Ok(Exit::Done);
    }
    output.message(&format!("{} would change", words::count(changed, "workload")));
    Ok(Exit::Changes)
}

/// Adds the file's name, which the coordinator does not know.
pub(super) fn refused(failure: Failure, file: &DocumentFile) -> Failure {
    failure.about(&file.path.display().to_string())
}

fn render(view: &DiffView, all_hosts: bool, palette: Palette) -> String {
    let name = palette.paint(Tone::Strong, view.name.as_str());
    let mut text = match (view.current, changes::is_change(view)) {
        (Some(revision), false) => format!("{name}: no change, stays at revision {revision}\n"),
        (None, false) => format!("{name}: no change\n"),
        (Some(revision), true) => format!("{name}: would follow revision {revision}\n"),
        (None, true) => format!("{name}: new\n"),
    };
    text.push_str(&changes::lines(&view.changes, view.current.is_some(), palette));
    let hosts = changes::hosts(view, all_hosts);
    if !hosts.is_empty() {
        text.push_str(&format!("  {hosts}\n"));
    }
    for note in changes::notes(view) {
        text.push_str(&format!("  {} {note}\n", palette.paint(Tone::Warn, "note:")));
    }
    text
}
