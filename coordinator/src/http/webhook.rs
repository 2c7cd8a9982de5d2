//! `POST /v1/pipelines/{name}/webhook`: somebody says that there is something new.
//!
//! Without a token: who knows the pipeline's webhook secret may ask for a look, and for nothing else. Everybody else gets one and the same
//! answer, whether the pipeline exists or not.

use super::error::ApiError;
use super::serve::Peer;
use super::{App, Shared, body};
use crate::clock;
use crate::pipeline::PipelineError;
use crate::webhook::{Asked, Headers, asked, is_authentic};
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use coord_shared::names::PipelineName;
use coord_shared::pipeline::Pipeline;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Largest payload, in bytes. GitHub's may have 25 MB; those of pushes have some KiB, and what is in them is not believed anyway.
const PAYLOAD_MAX_BYTES: usize = 1024 * 1024;
/// Refused requests in a row that one address may make; then one in [`REFUSED_EVERY`].
const REFUSED_MAX: u32 = 30;
/// How long an address takes to be allowed one more refused request.
const REFUSED_EVERY: Duration = Duration::from_secs(2);
/// Addresses whose refused requests are counted; beyond them those that were refused longest ago are forgotten.
const ADDRESSES_MAX: usize = 1000;

/// What came of it.
#[derive(Serialize)]
pub(super) struct Answer {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// See the module.
pub(super) async fn webhook(
    State(app): Shared,
    peer: Option<Extension<Peer>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Answer>), ApiError> {
    let address = peer.map(|Extension(Peer(address))| address.ip());
    let now = clock::moment();
    if address.is_some_and(|address| app.refused.is_too_many(address, now)) {
        let message = "too many requests that no webhook accepts";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many", message).hint("wait a minute, and check the secret"));
    }
    let payload = body::read(body, PAYLOAD_MAX_BYTES).await?;
    let known = known(&app, &name).await?;
    // For a pipeline that there is not, the same work is done.
    let secret = known.as_ref().map_or("", |(_, _, secret)| secret);
    let is_authentic = is_authentic(&Map(&headers), &payload, secret);
    let (Some((name, pipeline, _)), true) = (known, is_authentic) else {
        if let Some(address) = address {
            app.refused.count(address, now);
        }
        let message = "no webhook accepts this request";
        return Err(ApiError::forbidden(message)
            .hint("check the pipeline's name, `webhook` in its [trigger], and the secret at both ends"));
    };
    match asked(&Map(&headers), &payload, &pipeline) {
        Asked::Ping => Ok((StatusCode::OK, Json(Answer { outcome: "pong", reason: None }))),
        Asked::Other(reference) => {
            let reason = Some(format!("pipeline {name} does not build {reference}"));
            Ok((StatusCode::OK, Json(Answer { outcome: "ignored", reason })))
        }
        Asked::Look => {
            app.pipelines.look_now(&name).await?;
            tracing::info!(pipeline = %name, "a webhook asks for a look");
            Ok((StatusCode::ACCEPTED, Json(Answer { outcome: "looking", reason: None })))
        }
    }
}

/// The pipeline with its webhook's secret, if all of that is there.
async fn known(app: &App, name: &str) -> Result<Option<(PipelineName, Pipeline, String)>, PipelineError> {
    let Ok(name) = name.parse::<PipelineName>() else { return Ok(None) };
    let Some(record) = app.pipelines.record(&name).await?.filter(|record| !record.deleted) else { return Ok(None) };
    let Ok(pipeline) = coord_shared::pipeline::parse(&record.text) else { return Ok(None) };
    let Some(webhook) = &pipeline.trigger.webhook else { return Ok(None) };
    let problem = format!("pipelines:{name} (webhook)");
    match app.secrets.read(&webhook.secret) {
        Ok(secret) => {
            app.problems.clear(&problem);
            Ok(Some((name, pipeline, secret.text().to_owned())))
        }
        Err(error) => {
            app.problems.set(&problem, coord_registry::chain(&error), None);
            Ok(None)
        }
    }
}

struct Map<'a>(&'a HeaderMap);

impl Headers for Map<'_> {
    fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.0.get_all(name).iter();
        let first = values.next()?.to_str().ok();
        if values.next().is_some() { None } else { first }
    }
}

/// Who was refused lately: each address has a bucket that fills with refusals, and empties with time.
#[derive(Default)]
pub struct Refused(Mutex<BTreeMap<IpAddr, Instant>>);

impl Refused {
    fn is_too_many(&self, address: IpAddr, now: Instant) -> bool {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.get(&address).is_some_and(|empty_at| *empty_at > now + REFUSED_EVERY * (REFUSED_MAX - 1))
    }

    fn count(&self, address: IpAddr, now: Instant) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&address) {
            buckets.retain(|_, empty_at| *empty_at > now);
            let oldest = buckets.iter().min_by_key(|(_, empty_at)| **empty_at).map(|(address, _)| *address);
            if let (Some(oldest), true) = (oldest, buckets.len() >= ADDRESSES_MAX) {
                buckets.remove(&oldest);
            }
        }
        let empty_at = buckets.entry(address).or_insert(now);
        *empty_at = (*empty_at).max(now) + REFUSED_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusals_are_counted_for_each_address() {
        let refused = Refused::default();
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let mut now = clock::moment();
        for _ in 0..REFUSED_MAX {
            assert!(!refused.is_too_many(address(1), now));
            refused.count(address(1), now);
        }
        assert!(refused.is_too_many(address(1), now));
        assert!(!refused.is_too_many(address(2), now));
        now += REFUSED_EVERY;
        assert!(!refused.is_too_many(address(1), now));
        refused.count(address(1), now);
        assert!(refused.is_too_many(address(1), now));
        for n in 0..ADDRESSES_MAX + 10 {
            let bytes = u32::try_from(n).expect("small").to_be_bytes();
            refused.count(IpAddr::from(bytes), now);
        }
        assert!(refused.0.lock().expect("not poisoned").len() <= ADDRESSES_MAX);
    }
}
