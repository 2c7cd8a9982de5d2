//! Pipelines and their runs, for admins.

use super::auth::Admin;
use super::error::ApiError;
use super::{App, Shared, body};
use crate::clock;
use crate::pipeline::records::{PIPELINE, PipelineRecord, RunRecord, run_key, run_of, run_prefix};
use crate::pipeline::{Findings, PipelineError, Submitted, pipeline_view, run_view};
use crate::records::{self, Source};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use coord_shared::decide::pipeline::Cause;
use coord_shared::names::{PipelineName, RunId};
use coord_shared::wire::{NewRun, NewRunAnswer, PipelineView, PipelinesView, RunView, RunsView};
use serde::Deserialize;
use std::time::Duration;

/// How long the wish for a run waits for it to be made: a builder looks at the source first, which takes a second or a few.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Largest body of a wish for a run.
const NEW_RUN_MAX_BYTES: usize = 4 * 1024;
/// Runs of a list, the newest: more than anybody reads.
const RUNS_SHOWN_MAX: usize = 100;

#[derive(Deserialize)]
pub(super) struct TakeOver {
    #[serde(default)]
    take_over: bool,
}

type TakeOverQuery = Result<Query<TakeOver>, QueryRejection>;

/// `GET /v1/pipelines`.
pub(super) async fn list(State(app): Shared, _: Admin) -> Result<Json<PipelinesView>, ApiError> {
    let findings = app.pipelines.findings();
    let mut pipelines = Vec::new();
    for entry in app.store.range(PIPELINE).await? {
        let Ok(name) = entry.key[PIPELINE.len()..].parse::<PipelineName>() else { continue };
        let record: PipelineRecord = records::decode(&entry.key, &entry.value)?;
        if !record.deleted {
            pipelines.push(view(&app, &findings, &name, &record).await?);
        }
    }
    let is_ours = |source: &str| source == "pipelines" || source.starts_with("pipelines:");
    let problems = app.problems.list().into_iter().filter(|problem| is_ours(&problem.source)).collect();
    Ok(Json(PipelinesView { now: clock::wall(), pipelines, problems }))
}

/// `GET /v1/pipelines/{name}`: its text.
pub(super) async fn read(State(app): Shared, _: Admin, Path(name): Path<String>) -> Result<Response, ApiError> {
    let record = known(&app, &name.parse()?).await?;
    Ok(([(CONTENT_TYPE, "application/toml")], record.text).into_response())
}

/// `PUT /v1/pipelines/{name}`.
pub(super) async fn put(
    State(app): Shared,
    Admin { name: who }: Admin,
    Path(name): Path<String>,
    query: TakeOverQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PipelineView>, ApiError> {
    let name: PipelineName = name.parse()?;
    let Query(TakeOver { take_over }) = query.map_err(ApiError::bad_request)?;
    let text = body::document(&headers, body).await?;
    let text = text.ok_or_else(|| ApiError::bad_request("the pipeline is empty").hint("to delete a pipeline, use DELETE"))?;
    let findings = match app.pipelines.submit(&name, &text, Source::Api(who), take_over).await? {
        Submitted::Unchanged => app.pipelines.findings(),
        Submitted::Taken(at) => app.pipelines.seen(at).await,
    };
    let record = known(&app, &name).await?;
    Ok(Json(view(&app, &findings, &name, &record).await?))
}

/// `DELETE /v1/pipelines/{name}`.
pub(super) async fn delete(
    State(app): Shared,
    Admin { name: who }: Admin,
    Path(name): Path<String>,
    query: TakeOverQuery,
) -> Result<StatusCode, ApiError> {
    let name: PipelineName = name.parse()?;
    let Query(TakeOver { take_over }) = query.map_err(ApiError::bad_request)?;
    let at = app.pipelines.remove(&name, &Source::Api(who), take_over).await?;
    app.pipelines.seen(at).await;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/pipelines/{name}/runs`.
pub(super) async fn runs(State(app): Shared, _: Admin, Path(name): Path<String>) -> Result<Json<RunsView>, ApiError> {
    let name: PipelineName = name.parse()?;
    known(&app, &name).await?;
    let findings = app.pipelines.findings();
    let stored = app.store.range(&run_prefix(&name)).await?;
    let newest_first = stored.iter().rev().take(RUNS_SHOWN_MAX);
    let runs = newest_first.filter_map(|entry| Some((run_of(&entry.key)?, entry))).map(|(id, entry)| {
        let record: RunRecord = records::decode(&entry.key, &entry.value)?;
        Ok::<_, ApiError>(shown(&app, &findings, &id, &record))
    });
    Ok(Json(RunsView { now: clock::wall(), runs: runs.collect::<Result<_, _>>()? }))
}

/// `GET /v1/pipelines/{name}/runs/{number}`.
pub(super) async fn run(
    State(app): Shared,
    _: Admin,
    Path((name, number)): Path<(String, String)>,
) -> Result<Json<RunView>, ApiError> {
    let id = run_id(&name, &number)?;
    let record = app.pipelines.run(&id).await?;
    Ok(Json(shown(&app, &app.pipelines.findings(), &id, &record)))
}

/// `POST /v1/pipelines/{name}/runs`: answers once the run is made, or that it will be (202).
pub(super) async fn start(
    State(app): Shared,
    Admin { name: who }: Admin,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let name: PipelineName = name.parse()?;
    let body = body::read(body, NEW_RUN_MAX_BYTES).await?;
    let wish: NewRun = if body.is_empty() { NewRun::default() } else { body::parse_json(&headers, &body)? };
    let number = app.pipelines.start_at(&name, Cause::Manual(who), wish.commit, wish.take_over).await?;
    let deadline = clock::moment() + START_PATIENCE;
    let mut findings = app.pipelines.watch();
    loop {
        findings.mark_unchanged();
        if let Some((id, record)) = made(&app, &name, number).await? {
            let view = shown(&app, &app.pipelines.findings(), &id, &record);
            return Ok((StatusCode::CREATED, Json(view)).into_response());
        }
        if !matches!(tokio::time::timeout_at(deadline, findings.changed()).await, Ok(Ok(()))) {
            let answer = NewRunAnswer { run: RunId { pipeline: name, number } };
            return Ok((StatusCode::ACCEPTED, Json(answer)).into_response());
        }
    }
}

/// The run that somebody wanted, once it is there: the first from `number` on that no push made.
async fn made(app: &App, name: &PipelineName, number: u64) -> Result<Option<(RunId, RunRecord)>, ApiError> {
    let Some(pipeline) = app.pipelines.record(name).await? else { return Ok(None) };
    for number in number..=pipeline.newest {
        let id = RunId { pipeline: name.clone(), number };
        match app.pipelines.run(&id).await {
            Ok(record) if record.cause != Cause::Push => return Ok(Some((id, record))),
            Ok(_) | Err(PipelineError::UnknownRun(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// `POST /v1/pipelines/{name}/look`: has the source looked at now.
pub(super) async fn look(State(app): Shared, _: Admin, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    app.pipelines.look_now(&name.parse()?).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `POST /v1/pipelines/{name}/runs/{number}/cancel`.
pub(super) async fn cancel(
    State(app): Shared,
    Admin { name: who }: Admin,
    Path((name, number)): Path<(String, String)>,
) -> Result<Json<RunView>, ApiError> {
    let id = run_id(&name, &number)?;
    let at = app.pipelines.cancel(&id, &who).await?;
    let findings = app.pipelines.seen(at).await;
    let record = app.pipelines.run(&id).await?;
    Ok(Json(shown(&app, &findings, &id, &record)))
}

pub(super) fn run_id(name: &str, number: &str) -> Result<RunId, ApiError> {
    Ok(format!("{name}.{number}").parse()?)
}

/// A run with what its builder says of it right now.
pub(super) fn shown(app: &App, findings: &Findings, id: &RunId, record: &RunRecord) -> RunView {
    let said = record.builder.as_ref().and_then(|host| app.hosts.full(host));
    run_view(id, record, findings, said.as_deref())
}

async fn known(app: &App, name: &PipelineName) -> Result<PipelineRecord, ApiError> {
    let record = app.pipelines.record(name).await?.filter(|record| !record.deleted);
    record.ok_or_else(|| PipelineError::Unknown(name.clone()).into())
}

async fn view(app: &App, findings: &Findings, name: &PipelineName, record: &PipelineRecord) -> Result<PipelineView, ApiError> {
    let newest = RunId { pipeline: name.clone(), number: record.newest };
    let last = records::load::<RunRecord>(&*app.store, &run_key(&newest)).await?;
    let last = last.map(|(run, _)| shown(app, findings, &newest, &run));
    let mut view = pipeline_view(name, record, findings, last);
    view.problems.extend(app.notifier.problems(name));
    Ok(view)
}
