//! Archives over the API: one becomes an image (`POST /v1/images`), or an image and a published document (`POST /v1/deployments`).
//!
//! Both take a form (`multipart/form-data`), so that curl is client enough:
//! `curl -F archive=@app.tar.gz -F recipe=@image.toml -F repository=shop -F tag=1.2 ...`. Whatever can be judged without the archive is
//! judged first, and nothing is published before the image is there.

mod form;

use super::auth::Admin;
use super::documents::{changed, unchanged};
use super::error::ApiError;
use super::{App, Shared};
use crate::documents::publish::{self, Made, Submission, Submitted};
use crate::images::{AssembleError, Assembler, Assembly};
use crate::pipeline::with_image;
use crate::records::Source;
use axum::Json;
use axum::extract::State;
use axum::extract::multipart::{Multipart, MultipartRejection};
use axum::http::StatusCode;
use coord_centre::CentreError;
use coord_shared::document::Document;
use coord_shared::names::{CENTRE, Digest, ImageReference, PinnedImage, Repository, WorkloadName};
use coord_shared::wire::{DeploymentView, ImageMade, Origin};
use form::{Form, Whole};

type FormBody = Result<Multipart, MultipartRejection>;

/// `POST /v1/images`.
pub(super) async fn make(State(app): Shared, Admin { name: who }: Admin, body: FormBody) -> Result<Json<ImageMade>, ApiError> {
    let assembler = assembler(&app)?;
    let form = Form::read(body.map_err(ApiError::bad_request)?, assembler.work_dir()).await?;
    let whole = form.whole()?;
    if whole.document.is_some() {
        return Err(ApiError::bad_request("there is a document in the form").hint("to publish it, use /v1/deployments"));
    }
    Ok(Json(assemble(assembler, &whole, who).await?))
}

/// `POST /v1/deployments`.
pub(super) async fn deploy(
    State(app): Shared,
    Admin { name: who }: Admin,
    body: FormBody,
) -> Result<(StatusCode, Json<DeploymentView>), ApiError> {
    let assembler = assembler(&app)?;
    let form = Form::read(body.map_err(ApiError::bad_request)?, assembler.work_dir()).await?;
    let whole = form.whole()?;
    let (name, text) = whole
        .document
        .clone()
        .ok_or_else(|| ApiError::bad_request("no document in the form").hint("add document=@web.toml and workload=web"))?;
    // With some digest in its place the rest of the document can be judged before anything is made.
    published_text(&name, &text, &whole, &Digest::of(b""))?;
    let submission = |text| Submission { name: name.clone(), text, source: Source::Api(who.clone()), take_over: whole.take_over };
    app.publisher.may_submit(&submission(text.clone())).await?;
    let image = assemble(assembler, &whole, who.clone()).await?;
    let (text, document) = published_text(&name, &text, &whole, &image.digest)?;
    let before = std::sync::Arc::clone(&app.board.borrow());
    let origin = Origin { run: None, commit: whole.commit.clone(), subject: String::new() };
    let made = Made { digest: image.digest.clone(), origin, who: who.clone() };
    let document = match app.publisher.publish_made(&submission(text), &made).await? {
        Submitted::Published(published) => changed(&app, &before, &name, &document, published).await,
        Submitted::Unchanged(_) => unchanged(&before, &name, &document),
        Submitted::Waiting(_) => return Err(ApiError::unavailable(format!("workload {name} waits for its image"))),
    };
    Ok((StatusCode::OK, Json(DeploymentView { image, document })))
}

fn assembler(app: &App) -> Result<&Assembler, ApiError> {
    app.assembler.as_ref().ok_or_else(|| ApiError::not_found("this coordinator has no image centre"))
}

async fn assemble(assembler: &Assembler, whole: &Whole, who: String) -> Result<ImageMade, ApiError> {
    let Whole { archive, recipe, repository, tags, at, source, commit, .. } = whole;
    let assembly = Assembly {
        archive: archive.to_path_buf(),
        recipe: recipe.clone(),
        repository: repository.clone(),
        tags: tags.clone(),
        at: *at,
        source: source.clone(),
        commit: commit.clone(),
        run: None,
        who,
    };
    Ok(assembler.assemble(assembly).await?)
}

/// The document with the image in it.
fn published_text(name: &WorkloadName, text: &str, whole: &Whole, digest: &Digest) -> Result<(String, Document), ApiError> {
    let image = reference(&whole.repository, whole.tag(), digest)?;
    // What is not even TOML is told by its own parser, with its places.
    let text = with_image(text, &image).unwrap_or_else(|_| text.to_owned());
    let document = publish::parse(name, &text)?;
    Ok((text, document))
}

/// `coord.internal/REPOSITORY:TAG@DIGEST`: the tag is for people, the digest is what runs.
fn reference(repository: &Repository, tag: &str, digest: &Digest) -> Result<PinnedImage, ApiError> {
    let reference: ImageReference = format!("{CENTRE}/{repository}:{tag}").parse()?;
    Ok(reference.pin(digest.clone()))
}

impl From<AssembleError> for ApiError {
    fn from(error: AssembleError) -> Self {
        let message = coord_registry::chain(&error);
        let (status, code) = match &error {
            AssembleError::Centre { source: CentreError::Full(_) } => (StatusCode::INSUFFICIENT_STORAGE, "full"),
            AssembleError::Archive { source } if source.is_full() => (StatusCode::INSUFFICIENT_STORAGE, "full"),
            AssembleError::Registry { source, .. } if source.is_retryable() => (StatusCode::BAD_GATEWAY, "registry_unavailable"),
            AssembleError::Ending => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            _ if error.is_passing() => return Self::internal(&error),
            AssembleError::Archive { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_archive"),
            AssembleError::Tag { .. } => (StatusCode::BAD_REQUEST, "bad_request"),
            AssembleError::Registry { .. }
            | AssembleError::Base { .. }
            | AssembleError::BaseLayer { .. }
            | AssembleError::Platform { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_base"),
            AssembleError::Centre { .. } | AssembleError::Disk { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_image"),
        };
        Self::new(status, code, message)
    }
}
