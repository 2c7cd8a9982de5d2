//! `coordctl volume`: shows and removes what containers have left on a host.

use crate::cli::{Format, VolumeArgs, VolumeCommand};
use crate::client::Client;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::output::{Cell, Column, Output, Palette, Shrink, Table, Tone};
use coord_shared::quantity::ByteSize;
use coord_shared::text::age;
use coord_shared::wire::VolumesView;
use jiff::Timestamp;

pub(super) async fn run(args: VolumeArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    match args.command {
        VolumeCommand::Ls { host, format } => {
            let view = output.waiting("waiting for the host to answer", client.volumes(&host)).await?;
            match format.format {
                Format::Json => output.json(&view)?,
                Format::Table if view.volumes.is_empty() => output.message(&format!("host {host} has no volumes")),
                Format::Table => output.data(&render(&view, clock::wall(), output.width(), output.palette))?,
            }
        }
        VolumeCommand::Rm { host, names } => {
            for name in names {
                let removing = client.remove_volume(&host, &name);
                output.waiting(&format!("removing {name}"), removing).await?;
                output.message(&format!("volume {name} of host {host} is deleted"));
            }
        }
    }
    Ok(Exit::Done)
}

const COLUMNS: [Column; 5] = [
    Column::left("VOLUME").shrinks(Shrink::End(16)),
    Column::right("SIZE"),
    Column::right("AGE"),
    Column::left("MADE FOR").shrinks(Shrink::End(12)),
    Column::left("USED BY").shrinks(Shrink::End(12)),
];

fn render(view: &VolumesView, now: Timestamp, width: Option<usize>, palette: Palette) -> String {
    let mut table = Table::new(&COLUMNS);
    for volume in &view.volumes {
        let users: Vec<String> = volume.used_by.iter().map(ToString::to_string).collect();
        table.row([
            Cell::new(&volume.name),
            Cell::new(volume.disk_bytes.map_or_else(|| "?".to_owned(), |bytes| ByteSize(bytes).human())),
            Cell::new(volume.created.map_or_else(|| "?".to_owned(), |at| age(now, at))),
            Cell::new(volume.instance.as_ref().map(ToString::to_string).unwrap_or_default()),
            if users.is_empty() { Cell::toned("nothing", Tone::Faint) } else { Cell::new(users.join(", ")) },
        ]);
    }
    table.render(width, palette)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expect::expect;

    #[test]
    fn volumes_as_a_table() {
        let view: VolumesView = serde_json::from_str(include_str!("volume/tests/volumes.json")).unwrap();
        let now = "2026-11-22T20:00:00Z".parse().expect("a time");
        expect("src/commands/volume/tests/volumes.txt", &render(&view, now, Some(100), Palette { on: false }));
    }
}
