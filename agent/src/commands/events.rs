//! `coord-agent events`: what happened lately.

use super::{CommandError, Outcome};
use crate::cli::{EventsArgs, Format};
use crate::output::Output;
use coord_agent::config::Config;
use coord_agent::containers::happenings::{Happening, What};
use coord_agent::control::Client;
use coord_shared::text::{Tone, printable};

/// Width of the words for what happened, and of usual names of instances, in columns.
const WHAT_COLUMNS: usize = 13;
const INSTANCE_COLUMNS: usize = 16;

pub(super) async fn run(args: &EventsArgs, config: &Config, output: &Output) -> Result<Outcome, CommandError> {
    let path = if args.follow { "/v1/events?follow" } else { "/v1/events" };
    let mut printed = Ok(());
    let show = |happening: Happening| {
        printed = match args.format.format {
            Format::Json => output.json_line(&happening),
            Format::Table => output.data(&line(&happening, output)),
        };
        printed.is_ok()
    };
    Client::new(&config.run_dir).lines(path, show).await?;
    printed?;
    Ok(Outcome::Done)
}

fn line(happening: &Happening, output: &Output) -> String {
    let Happening { at, what, instance, container, words, .. } = happening;
    let tone = match what {
        What::PullFailed | What::StartFailed | What::HookFailed | What::RemoveFailed => Tone::Bad,
        What::Killing | What::Unhealthy => Tone::Warn,
        What::Started | What::Healthy => Tone::Good,
        What::Pulling
        | What::Pulled
        | What::Starting
        | What::Stopping
        | What::Exited
        | What::Removed
        | What::CacheMade
        | What::CacheDeleted
        | What::Other => Tone::Plain,
    };
    let what = output.palette.paint(tone, &format!("{what:WHAT_COLUMNS$}"));
    let whom = match (container, instance) {
        (Some(container), _) => container.to_string(),
        (None, Some(instance)) => instance.to_string(),
        (None, None) => "-".to_owned(),
    };
    format!("{at:.3}  {what}  {whom:INSTANCE_COLUMNS$}  {}\n", printable(words))
}
