//! The long poll: asks the coordinator for this host's state, again and again, and hands on what is new.
//!
//! A task of its own; it decides nothing. The coordinator answers at once when something changed and after [`WAIT_SECONDS`] when
//! nothing did. When it does not answer, the waits grow and are spread by jitter, so that a fleet does not return all at once.

use super::coordinators::{ANSWER_TIMEOUT, Call, CallError, Coordinators};
use crate::event::Event;
use coord_shared::decide::backoff;
use coord_shared::names::HostName;
use coord_shared::wire::{HOST_STATE_MAX_BYTES, HostState};
use reqwest::{Method, StatusCode};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the coordinator is asked to hold an unanswered poll. Below the minute after which many proxies cut an idle connection.
const WAIT_SECONDS: u64 = 50;

/// Polls until the receiver is gone.
pub async fn run(mut coordinators: Coordinators, host: HostName, events: mpsc::Sender<Event>) {
    let mut etag = None;
    let mut failures = 0_u32;
    loop {
        // The first answer is not waited for: an agent that starts wants to know now.
        let wait = if etag.is_some() { WAIT_SECONDS } else { 0 };
        let call = Call {
            method: Method::GET,
            path: format!("/v1/hosts/{host}/state?wait={wait}s"),
            json: None,
            etag: etag.clone(),
            timeout: Duration::from_secs(wait) + ANSWER_TIMEOUT,
            limit: HOST_STATE_MAX_BYTES,
        };
        let event = match coordinators.call(&call).await {
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => {
                failures = 0;
                Event::CoordinatorAnswers
            }
            Ok(answer) => match read_state(&answer.body) {
                Ok(state) => {
                    failures = 0;
                    etag = answer.etag;
                    Event::State(Box::new(state))
                }
                Err(problem) => {
                    failures += 1;
                    Event::CoordinatorProblem(problem)
                }
            },
            Err(error) => {
                failures += 1;
                // Nothing is known of what the next coordinator has; and an answer in the old one's words would be no answer.
                etag = etag.filter(|_| matches!(error, CallError::Unreachable { .. }));
                Event::CoordinatorProblem(crate::chain(&error))
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
        if failures > 0 {
            tokio::time::sleep(backoff::POLL.delay_with_jitter(failures, fastrand::f64())).await;
        }
    }
}

fn read_state(body: &[u8]) -> Result<HostState, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the coordinator's host state is not UTF-8".to_owned())?;
    HostState::from_toml(text).map_err(|e| format!("the coordinator's {e}"))
}
