//! Finding the run that somebody wants to see, and waiting for it where it is not made yet.

use super::{of_pipeline, of_run};
use crate::client::{Client, ClientError};
use crate::failure::Failure;
use crate::output::Output;
use coord_shared::names::{PipelineName, RunId};
use coord_shared::wire::RunView;
use std::time::Duration;

/// How long between two looks for a run. A look is one small request; what is waited for takes seconds at the least.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Which run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This one.
    Exactly(u64),
    /// The newest.
    Newest,
    /// The first one that has this number or a greater one.
    From(u64),
    /// One that is newer than all that there are.
    Next,
}

/// The run that is wanted. `waits`: until there is one; otherwise it is an error that there is none.
pub(super) async fn find(
    name: &PipelineName,
    wanted: Wanted,
    waits: bool,
    client: &Client,
    output: &Output,
) -> Result<RunView, Failure> {
    if let Wanted::Exactly(number) = wanted {
        let run = RunId { pipeline: name.clone(), number };
        match client.pipeline_run(&run).await {
            Ok(run) => return Ok(run),
            Err(error) if waits && error.is_not_found() && is_to_come(&run, client).await? => {}
            Err(error) => return Err(of_run(&run, error)),
        }
    }
    let mut wanted = wanted;
    let mut has_said = false;
    loop {
        match client.runs(name).await {
            Ok(view) => {
                if wanted == Wanted::Next {
                    wanted = Wanted::From(view.runs.iter().map(|run| run.run.number).max().unwrap_or(0) + 1);
                }
                if let Some(run) = chosen(view.runs, wanted) {
                    return Ok(run);
                }
            }
            Err(error) if !waits || !error.is_passing() => return Err(of_pipeline(name, error)),
            Err(error) => warn(error, output),
        }
        if !waits {
            return Err(Failure::new(format!("{name} has not run yet")).hint("--follow waits for a run"));
        }
        if !has_said {
            output.message(&format!("waiting for a run of {name} to begin"));
            has_said = true;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether a run may still be made: numbers grow, and what was there once is not made again.
async fn is_to_come(run: &RunId, client: &Client) -> Result<bool, Failure> {
    let view = client.runs(&run.pipeline).await.map_err(|error| of_pipeline(&run.pipeline, error))?;
    Ok(view.runs.iter().all(|known| known.run.number < run.number))
}

fn chosen(runs: Vec<RunView>, wanted: Wanted) -> Option<RunView> {
    match wanted {
        Wanted::Newest => runs.into_iter().max_by_key(|run| run.run.number),
        Wanted::From(least) => runs.into_iter().filter(|run| run.run.number >= least).min_by_key(|run| run.run.number),
        Wanted::Exactly(number) => runs.into_iter().find(|run| run.run.number == number),
        Wanted::Next => None,
    }
}

pub(super) fn warn(error: ClientError, output: &Output) {
    output.warning(&format!("{}; trying again", Failure::from(error).message));
}
