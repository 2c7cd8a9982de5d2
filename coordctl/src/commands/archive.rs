//! From an archive to an image, and to the fleet: `coordctl image build`, `coordctl deploy`.
//!
//! Recipe and document are checked here first, so that nobody waits for a long upload to learn of a misspelt key. Of a folder an archive
//! is packed into a file without a name; the same files give the same archive, wherever they are.

use super::status::{Goal, wait};
use super::{apply, files};
use crate::cli::{DeployArgs, Format, ImageBuildArgs, ImageOfArchiveArgs};
use crate::client::{ArchiveForm, Client};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use coord_archive::{PackLimits, pack};
use coord_shared::document::{DOCUMENT_MAX_BYTES, Diagnostics};
use coord_shared::names::{CENTRE, Repository};
use coord_shared::pipeline::Include;
use coord_shared::quantity::ByteSize;
use coord_shared::recipe;
use coord_shared::wire::ImageMade;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What builders set so that what they make has one time (reproducible-builds.org).
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

pub(super) async fn build(args: ImageBuildArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let fields = fields(&args.image, &args.repository, output)?;
    let form = form(&args.archive, args.image.exclude, fields, output).await?;
    let made = sending(&form, output, "making the image").watch(client.make_image(form)).await?;
    match args.format.format {
        Format::Json => output.json(&made)?,
        Format::Table => output.data(&format!("{}\n", reference(&made)))?,
    }
    Ok(Exit::Done)
}

pub(super) async fn deploy(args: DeployArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let document = files::load_good(std::slice::from_ref(&args.document), output.err_palette().on)?.into_iter().next();
    let document = document.ok_or_else(|| Failure::new(format!("{} is no document", args.document.display())))?;
    let workload = args.workload.unwrap_or_else(|| document.workload.clone());
    let repository: Repository = match args.repository {
        Some(repository) => repository,
        None => workload.as_str().parse().map_err(|error| {
            Failure::new(format!("{error}")).hint("say where in the image centre the image goes: --repository")
        })?,
    };
    let mut fields = fields(&args.image, &repository, output)?;
    fields.extend([("document", document.text.clone()), ("workload", workload.to_string())]);
    fields.extend(args.take_over.then(|| ("take_over", "true".to_owned())));
    let form = form(&args.archive, args.image.exclude, fields, output).await?;
    let deployed = sending(&form, output, "making the image").watch(client.deploy(form)).await?;
    match args.format.format {
        Format::Json => output.json(&deployed)?,
        Format::Table => output.message(&format!("made {}", reference(&deployed.image))),
    }
    apply::report(&deployed.document, args.format.format, output)?;
    if args.wait.wait {
        let view = deployed.document;
        let published = [(view.name, view.published.or(view.current))].into_iter().collect();
        wait(client, output, &Goal::Converged(published), args.wait.timeout.0).await?;
    }
    Ok(Exit::Done)
}

/// As a document names it.
fn reference(made: &ImageMade) -> String {
    let tag = made.tags.first().map_or_else(String::new, |tag| format!(":{tag}"));
    format!("{CENTRE}/{}{tag}@{}", made.repository, made.digest)
}

/// The form's fields but the archive; the recipe is checked on the way.
fn fields(args: &ImageOfArchiveArgs, repository: &Repository, output: &Output) -> Result<Vec<(&'static str, String)>, Failure> {
    let text = read_text(&args.recipe)?;
    recipe::parse(&text).map_err(|diagnostics| bad_recipe(&diagnostics, &args.recipe, &text, output))?;
    let mut fields = vec![("recipe", text), ("repository", repository.to_string())];
    let commit = args.commit.as_ref();
    fields.extend(args.tags.iter().map(|tag| ("tag", tag.clone())));
    if let (Some(commit), true) = (commit, args.tags.is_empty()) {
        fields.push(("tag", commit.short().to_owned()));
    }
    let at = args.at.clone().or_else(|| std::env::var(SOURCE_DATE_EPOCH).ok().filter(|at| !at.is_empty()));
    let optional = [
        ("platform", args.platform.clone()),
        ("commit", commit.map(ToString::to_string)),
        ("source", args.source.clone()),
        ("at", at),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    Ok(fields)
}

fn bad_recipe(diagnostics: &Diagnostics, path: &Path, text: &str, output: &Output) -> Failure {
    let rendered = diagnostics.render(&path.display().to_string(), text, output.err_palette().on);
    Failure::new(format!("{} cannot be used; nothing was sent", path.display())).detail(Some(rendered))
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let fail = |error: &dyn std::error::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let mut text = String::new();
    // A little more than allowed, so that what is too long is told as such.
    let mut file = File::open(path).map_err(|error| fail(&error))?.take(DOCUMENT_MAX_BYTES as u64 + 1);
    file.read_to_string(&mut text).map_err(|error| fail(&error))?;
    Ok(text)
}

/// The archive, packed first where it is a folder.
async fn form(
    path: &Path,
    exclude: Vec<String>,
    fields: Vec<(&'static str, String)>,
    output: &Output,
) -> Result<ArchiveForm, Failure> {
    let fail = |error: std::io::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let is_folder = std::fs::metadata(path).map_err(fail)?.is_dir();
    let (archive, bytes) = if is_folder {
        let folder = path.to_owned();
        let packing = tokio::task::spawn_blocking(move || pack_folder(&folder, &exclude));
        let packed = output.waiting(&format!("packing {}", path.display()), packing).await;
        packed.map_err(|_| Failure::new("packing was ended"))??
    } else {
        if !exclude.is_empty() {
            return Err(Failure::new(format!("{} is packed already", path.display())).hint("--exclude is for folders"));
        }
        let file = File::open(path).map_err(fail)?;
        let bytes = file.metadata().map_err(fail)?.len();
        (file, bytes)
    };
    Ok(ArchiveForm { fields, archive, bytes, sent: Arc::new(AtomicU64::new(0)) })
}

fn pack_folder(folder: &Path, exclude: &[String]) -> Result<(File, u64), Failure> {
    let disk = |error: std::io::Error| Failure::new(format!("cannot pack {}: {error}", folder.display()));
    let mut file = tempfile::tempfile().map_err(disk)?;
    let everything = [Include { path: ".".to_owned(), to: None }];
    let out = std::io::BufWriter::new(&file);
    let packed = pack(folder, &everything, exclude, out, &PackLimits::default()).map_err(|error| Failure::of(&error))?;
    file.rewind().map_err(disk)?;
    Ok((file, packed.bytes))
}

/// Says how far the sending is.
struct Sending<'a> {
    output: &'a Output,
    sent: Arc<AtomicU64>,
    bytes: u64,
    then: &'static str,
}

fn sending<'a>(form: &ArchiveForm, output: &'a Output, then: &'static str) -> Sending<'a> {
    Sending { output, sent: Arc::clone(&form.sent), bytes: form.bytes, then }
}

impl Sending<'_> {
    async fn watch<T>(self, work: impl Future<Output = T>) -> T {
        let words = || {
            let sent = self.sent.load(Ordering::Relaxed);
            if sent < self.bytes {
                format!("sending the archive: {} of {}", ByteSize(sent).human(), ByteSize(self.bytes).human())
            } else {
                self.then.to_owned()
            }
        };
        self.output.watching(words, work).await
    }
}

#[cfg(test)]
mod tests;
