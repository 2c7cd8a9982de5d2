//! What people are told of a run: a subject, a text for mail and chats, and JSON for programs. Pure.
//!
//! Commit messages and logs are written by others: control characters go, lines and the whole are bounded.

use coord_shared::wire::{RunState, RunView, StepReport};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt::Write as _;

/// Longest text of a message, in bytes: forty lines of a log, and everything else.
const TEXT_MAX_BYTES: usize = 64 * 1024;
/// Longest subject, in characters: mail programs show less.
const SUBJECT_MAX_CHARS: usize = 150;
/// Longest line of a log that is told, in characters.
const LINE_MAX_CHARS: usize = 400;
/// Largest JSON, in bytes. A run with more to say is told without its steps' last lines.
const JSON_MAX_BYTES: usize = 256 * 1024;

/// A message about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// What a webhook is sent.
    pub json: String,
}

/// What is told of `run`. `delivery` names the message: equal for every attempt to deliver it.
pub fn message(run: &RunView, delivery: &str) -> Message {
    let (subject, text) = (subject(run), text(run));
    let event = if run.state == RunState::Succeeded { "run_succeeded" } else { "run_failed" };
    // `text` is what chat servers show of a webhook.
    let body = |run: &RunView| json!({"version": 1, "event": event, "delivery": delivery, "text": text, "run": run}).to_string();
    let mut json = body(run);
    if json.len() > JSON_MAX_BYTES {
        let mut run = run.clone();
        run.steps.clear();
        json = body(&run);
    }
    Message { subject, text, json }
}

fn subject(run: &RunView) -> String {
    let mut subject = format!("[coord] {} {}", run.run, run.state);
    if let Some(step) = failed_step(run) {
        let _ = write!(subject, " in {}", step.name());
    }
    if let Some(about) = &run.about {
        let _ = write!(subject, ": {}", about.subject);
    }
    clean(&subject, SUBJECT_MAX_CHARS)
}

fn text(run: &RunView) -> String {
    let mut text = format!("Run {} {}.\n\n", run.run, run.state);
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<9} {}", clean(value, LINE_MAX_CHARS));
    };
    match &run.about {
        Some(about) => {
            row("Commit:", &format!("{} {}", run.commit.short(), about.subject));
            row("Author:", &about.author);
        }
        None => row("Commit:", run.commit.short()),
    }
    row("Cause:", &run.cause);
    if let Some(builder) = &run.builder {
        row("Builder:", builder.as_str());
    }
    let step = failed_step(run);
    if let Some(step) = step {
        row("Step:", &format!("{}  {}", step.name(), step.command));
        row("Ended:", &ended(step));
    }
    // One about the step says nothing new.
    let about_step = step.map(|step| format!("step {} ", step.name()));
    for problem in run.problem.iter().filter(|problem| about_step.as_ref().is_none_or(|about| !problem.starts_with(about))) {
        row("Problem:", problem);
    }
    if let Some(image) = &run.image {
        row("Image:", &format!("{}@{}", image.repository, image.digest));
    }
    if let Some(deployed) = &run.deployed {
        row("Deployed:", &format!("{} revision {}", deployed.workload, deployed.revision));
    }
    if run.state != RunState::Succeeded && run.deployed.is_none() {
        text.push_str("\nNothing changed on any host.\n");
    }
    if let Some(step) = step.filter(|step| !step.last_lines.is_empty()) {
        text.push_str("\nThe last lines of its log:\n\n");
        for line in &step.last_lines {
            let _ = writeln!(text, "    {}", clean(line, LINE_MAX_CHARS));
        }
    }
    let _ = writeln!(text, "\nMore: coordctl pipeline logs {} {}", run.run.pipeline, run.run.number);
    if text.len() > TEXT_MAX_BYTES {
        text.truncate(text.floor_char_boundary(TEXT_MAX_BYTES));
        text.push_str("\n...\n");
    }
    text
}

fn failed_step(run: &RunView) -> Option<&StepReport> {
    if run.state == RunState::Succeeded { None } else { run.steps.iter().find(|step| step.has_failed()) }
}

fn ended(step: &StepReport) -> String {
    match (&step.exit, &step.problem) {
        (Some(exit), Some(problem)) => format!("{exit}; {problem}"),
        (Some(exit), None) => exit.to_string(),
        (None, Some(problem)) => problem.clone(),
        (None, None) => String::new(),
    }
}

/// One line, without control characters, cut.
fn clean(text: &str, max_chars: usize) -> String {
    let mut clean: String = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).take(max_chars).collect();
    if text.trim_end().chars().nth(max_chars).is_some() {
        clean.push('…');
    }
    clean
}
