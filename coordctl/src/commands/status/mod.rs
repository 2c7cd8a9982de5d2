//! `coordctl status`: where every workload stands, and why something is not as desired.
//!
//! `converge` judges, `render` and `notes` show, and here is when: once, whenever something changes (`--watch`), or when all is as desired
//! (`--wait`).

mod converge;
mod notes;
mod render;
mod wait;
mod watch;

pub(super) use render::{problem_line, short_image};
pub(super) use wait::{Goal, wait};

use crate::cli::{Format, StatusArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use coord_shared::names::WorkloadName;
use coord_shared::wire::{ProblemView, StatusView};

pub(super) async fn run(args: &StatusArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    if args.watch {
        return watch::watch(args, client, output).await;
    }
    if args.wait.wait {
        return run_wait(args, client, output).await;
    }
    let status = output.waiting("reading the status", client.status()).await?;
    let status = chosen(status, args.workload.as_ref());
    if let Some(name) = &args.workload {
        require(name, &status)?;
    }
    show(args, &status, output)?;
    Ok(Exit::Done)
}

/// Shows the last status in either case: whoever waited in vain wants to see it too.
async fn run_wait(args: &StatusArgs, client: &Client, output: &Output) -> Result<Exit, Failure> {
    let goal = match &args.workload {
        None => Goal::All,
        Some(name) => Goal::Converged(vec![(name.clone(), None)]),
    };
    match wait(client, output, &goal, args.wait.timeout.0).await {
        Ok(status) => {
            show(args, &chosen(status, args.workload.as_ref()), output)?;
            Ok(Exit::Done)
        }
        Err(timeout) => {
            if let Some(status) = &timeout.status {
                show(args, &chosen(status.clone(), args.workload.as_ref()), output)?;
            }
            Err(timeout.into())
        }
    }
}

fn show(args: &StatusArgs, status: &StatusView, output: &Output) -> std::io::Result<()> {
    if args.format.format == Format::Json {
        return output.json(status);
    }
    if status.workloads.is_empty() && args.workload.is_none() {
        output.message("no workload is published; write a document and publish it with `coordctl apply WORKLOAD.toml`");
    }
    output.data(&text(args, status, output))
}

/// The status as a person reads it; the empty text where there is nothing.
fn text(args: &StatusArgs, status: &StatusView, output: &Output) -> String {
    let look = render::Look { width: output.width(), palette: output.palette, verbose: args.verbose };
    match &args.workload {
        None => render::overview(status, look),
        Some(_) => render::detail(status, look),
    }
}

/// The part of the status that concerns one workload, or all of it.
fn chosen(mut status: StatusView, workload: Option<&WorkloadName>) -> StatusView {
    if let Some(name) = workload {
        status.workloads.retain(|workload| workload.name == *name);
        status.problems.retain(|problem| concerns(problem, name));
    }
    status
}

/// Whether a problem is that workload's document in the folder (`folder:web.toml`). Other sources name a host or a token.
fn concerns(problem: &ProblemView, name: &WorkloadName) -> bool {
    let file = problem.source.strip_prefix("folder:").and_then(|path| path.rsplit('/').next());
    file.and_then(|file| file.strip_suffix(".toml")) == Some(name.as_str())
}

/// Whether a problem is a document's, and not a host's (`host:web-1`) or of a pipeline (`pipelines:shop.toml`): only those keep something from
/// being published.
fn is_of_a_document(problem: &ProblemView) -> bool {
    let others = ["host:", "pipelines:", "pipeline:"].iter().any(|other| problem.source.starts_with(other));
    !others && problem.source != "pipelines"
}

fn require(name: &WorkloadName, status: &StatusView) -> Result<(), Failure> {
    if status.workloads.is_empty() && status.problems.is_empty() {
        let failure = Failure::new(format!("workload {name} is not published"));
        return Err(failure.hint("`coordctl status` shows all, `coordctl history` what became of it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
