//! `coordctl pipeline`: how commits come into the fleet.
//!
//! `list` and `detail` show, `logs` follows; here is what is asked of the coordinator.

mod detail;
mod follow;
mod list;
mod logs;
mod took;

use super::files;
use crate::cli::{Format, PipelineArgs, PipelineCommand, PipelineRunArgs};
use crate::client::{Client, ClientError};
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone};
use coord_shared::names::{PipelineName, RunId};
use coord_shared::wire::{PipelineView, PipelinesView, RunView};
use follow::Wanted;
use std::path::PathBuf;

const NOTHING_YET: &str =
    "there is no pipeline; write one and give it to the coordinator by `coordctl pipeline apply PIPELINE.toml`";

pub(super) async fn run(args: PipelineArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    match args.command {
        None => ls(args.format.format, client, output).await,
        Some(PipelineCommand::Ls { format }) => ls(format.format, client, output).await,
        Some(PipelineCommand::Show { name, run, format }) => show(&name, run, format.format, client, output).await,
        Some(PipelineCommand::Runs { name, format }) => runs(&name, format.format, client, output).await,
        Some(PipelineCommand::Logs(args)) => logs::run(&args, client, output).await,
        Some(PipelineCommand::Run(args)) => start(args, client, output).await,
        Some(PipelineCommand::Cancel { name, run }) => cancel(&name, run, client, output).await,
        Some(PipelineCommand::Apply { paths, take_over }) => apply(&paths, take_over, client, output).await,
        Some(PipelineCommand::Delete { names, take_over }) => delete(&names, take_over, client, output).await,
    }
}

async fn ls(format: Format, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let view = output.waiting("reading the pipelines", client.pipelines()).await?;
    match format {
        Format::Json => output.json(&view)?,
        Format::Table => {
            if view.pipelines.is_empty() {
                output.message(NOTHING_YET);
            }
            output.data(&list::pipelines(&view, output.width(), output.palette))?;
        }
    }
    Ok(Exit::Done)
}

async fn show(
    name: &PipelineName,
    number: Option<u64>,
    format: Format,
    client: &Client,
    output: &Output,
) -> Result<Exit, Failure> {
    let view = output.waiting("reading the pipelines", client.pipelines()).await?;
    let PipelinesView { now, pipelines, .. } = view;
    let pipeline = pipelines.into_iter().find(|pipeline| pipeline.name == *name);
    // What was deleted may have runs that are still kept.
    if pipeline.is_none() && number.is_none() {
        return Err(unknown(name));
    }
    let number = number.or_else(|| pipeline.as_ref().and_then(|pipeline| Some(pipeline.last_run.as_ref()?.run.number)));
    let run = match number {
        Some(number) => Some(read_run(&RunId { pipeline: name.clone(), number }, client, output).await?),
        None => None,
    };
    match format {
        Format::Json => output.json(&Shown { pipeline: pipeline.as_ref(), run: run.as_ref() })?,
        Format::Table => {
            if let Some(pipeline) = &pipeline {
                output.data(&detail::pipeline(pipeline, output.palette))?;
            }
            match &run {
                Some(run) => output.data(&detail::run(run, now, output.width(), output.palette))?,
                None => output.message(&format!("{name} has not run yet")),
            }
        }
    }
    Ok(Exit::Done)
}

/// What `show` shows, for programs.
#[derive(serde::Serialize)]
struct Shown<'a> {
    pipeline: Option<&'a PipelineView>,
    run: Option<&'a RunView>,
}

async fn runs(name: &PipelineName, format: Format, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let view = output.waiting("reading the runs", client.runs(name)).await.map_err(|error| of_pipeline(name, error))?;
    match format {
        Format::Json => output.json(&view)?,
        Format::Table if view.runs.is_empty() => output.message(&format!("{name} has not run yet")),
        Format::Table => output.data(&list::runs(&view, output.width(), output.palette))?,
    }
    Ok(Exit::Done)
}

async fn start(args: PipelineRunArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let PipelineRunArgs { name, commit, take_over, follow, format } = args;
    let started = client.start_run(&name, commit, take_over);
    let answer =
        output.waiting(&format!("asking for a run of {name}"), started).await.map_err(|error| of_pipeline(&name, error))?;
    let number = answer.run.number;
    if follow {
        return logs::follow(&name, Wanted::From(number), format.format, client, output).await;
    }
    match format.format {
        Format::Json => output.json(&answer)?,
        Format::Table => output.message(&format!(
            "run {} is asked for; `coordctl pipeline logs {name} {number} --follow` shows how it goes",
            answer.run
        )),
    }
    Ok(Exit::Done)
}

async fn cancel(name: &PipelineName, number: Option<u64>, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let number = match number {
        Some(number) => number,
        None => {
            let view = output.waiting("reading the runs", client.runs(name)).await.map_err(|error| of_pipeline(name, error))?;
            let open = view.runs.into_iter().find(|run| !run.state.is_over());
            open.ok_or_else(|| Failure::new(format!("no run of {name} goes on")))?.run.number
        }
    };
    let run = RunId { pipeline: name.clone(), number };
    output.waiting(&format!("cancelling {run}"), client.cancel_run(&run)).await.map_err(|error| of_run(&run, error))?;
    output.message(&format!("run {run} is cancelled; its builder ends what it does for it"));
    Ok(Exit::Done)
}

async fn apply(paths: &[PathBuf], take_over: bool, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let files = files::load_good_pipelines(paths, output.err_palette().on)?;
    let mut exit = Exit::Done;
    for file in &files {
        let put = client.put_pipeline(&file.name, &file.text, take_over);
        match output.waiting(&format!("applying {}", file.name), put).await {
            Ok(()) => output.data(&format!("{}: applied\n", output.palette.paint(Tone::Strong, file.name.as_str())))?,
            Err(error) => {
                let concerns_this_one = error.is_about_the_object();
                let failure = Failure::from(error).about(&file.path.display().to_string());
                // A coordinator that is away, or does not know us, will be no different for the next file.
                if !concerns_this_one {
                    return Err(failure);
                }
                output.failure(&failure);
                exit = Exit::Error;
            }
        }
    }
    Ok(exit)
}

async fn delete(names: &[PipelineName], take_over: bool, client: &Client, output: &Output) -> Result<Exit, Failure> {
    for name in names {
        let deleted = output.waiting(&format!("deleting {name}"), client.delete_pipeline(name, take_over)).await;
        deleted.map_err(|error| of_pipeline(name, error))?;
        output.message(&format!("pipeline {name} is deleted; what it deployed goes on running"));
    }
    Ok(Exit::Done)
}

async fn read_run(run: &RunId, client: &Client, output: &Output) -> Result<RunView, Failure> {
    output.waiting(&format!("reading {run}"), client.pipeline_run(run)).await.map_err(|error| of_run(run, error))
}

fn unknown(name: &PipelineName) -> Failure {
    Failure::new(format!("there is no pipeline {name}")).hint("`coordctl pipeline ls` shows all")
}

fn of_pipeline(name: &PipelineName, error: ClientError) -> Failure {
    if error.is_not_found() { unknown(name) } else { error.into() }
}

fn of_run(run: &RunId, error: ClientError) -> Failure {
    if error.is_not_found() {
        return Failure::new(format!("there is no run {run}"))
            .hint(format!("`coordctl pipeline runs {}` shows those that are kept", run.pipeline));
    }
    error.into()
}

#[cfg(test)]
mod tests;
