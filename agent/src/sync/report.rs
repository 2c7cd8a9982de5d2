//! The reporter: tells the coordinator what this host does. Whole after a change, a heartbeat otherwise.
//!
//! A task of its own that always holds the newest report and nothing older: what changed three times while the coordinator was
//! away is told once.

use super::coordinators::{ANSWER_TIMEOUT, Call, Coordinators};
use coord_shared::decide::backoff;
use coord_shared::names::{Generation, HostName};
use coord_shared::wire::{FullReport, Report, ReportAnswer, WIRE_VERSION};
use reqwest::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Longest silence of a healthy agent.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Changes that come closer together than this are told together.
const COALESCE: Duration = Duration::from_millis(10);

/// What the loop wants told.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// The newest accepted host state.
    pub generation: Option<Generation>,
    /// The host as it is; `None` until the loop has looked for the first time.
    pub full: Option<Arc<FullReport>>,
}

/// Reports until the sender is gone.
pub async fn run(mut coordinators: Coordinators, host: HostName, mut content: watch::Receiver<Content>) {
    let agent_run = format!("{:016x}", fastrand::u64(..));
    let mut sequence = 0_u64;
    let mut failures = 0_u32;
    let mut told: Option<Arc<FullReport>> = None;
    loop {
        let now = content.borrow_and_update().clone();
        let is_told = match (&told, &now.full) {
            (Some(told), Some(full)) => Arc::ptr_eq(told, full),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        sequence += 1;
        let report = Report {
            version: WIRE_VERSION,
            host: host.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            sequence,
            agent_run: agent_run.clone(),
            generation: now.generation,
            full: if is_told { None } else { now.full.as_deref().cloned() },
        };
        match send(&mut coordinators, &report).await {
            Ok(answer) => {
                failures = 0;
                told = if answer.send_full { None } else { now.full.clone() };
                if answer.send_full && report.full.is_none() && now.full.is_some() {
                    continue;
                }
            }
            Err(problem) => {
                failures += 1;
                told = None;
                tracing::debug!(%problem, failures, "report not delivered");
            }
        }
        let wait = if failures > 0 { backoff::POLL.delay_with_jitter(failures, fastrand::f64()) } else { HEARTBEAT };
        tokio::select! {
            changed = content.changed(), if failures == 0 => match changed {
                Ok(()) => tokio::time::sleep(COALESCE).await,
                Err(_) => return,
            },
            () = tokio::time::sleep(wait) => if content.has_changed().is_err() { return },
        }
    }
}

async fn send(coordinators: &mut Coordinators, report: &Report) -> Result<ReportAnswer, String> {
    let json = serde_json::to_vec(report).expect("a report is plain data, which always serialises");
    let call = Call {
        method: Method::POST,
        path: format!("/v1/hosts/{}/report", report.host),
        json: Some(json),
        etag: None,
        timeout: ANSWER_TIMEOUT,
        limit: 64 * 1024,
    };
    let answer = coordinators.call(&call).await.map_err(|e| crate::chain(&e))?;
    serde_json::from_slice(&answer.body).map_err(|e| format!("the coordinator's answer to a report is unreadable: {e}"))
}
