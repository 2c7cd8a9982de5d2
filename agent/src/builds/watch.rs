//! Looks at a source again and again, and says what it holds.

use super::door::DoorError;
use super::tools::Tools;
use coord_shared::decide::backoff::Backoff;
use coord_shared::names::PipelineName;
use coord_shared::pipeline::{self, Pipeline};
use coord_shared::wire::{Head, HeadReport, SourceWatch};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// A source in trouble is asked seldom, yet one that is back is not waited for long.
const LOOK: Backoff = Backoff { base: Duration::from_secs(2), max: Duration::from_secs(300) };
/// A look that takes longer hangs.
const LOOK_TIMEOUT: Duration = Duration::from_secs(90);

/// Looks until the sender is gone. `turns` bounds how many look at a time.
pub(super) async fn run(tools: Rc<Tools>, mut wanted: watch::Receiver<SourceWatch>, turns: Rc<Semaphore>) {
    let mut failures = 0_u32;
    loop {
        let asked = wanted.borrow_and_update().clone();
        let parsed = pipeline::parse(&asked.document).map_err(|mistakes| mistakes.summary(&asked.document));
        let looked = match &parsed {
            Ok(pipeline) => {
                let _turn = turns.acquire().await;
                look(&tools, pipeline).await
            }
            Err(problem) => Err(problem.clone()),
        };
        failures = if looked.is_ok() { 0 } else { failures.saturating_add(1) };
        tell(&tools, &asked, looked);
        let poll = parsed.ok().and_then(|pipeline| pipeline.trigger.poll);
        // Builders that were started together do not look together.
        let dice = fastrand::f64();
        let pause = match (failures, poll) {
            (0, poll) => poll.map(|poll| poll.0.mul_f64(0.9 + 0.2 * dice)),
            (failures, Some(poll)) => Some(LOOK.delay_with_jitter(failures, dice).max(poll.0.min(LOOK.max))),
            (failures, None) => Some(LOOK.delay_with_jitter(failures, dice)),
        };
        tokio::select! {
            () = sleep(pause) => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

async fn look(tools: &Tools, pipeline: &Pipeline) -> Result<Head, String> {
    let credentials = match &pipeline.source.credentials {
        None => None,
        Some(name) => Some(tools.door.secret(name).await.map_err(|error| match error {
            DoorError::Refused { problem } => format!("cannot have secret {name}: {problem}"),
            away @ (DoorError::Away { .. } | DoorError::WrongOffset { .. }) => format!("waits for secret {name}: {away}"),
        })?),
    };
    let looking = tools.repositories.look(&pipeline.source, credentials.as_deref());
    match tokio::time::timeout(LOOK_TIMEOUT, looking).await {
        Ok(looked) => looked,
        Err(_) => Err(format!("the source does not answer within {} s", LOOK_TIMEOUT.as_secs())),
    }
}

/// What was seen once is told although the last look failed.
fn tell(tools: &Tools, asked: &SourceWatch, looked: Result<Head, String>) {
    let before = tools.board.head(&asked.pipeline);
    let known = before.as_ref().and_then(|report| report.problem.clone());
    let (head, problem) = match looked {
        Ok(head) => (Some(head), None),
        Err(problem) => (before.and_then(|report| report.head), Some(problem)),
    };
    if let Some(problem) = &problem
        && known.as_ref() != Some(problem)
    {
        tracing::warn!(pipeline = %asked.pipeline, problem, "cannot see what a source holds");
    }
    tools.board.tell_head(HeadReport { pipeline: PipelineName::clone(&asked.pipeline), asked: asked.asked, head, problem });
}

async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
