//! Routes that show containers and what happened to them.

use super::Control;
use super::routes::{Answer, Refusal, lines_answer, refuse};
use crate::containers::{self, ContainersError, InstanceDetails, InstanceRow};
use crate::sync::ledger::Ledger;
use coord_shared::wire::{ErrorBody, InstanceReport};
use hyper::StatusCode;
use tokio::sync::mpsc;

/// Lines that may wait for a slow reader; the ring keeps the others.
const LINES_MAX: usize = 64;

/// What the loop reported last. Empty until it has looked for the first time.
pub(super) fn reports(control: &Control) -> Vec<InstanceReport> {
    control.content.borrow().full.as_ref().map(|full| full.instances.clone()).unwrap_or_default()
}

pub(super) async fn list(control: &Control) -> Result<Vec<InstanceRow>, Refusal> {
    let (reports, state_dir) = (reports(control), control.info.state_dir.clone());
    blocking(move || {
        let ledger = Ledger::of_any_host(&state_dir).map_err(ContainersError::Ledger)?;
        Ok(containers::rows(&reports, &ledger))
    })
    .await
}

pub(super) async fn inspect(wanted: String, control: &Control) -> Result<InstanceDetails, Refusal> {
    let (reports, happened) = (reports(control), control.happenings.after(0));
    let (state_dir, run_dir) = (control.info.state_dir.clone(), control.run_dir.clone());
    blocking(move || containers::details(&wanted, &reports, (&state_dir, &run_dir), happened)).await
}

/// What is remembered; and where it is followed, what happens until the reader goes away.
pub(super) fn events(follow: bool, control: &Control) -> Answer {
    let (lines, waiting) = mpsc::channel(LINES_MAX);
    let happenings = control.happenings.clone();
    tokio::task::spawn_local(async move {
        let mut told = 0;
        loop {
            for happening in happenings.after(told) {
                told = happening.sequence;
                if lines.send(happening).await.is_err() {
                    return;
                }
            }
            if !follow {
                return;
            }
            tokio::select! {
                () = happenings.wait_after(told) => {}
                () = lines.closed() => return,
            }
        }
    });
    lines_answer(waiting)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, ContainersError> + Send + 'static) -> Result<T, Refusal> {
    let ending = || refuse(StatusCode::SERVICE_UNAVAILABLE, "ending", "the agent is ending", None);
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| ending())??)
}

impl From<ContainersError> for Refusal {
    fn from(error: ContainersError) -> Self {
        let status = match &error {
            ContainersError::NotFound { .. } => StatusCode::NOT_FOUND,
            ContainersError::Ledger(_) | ContainersError::Files(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, error: ErrorBody::from(error) }
    }
}
