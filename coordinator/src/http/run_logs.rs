//! The log of a run: what is kept of it, and while it is built, what its builder has.
//!
//! ```text
//! {"time":"...","step":"build.0","stream":"stdout","line":"..."}   a line
//! (an empty line)                                                  still there, nothing new
//! ```

use super::auth::Admin;
use super::error::ApiError;
use super::places::reachable;
use super::{App, Shared};
use crate::clock;
use crate::pipeline::own_line;
use crate::pipeline::records::RunRecord;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use coord_shared::names::RunId;
use coord_shared::wire::{RunLogsRequest, RunState};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// While nothing comes, a sign of life for whatever sits between.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pieces that wait for the reader.
const PIECES_MAX: usize = 16;
/// How long a builder that cannot be asked is waited for before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
pub(super) struct LogsQuery {
    #[serde(default)]
    follow: bool,
}

/// `GET /v1/pipelines/{name}/runs/{number}/logs`.
pub(super) async fn logs(
    State(app): Shared,
    _: Admin,
    Path((name, number)): Path<(String, String)>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let id = super::pipelines::run_id(&name, &number)?;
    let Query(LogsQuery { follow }) = query.map_err(ApiError::bad_request)?;
    app.pipelines.run(&id).await?;
    let (out, pieces) = mpsc::channel(PIECES_MAX);
    let mut ending = app.ending.clone();
    let reader = Reader { app, id, follow, out };
    // Lives as long as the answer does.
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        tokio::select! {
            () = reader.run() => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
    }));
    let lines = futures_util::stream::unfold((pieces, task), async |(mut pieces, task)| {
        match tokio::time::timeout(HEARTBEAT, pieces.recv()).await {
            Ok(piece) => piece.map(|piece| (Ok::<Bytes, Infallible>(piece), (pieces, task))),
            Err(_) => Some((Ok(Bytes::from_static(b"\n")), (pieces, task))),
        }
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// One reader of a run's log.
struct Reader {
    app: Arc<App>,
    id: RunId,
    follow: bool,
    out: mpsc::Sender<Bytes>,
}

/// The reader went away, or the run is forgotten.
struct Gone;

impl Reader {
    async fn run(self) {
        // Nobody is left to be told of it.
        let _ = self.read().await;
    }

    async fn read(&self) -> Result<(), Gone> {
        let mut shown_attempts = 0;
        let mut streamed = None;
        loop {
            let mut findings = self.app.pipelines.watch();
            findings.mark_unchanged();
            let record = self.app.pipelines.run(&self.id).await.map_err(|_| Gone)?;
            let is_building = record.state == RunState::Building;
            // Builders before the present one send no more.
            let ended = if is_building { record.attempt.saturating_sub(1) } else { record.attempt };
            while shown_attempts < ended {
                shown_attempts += 1;
                if streamed != Some(shown_attempts) {
                    self.kept(&record, shown_attempts).await?;
                }
            }
            if is_building && streamed != Some(record.attempt) && self.live(&record).await? {
                streamed = Some(record.attempt);
                continue;
            }
            if !self.follow {
                if is_building && streamed != Some(record.attempt) {
                    self.kept(&record, record.attempt).await?;
                }
                return Ok(());
            }
            if record.state.is_over() {
                return self.end(&record).await;
            }
            let again = is_building && streamed != Some(record.attempt);
            let patience = if again { ASK_AGAIN } else { HEARTBEAT };
            let _ = tokio::time::timeout(patience, findings.changed()).await;
        }
    }

    /// What one builder sent.
    async fn kept(&self, record: &RunRecord, attempt: u32) -> Result<(), Gone> {
        let (files, id, at) = (self.app.pipelines.files.clone(), self.id.clone(), record.at);
        let kept = tokio::task::spawn_blocking(move || files.kept_log(&id, attempt, at)).await;
        let lines = match kept {
            Ok(Ok(kept)) => kept.lines,
            Ok(Err(error)) => own_line(clock::wall(), &format!("the kept log cannot be read: {error}")),
            Err(_) => return Err(Gone),
        };
        if lines.is_empty() { Ok(()) } else { self.out.send(lines).await.map_err(|_| Gone) }
    }

    /// What the builder has of it, from the beginning. `false`: it cannot be asked now.
    async fn live(&self, record: &RunRecord) -> Result<bool, Gone> {
        let Some(host) = record.builder.as_ref().filter(|host| reachable(&self.app, host).is_ok()) else { return Ok(false) };
        let asked = RunLogsRequest { run: self.id.clone(), follow: self.follow };
        let Ok(mut lines) = self.app.sessions.run_logs(&self.app.hosts, host, asked).await else { return Ok(false) };
        while let Some(line) = lines.recv().await {
            if !line.trim_ascii().is_empty() {
                self.out.send(line).await.map_err(|_| Gone)?;
            }
        }
        Ok(true)
    }

    /// How it ended.
    async fn end(&self, record: &RunRecord) -> Result<(), Gone> {
        let at = record.ended_at.unwrap_or(record.at);
        let text = match (&record.problem, &record.deployed) {
            (Some(problem), _) => format!("{} is {}: {problem}", self.id, record.state),
            (None, Some(deployed)) => {
                format!("{} is {}: revision {} of {}", self.id, record.state, deployed.revision, deployed.workload)
            }
            (None, None) => format!("{} is {}", self.id, record.state),
        };
        self.out.send(own_line(at, &text)).await.map_err(|_| Gone)
    }
}
