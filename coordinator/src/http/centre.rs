//! The admins' side of the image centre: what it holds, removing, collecting. Pushing and pulling is `/v2/`, the registry's own.

use super::auth::Admin;
use super::error::ApiError;
use super::{App, Shared};
use crate::centre::keeper::Keeper;
use crate::centre::view;
use crate::clock;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use coord_centre::collect::{Root, Snapshot, Wanted, mark};
use coord_centre::{CentreError, Reference};
use coord_shared::names::{Digest, Repository};
use coord_shared::wire::{CollectedView, ImagesView, RemovedImages};
use serde::Deserialize;

/// Which images.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    repository: Option<String>,
    /// A tag or a digest.
    reference: Option<String>,
}

/// How to collect.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    #[serde(default)]
    dry_run: bool,
}

/// `GET /v1/images`.
pub(super) async fn list(State(app): Shared, _: Admin, Query(which): Query<Which>) -> Result<Json<ImagesView>, ApiError> {
    let only: Option<Repository> = which.repository.map(|name| name.parse()).transpose()?;
    let keeper = keeper(&app)?;
    let snapshot = Snapshot::read(&*app.store).await?;
    let roots = keeper.roots().roots().await.map_err(|error| CentreError::Roots(Box::new(error)))?;
    let now = clock::wall();
    let kept = mark(&snapshot, &roots, keeper.settings().grace, now);
    let quota_bytes = keeper.centre().quota().limit();
    let facts = view::Facts { snapshot: &snapshot, kept: &kept, only: only.as_ref(), quota_bytes, now };
    Ok(Json(view::images(&facts)))
}

/// `DELETE /v1/images`: a tag, an image, or all tags of a repository. What nothing needs then goes with the next collection.
pub(super) async fn remove(
    State(app): Shared,
    Admin { name }: Admin,
    Query(which): Query<Which>,
) -> Result<Json<RemovedImages>, ApiError> {
    let repository: Repository =
        which.repository.ok_or_else(|| ApiError::bad_request("say which repository: `?repository=shop/web`"))?.parse()?;
    let keeper = keeper(&app)?;
    let reference = which.reference.map(|text| text.parse::<Reference>()).transpose().map_err(ApiError::bad_request)?;
    let mut removed = RemovedImages::default();
    match reference {
        Some(Reference::Digest(digest)) => {
            unused(keeper, &repository, &digest).await?;
            keeper.centre().delete_manifest(&repository, &Reference::Digest(digest.clone())).await?;
            removed.manifests.push(format!("{repository}@{digest}"));
        }
        Some(Reference::Tag(tag)) => {
            keeper.centre().delete_manifest(&repository, &Reference::Tag(tag.clone())).await?;
            removed.tags.push(format!("{repository}:{tag}"));
        }
        None => {
            let tags = keeper.centre().tag_records(&repository).await?;
            if tags.is_empty() {
                return Err(ApiError::not_found(format!("repository {repository} has no tags"))
                    .hint(format!("`coordctl image ls {repository}` shows what it has; name an image by its digest")));
            }
            for (tag, _) in tags {
                keeper.centre().delete_manifest(&repository, &Reference::Tag(tag.clone())).await?;
                removed.tags.push(format!("{repository}:{tag}"));
            }
        }
    }
    tracing::info!(%repository, admin = name, tags = removed.tags.len(), images = removed.manifests.len(), "removed from the image centre");
    Ok(Json(removed))
}

/// `POST /v1/images/collect`.
pub(super) async fn collect(
    State(app): Shared,
    Admin { name }: Admin,
    Query(How { dry_run }): Query<How>,
) -> Result<Json<CollectedView>, ApiError> {
    let done = keeper(&app)?.collect(dry_run).await?;
    tracing::info!(admin = name, dry_run, removed = done.removed.len(), freed_bytes = done.freed_bytes, "image centre collected");
    Ok(Json(view::collected(&done, dry_run)))
}

fn keeper(app: &App) -> Result<&Keeper, ApiError> {
    app.centre.as_deref().ok_or_else(|| ApiError::not_found("this coordinator has no image centre"))
}

/// Refuses what a document needs.
async fn unused(keeper: &Keeper, repository: &Repository, digest: &Digest) -> Result<(), ApiError> {
    let roots = keeper.roots().roots().await.map_err(|error| CentreError::Roots(Box::new(error)))?;
    let needs = |root: &&Root| root.repository == *repository && root.wanted == Wanted::Manifest(digest.clone());
    match roots.iter().find(needs) {
        None => Ok(()),
        Some(root) => Err(ApiError::new(StatusCode::CONFLICT, "conflict", format!("{} needs {repository}@{digest}", root.why))
            .hint("publish another image, or delete the workload, and try again once the revision is forgotten")),
    }
}
