//! Effects: an archive becomes an image, a document is published, people are told.
//!
//! Each is begun when the record of a run says that it is due, and what came of it is written to that record. All of them may be done
//! twice: the image of an archive is the same each time, a text that is published already makes no new revision, and whoever tells people
//! remembers what was told. What may get better by itself is tried again, with backoff; for how long is said here.

use super::image_key::with_image;
use super::records::RunRecord;
use crate::documents::publish::{Made, PublishError, Publisher, Submission, Submitted as Document};
use crate::records::Source;
use coord_shared::names::{CENTRE, Commit, Digest, ImageReference, PipelineName, Repository, RunId};
use coord_shared::pipeline::{NotifyTarget, Pipeline};
use coord_shared::recipe::Recipe;
use coord_shared::wire::{Deployed, ImageMade, Origin, RunState, RunView};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;

/// An archive that is to become an image.
#[derive(Debug, Clone)]
pub struct Assembly {
    /// The archive's file.
    pub archive: PathBuf,
    /// How it becomes one.
    pub recipe: Recipe,
    /// Where it goes.
    pub repository: Repository,
    /// The tags that move to it.
    pub tags: Vec<String>,
    /// The time of everything in it.
    pub at: Timestamp,
    /// Where its source lies, without credentials.
    pub source: String,
    /// Of which commit.
    pub commit: Commit,
    /// Of which run.
    pub run: RunId,
    /// Who wants it.
    pub who: String,
}

/// Why no image was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembleFailure {
    /// The problem, with its cure.
    pub message: String,
    /// Whether it may be gone after a while: a registry that is away, a disk that is full.
    pub is_passing: bool,
}

/// Makes images of archives.
pub trait Assemble: Send + Sync {
    /// The same archive and recipe make the same image.
    fn assemble(&self, assembly: Assembly) -> BoxFuture<'_, Result<ImageMade, AssembleFailure>>;
}

/// The end of a run that somebody wants to know of.
#[derive(Debug, Clone)]
pub struct Told {
    /// Which, and how it ended.
    pub run: RunView,
    /// The pipeline's text when it was made.
    pub pipeline: String,
    /// Who wants to know.
    pub targets: Vec<NotifyTarget>,
}

/// Tells people, or takes it upon itself to do so whatever happens to this process.
pub trait Tell: Send + Sync {
    /// Telling the same twice tells nobody twice. The error: why it could not even be noted.
    fn tell(&self, told: Told) -> BoxFuture<'_, Result<(), String>>;
}

/// Who wants to know of a run that ended so.
pub(super) fn targets(settings: &Pipeline, state: RunState) -> &[NotifyTarget] {
    match state {
        RunState::Failed => &settings.on_failure,
        RunState::Succeeded => &settings.on_success,
        RunState::Queued
        | RunState::Building
        | RunState::Assembling
        | RunState::Deploying
        | RunState::Cancelled
        | RunState::Superseded
        | RunState::Skipped
        | RunState::Unknown => &[],
    }
}

/// Why an effect came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The problem, with its cure.
    pub(super) message: String,
    /// Whether another try may help.
    pub(super) is_passing: bool,
}

/// What the archive of a run is to become.
pub(super) fn assembly(id: &RunId, run: &RunRecord, settings: &Pipeline, archive: PathBuf) -> Assembly {
    let mut tags = vec![run.head.commit.short().to_owned()];
    tags.extend(settings.image.tags.iter().filter(|tag| *tag != run.head.commit.short()).cloned());
    Assembly {
        archive,
        recipe: settings.image.recipe.clone(),
        repository: settings.image.repository.clone(),
        tags,
        at: run.about.as_ref().map_or(run.made_at, |about| about.at),
        source: super::views::source_url(&settings.source),
        commit: run.head.commit.clone(),
        run: id.clone(),
        who: run.cause.to_string(),
    }
}

/// Publishes the deploy requirement of a run with the image that it made.
pub(super) async fn publish(
    publisher: Arc<Publisher>,
    id: RunId,
    run: RunRecord,
    settings: Arc<Pipeline>,
) -> Result<Deployed, Failure> {
    let lasting = |message: String| Failure { message, is_passing: false };
    let (Some(deploy), Some(image)) = (&settings.deploy, &run.image) else {
        return Err(lasting("there is nothing to publish; run it again".to_owned()));
    };
    let path = &deploy.document;
    let text = run.deploy.as_ref().ok_or_else(|| lasting(format!("{path} is not in the repository")))?;
    let reference = reference(&image.repository, &run.head.commit, &image.digest).map_err(&lasting)?;
    let text = with_image(text, &reference).map_err(|error| lasting(format!("{path}: {error}")))?;
    let source = Source::Pipeline(id.pipeline.clone());
    let submission = Submission { name: deploy.workload.clone(), text, source, take_over: run.take_over };
    let subject = run.about.as_ref().map(|about| about.subject.clone()).unwrap_or_default();
    let origin = Origin { run: Some(id.clone()), commit: Some(run.head.commit.clone()), subject };
    let made = Made { digest: image.digest.clone(), origin, who: id.to_string() };
    match publisher.publish_made(&submission, &made).await {
        Ok(Document::Published(published)) => Ok(Deployed { workload: submission.name, revision: published.revision }),
        Ok(Document::Unchanged(revision)) => Ok(Deployed { workload: submission.name, revision }),
        Ok(Document::Waiting(_)) => Err(lasting(format!("workload {} waits for its image", submission.name))),
        Err(error) => Err(why(&error, path, &id.pipeline)),
    }
}

/// `coord.internal/REPOSITORY:COMMIT@DIGEST`: the tag is for people, the digest is what runs.
fn reference(repository: &Repository, commit: &Commit, digest: &Digest) -> Result<coord_shared::names::PinnedImage, String> {
    let reference = format!("{CENTRE}/{repository}:{}", commit.short());
    let reference: ImageReference = reference.parse().map_err(|error: coord_shared::names::NameError| error.to_string())?;
    Ok(reference.pin(digest.clone()))
}

fn why(error: &PublishError, path: &str, pipeline: &PipelineName) -> Failure {
    let lasting = |message: String| Failure { message, is_passing: false };
    match error {
        PublishError::Invalid { diagnostics, text, .. } => {
            let rendered = diagnostics.render(path, text, false);
            lasting(super::records::cut(&format!("{path} is no valid document:\n{rendered}"), PROBLEM_MAX_BYTES))
        }
        PublishError::Conflict { name, owner } => lasting(format!(
            "workload {name} belongs to {owner}; give it to this pipeline once: coordctl pipeline run {pipeline} --take-over"
        )),
        PublishError::Deleted { .. } | PublishError::NotFound(_) => lasting(error.to_string()),
        PublishError::Busy(_) | PublishError::Record(_) | PublishError::Store(_) => {
            Failure { message: coord_registry::chain(error), is_passing: true }
        }
    }
}

/// Longest problem of a run, in bytes: the first screen of a document's mistakes says enough.
const PROBLEM_MAX_BYTES: usize = 8 * 1024;
