//! The form: its archive goes to a file as it comes, everything else is small.

use crate::http::error::ApiError;
use axum::extract::multipart::{Field, Multipart};
use axum::http::StatusCode;
use coord_shared::document::{DOCUMENT_MAX_BYTES, Diagnostics};
use coord_shared::names::{Commit, Repository, WorkloadName};
use coord_shared::recipe::{self, Recipe};
use jiff::Timestamp;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use tempfile::{NamedTempFile, TempPath};

/// Largest archive: three times the largest that anybody deploys.
const ARCHIVE_MAX_BYTES: u64 = 32 << 30;
/// Free bytes of the disk that stay free, whoever sends what: the coordinator's store is on the same one.
const RESERVE_BYTES: u64 = 1 << 30;
/// How much is taken between two looks at the disk.
const LOOK_EVERY_BYTES: u64 = 64 << 20;
/// Longest silence of a sender.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest short field: a URL.
const FIELD_MAX_BYTES: usize = 4096;
/// Most tags.
const TAGS_MAX: usize = 32;
/// What an image is called whose form names no tag.
const TAG: &str = "latest";

/// The fields as they came.
#[derive(Default)]
pub(super) struct Form {
    archive: Option<TempPath>,
    /// With the name of its file, for its mistakes.
    recipe: Option<(String, String)>,
    document: Option<String>,
    workload: Option<String>,
    repository: Option<String>,
    tags: Vec<String>,
    at: Option<String>,
    source: Option<String>,
    commit: Option<String>,
    platform: Option<String>,
    take_over: bool,
}

/// All that is needed, checked. The archive's file goes with it.
pub(super) struct Whole {
    pub(super) archive: TempPath,
    pub(super) recipe: Recipe,
    pub(super) repository: Repository,
    pub(super) tags: Vec<String>,
    pub(super) at: Timestamp,
    pub(super) source: Option<String>,
    pub(super) commit: Option<Commit>,
    pub(super) document: Option<(WorkloadName, String)>,
    pub(super) take_over: bool,
}

impl Whole {
    /// What people find the image by.
    pub(super) fn tag(&self) -> &str {
        self.tags.first().map_or(TAG, String::as_str)
    }
}

impl Form {
    /// Reads a form to its end; its archive goes to a file in `folder`.
    pub(super) async fn read(mut body: Multipart, folder: &Path) -> Result<Form, ApiError> {
        let mut form = Form::default();
        while let Some(mut field) = in_time(body.next_field()).await? {
            let name = field.name().unwrap_or_default().to_owned();
            let file_name = field.file_name().unwrap_or("image.toml").to_owned();
            let slot = match name.as_str() {
                "archive" if form.archive.is_none() => {
                    form.archive = Some(save(&mut field, folder).await?);
                    continue;
                }
                "recipe" if form.recipe.is_none() => {
                    form.recipe = Some((file_name, text(&mut field, &name, DOCUMENT_MAX_BYTES).await?));
                    continue;
                }
                "tag" if form.tags.len() < TAGS_MAX => {
                    let tag = text(&mut field, &name, FIELD_MAX_BYTES).await?;
                    if !form.tags.contains(&tag) {
                        form.tags.push(tag);
                    }
                    continue;
                }
                "take_over" => {
                    form.take_over = text(&mut field, &name, FIELD_MAX_BYTES).await? == "true";
                    continue;
                }
                "document" => &mut form.document,
                "workload" => &mut form.workload,
                "repository" => &mut form.repository,
                "at" => &mut form.at,
                "source" => &mut form.source,
                "commit" => &mut form.commit,
                "platform" => &mut form.platform,
                "archive" | "recipe" | "tag" => {
                    return Err(ApiError::bad_request(format!("the form has too many fields {name:?}")));
                }
                _ => {
                    let hint = "it may have archive, recipe, repository, tag, at, source, commit, platform, document, workload, take_over";
                    return Err(ApiError::bad_request(format!("the form has an unknown field {name:?}")).hint(hint));
                }
            };
            if slot.is_some() {
                return Err(ApiError::bad_request(format!("the form has the field {name:?} twice")));
            }
            let max_bytes = if name == "document" { DOCUMENT_MAX_BYTES } else { FIELD_MAX_BYTES };
            *slot = Some(text(&mut field, &name, max_bytes).await?);
        }
        Ok(form)
    }

    /// Everything checked that can be without looking into the archive.
    pub(super) fn whole(self) -> Result<Whole, ApiError> {
        let missing = |what: &str, how: &str| ApiError::bad_request(format!("no {what} in the form")).hint(format!("add {how}"));
        let (file_name, text) = self.recipe.ok_or_else(|| missing("recipe", "recipe=@image.toml"))?;
        let mut recipe = recipe::parse(&text).map_err(|diagnostics| bad_recipe(&diagnostics, &file_name, &text))?;
        recipe.platform = self.platform.or(recipe.platform);
        let repository = self.repository.ok_or_else(|| missing("repository", "repository=shop"))?;
        let tags = if self.tags.is_empty() { vec![TAG.to_owned()] } else { self.tags };
        let document = match (self.document, self.workload) {
            (Some(document), Some(workload)) => Some((workload.parse()?, document)),
            (Some(_), None) => return Err(missing("workload", "workload=web, the name that the document is published under")),
            (None, _) => None,
        };
        Ok(Whole {
            archive: self.archive.ok_or_else(|| missing("archive", "archive=@app.tar.gz"))?,
            recipe,
            repository: repository.parse()?,
            tags,
            at: self.at.as_deref().map_or(Ok(Timestamp::UNIX_EPOCH), time)?,
            source: self.source,
            commit: self.commit.map(|commit| commit.parse()).transpose()?,
            document,
            take_over: self.take_over,
        })
    }
}

/// Seconds since 1970, as SOURCE_DATE_EPOCH has them, or RFC 3339.
fn time(text: &str) -> Result<Timestamp, ApiError> {
    let seconds = text.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds.or_else(|| text.parse().ok()).filter(|at| *at >= Timestamp::UNIX_EPOCH).ok_or_else(|| {
        ApiError::bad_request(format!("{text:?} is no time"))
            .hint("write seconds since 1970 (SOURCE_DATE_EPOCH), or for example 2026-11-22T20:00:00Z")
    })
}

fn bad_recipe(diagnostics: &Diagnostics, file_name: &str, text: &str) -> ApiError {
    let message = format!("the recipe is invalid: {}", diagnostics.summary(text));
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_recipe", message).detail(diagnostics.render(file_name, text, false))
}

async fn text(field: &mut Field<'_>, name: &str, max_bytes: usize) -> Result<String, ApiError> {
    let mut bytes = Vec::new();
    while let Some(piece) = in_time(field.chunk()).await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > max_bytes {
            let message = format!("the field {name:?} is larger than {max_bytes} bytes");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
    }
    String::from_utf8(bytes).map_err(|_| ApiError::bad_request(format!("the field {name:?} is not UTF-8")))
}

/// Into a file that goes with what is returned.
async fn save(field: &mut Field<'_>, folder: &Path) -> Result<TempPath, ApiError> {
    let disk = |error: std::io::Error| ApiError::unavailable(format!("cannot keep the archive: {error}"));
    let mut file = NamedTempFile::new_in(folder).map_err(disk)?;
    let (mut bytes, mut looked) = (0_u64, 0_u64);
    has_room(folder)?;
    while let Some(piece) = in_time(field.chunk()).await? {
        bytes += piece.len() as u64;
        if bytes > ARCHIVE_MAX_BYTES {
            let message = format!("the archive is larger than {ARCHIVE_MAX_BYTES} bytes");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
        if bytes - looked > LOOK_EVERY_BYTES {
            looked = bytes;
            has_room(folder)?;
        }
        // Pieces are small, and go to the page cache.
        file = tokio::task::spawn_blocking(move || file.write_all(&piece).map(|()| file))
            .await
            .map_err(|_| ApiError::unavailable("the coordinator is about to end"))?
            .map_err(disk)?;
    }
    Ok(file.into_temp_path())
}

fn has_room(folder: &Path) -> Result<(), ApiError> {
    let disk =
        nix::sys::statvfs::statvfs(folder).map_err(|error| ApiError::unavailable(format!("cannot look at the disk: {error}")))?;
    if disk.blocks_available().saturating_mul(disk.fragment_size()) < RESERVE_BYTES {
        let message = "the coordinator's disk is full: less than 1 GiB is free";
        let error = ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "full", message);
        return Err(error.hint("remove images that nothing needs (coordctl image gc), or make room on the disk"));
    }
    Ok(())
}

/// What a sender sends, if it does not fall silent.
async fn in_time<T, E: std::fmt::Display>(next: impl Future<Output = Result<T, E>>) -> Result<T, ApiError> {
    match tokio::time::timeout(SILENCE_MAX, next).await {
        Ok(next) => next.map_err(|error| ApiError::bad_request(format!("the form broke off: {error}"))),
        Err(_) => {
            let message = format!("nothing came for {} s", SILENCE_MAX.as_secs());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message))
        }
    }
}
