//! `coordctl image`: what the image centre holds, removing it, collecting what nothing needs.

use crate::cli::{Format, ImageArgs, ImageCommand};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Cell, Column, Output, Palette, Shrink, Table, Tone, ago};
use coord_shared::quantity::ByteSize;
use coord_shared::wire::{CollectedView, ImagesView};

/// Characters of a digest that are shown in a table: enough to find it.
const DIGEST_SHOWN_CHARS: usize = "sha256:".len() + 12;
/// Reasons that a table shows before it counts the rest.
const KEPT_BY_SHOWN: usize = 2;

pub(super) async fn run(args: ImageArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    match args.command {
        ImageCommand::Build(args) => return super::archive::build(*args, client, output).await,
        ImageCommand::Ls { repository, format } => {
            let view = output.waiting("reading the images", client.images(repository.as_ref())).await?;
            match format.format {
                Format::Json => output.json(&view)?,
                Format::Table => {
                    if view.repositories.is_empty() {
                        output.message("there are no images; push some to the coordinator, or run a pipeline");
                    } else {
                        output.data(&render(&view, output.width(), output.palette))?;
                    }
                    output.message(&stored(&view));
                }
            }
        }
        ImageCommand::Rm { images } => {
            for image in images {
                let removing = client.remove_image(&image.repository, image.reference.as_deref());
                let removed = output.waiting(&format!("removing from {}", image.repository), removing).await?;
                for name in removed.tags.iter().chain(&removed.manifests) {
                    output.message(&format!("{name} is removed"));
                }
            }
        }
        ImageCommand::Gc { dry_run, format } => {
            let view = output.waiting("collecting", client.collect_images(dry_run)).await?;
            match format.format {
                Format::Json => output.json(&view)?,
                Format::Table => collected(&view, output)?,
            }
        }
    }
    Ok(Exit::Done)
}

const COLUMNS: [Column; 6] = [
    Column::left("REPOSITORY").shrinks(Shrink::End(16)),
    Column::left("TAGS").shrinks(Shrink::End(12)),
    Column::left("DIGEST"),
    Column::right("SIZE"),
    Column::right("PUSHED"),
    Column::left("KEPT BY").shrinks(Shrink::End(16)),
];

fn render(view: &ImagesView, width: Option<usize>, palette: Palette) -> String {
    let mut table = Table::new(&COLUMNS);
    for repository in &view.repositories {
        for image in &repository.images {
            let tags = if image.tags.is_empty() { "-".to_owned() } else { image.tags.join(", ") };
            let digest: String = image.digest.as_str().chars().take(DIGEST_SHOWN_CHARS).collect();
            table.row([
                Cell::new(&repository.name),
                Cell::new(tags),
                Cell::new(digest),
                Cell::new(ByteSize(image.bytes).human()),
                Cell::new(ago(view.now, image.pushed_at)),
                kept_by(&image.kept_by),
            ]);
        }
    }
    table.render(width, palette)
}

fn kept_by(reasons: &[String]) -> Cell {
    if reasons.is_empty() {
        return Cell::toned("nothing", Tone::Faint);
    }
    let shown = reasons.iter().take(KEPT_BY_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match reasons.len().saturating_sub(KEPT_BY_SHOWN) {
        0 => Cell::new(shown),
        more => Cell::new(format!("{shown} and {more} more")),
    }
}

fn stored(view: &ImagesView) -> String {
    let stored = ByteSize(view.stored_bytes).human();
    match view.quota_bytes {
        Some(quota) => format!("{stored} stored, each blob counted once, of {} that may be", ByteSize(quota).human()),
        None => format!("{stored} stored, each blob counted once"),
    }
}

fn collected(view: &CollectedView, output: &Output) -> Result<(), Failure> {
    for name in view.tags.iter().chain(&view.manifests) {
        output.data(&format!("{name}\n"))?;
    }
    let word = if view.dry_run { "would be removed" } else { "removed" };
    let (tags, images, blobs) = (view.tags.len(), view.manifests.len(), view.blobs);
    let (freed, kept) = (ByteSize(view.freed_bytes).human(), ByteSize(view.kept_bytes).human());
    output.message(&format!("{tags} tags, {images} images and {blobs} blobs {word}: {freed}; {kept} stay"));
    if view.gave_way > 0 {
        output.message(&format!("{} were just used by somebody, and stay until the next time", view.gave_way));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expect::expect;

    #[test]
    fn images_are_listed_with_what_keeps_them() {
        let view: ImagesView = serde_json::from_str(include_str!("image/tests/images.json")).expect("a view");
        expect("src/commands/image/tests/images.txt", &render(&view, Some(120), Palette { on: false }));
        assert_eq!(stored(&view), "120 MiB stored, each blob counted once, of 10.0 GiB that may be");
    }
}
