//! One pipeline, and one of its runs in full: stages with their times, steps, and where it failed.

use super::took::{between, of_run, tone, took};
use crate::output::{Cell, Column, Palette, Shrink, Table, Tone, ago, printable, printable_log_line};
use coord_shared::names::CENTRE;
use coord_shared::quantity::ByteSize;
use coord_shared::wire::{ImageMade, PipelineView, RunState, RunView, StepReport};
use jiff::Timestamp;

/// What a pipeline is, and what stands in its way. Ends with an empty line.
pub(super) fn pipeline(view: &PipelineView, palette: Palette) -> String {
    let mut text = format!("{}  {}\n", palette.paint(Tone::Strong, view.name.as_str()), printable(&view.repository));
    let mut line = |key: &str, value: &str| text.push_str(&format!("  {key:<9} {}\n", printable(value)));
    line("source", &view.source);
    line("watcher", view.watcher.as_ref().map_or("none", |host| host.as_str()));
    let head = view.head.as_ref().map(|head| format!("{} ({})", head.commit.short(), head.reference));
    line("head", head.as_deref().unwrap_or("not seen yet"));
    if let Some(number) = view.last_success {
        line("succeeded", &format!("run {number}"));
    }
    for problem in &view.problems {
        text.push_str(&format!("  {}\n", palette.paint(Tone::Bad, &printable(problem))));
    }
    text.push('\n');
    text
}

/// A run: what it is about, how long each part took, and its steps.
pub(super) fn run(run: &RunView, now: Timestamp, width: Option<usize>, palette: Palette) -> String {
    let mut text = heading(run, now, palette);
    if let Some(problem) = &run.problem {
        let grade = if run.state == RunState::Failed { Tone::Bad } else { Tone::Warn };
        for line in problem.lines() {
            text.push_str(&format!("  {}\n", palette.paint(grade, &printable(line))));
        }
    }
    if !run.stages.is_empty() {
        text.push('\n');
        text.push_str(&stages(run, now, palette));
    }
    if !run.steps.is_empty() {
        text.push('\n');
        text.push_str(&steps(run, now, width, palette));
    }
    for step in run.steps.iter().filter(|step| step.has_failed() && !step.last_lines.is_empty()) {
        text.push_str(&last_lines(step, palette));
        let log = format!("the whole log: coordctl pipeline logs {} {}", run.run.pipeline, run.run.number);
        text.push_str(&format!("{}\n", palette.paint(Tone::Faint, &log)));
    }
    text
}

fn heading(run: &RunView, now: Timestamp, palette: Palette) -> String {
    let state = palette.paint(tone(run.state), &run.state.to_string());
    let when = match run.ended_at {
        Some(at) => format!("{}, took {}", ago(now, at), of_run(run, now)),
        None => format!("for {}, made {}", between(run.since, now), ago(now, run.made_at)),
    };
    let mut text = format!("{}  {state} {when}\n", palette.paint(Tone::Strong, &run.run.to_string()));
    let mut line = |key: &str, value: &str| text.push_str(&format!("  {key:<9} {}\n", printable(value)));
    match &run.about {
        Some(about) => {
            line("commit", &format!("{}  {}", run.commit.short(), about.subject));
            line("author", &format!("{}, {}", about.author, ago(now, about.at)));
        }
        None => line("commit", run.commit.short()),
    }
    line("cause", &run.cause);
    line("builder", run.builder.as_ref().map_or("none yet", |builder| builder.as_str()));
    if let Some(image) = &run.image {
        line("image", &image_line(image));
    }
    if let Some(deployed) = &run.deployed {
        line("deployed", &format!("{} revision {}", deployed.workload, deployed.revision));
    }
    text
}

fn image_line(image: &ImageMade) -> String {
    let tags = if image.tags.is_empty() { String::new() } else { format!(", tags {}", image.tags.join(", ")) };
    let size = ByteSize(image.layer_bytes).human();
    format!("{CENTRE}/{}@{}{tags}, layer of {size}", image.repository, image.digest.short())
}

fn stages(run: &RunView, now: Timestamp, palette: Palette) -> String {
    let mut table = Table::new(&[Column::left("STAGE"), Column::right("TOOK")]);
    for stage in &run.stages {
        let time = match stage.took_ms {
            Some(milliseconds) => Cell::new(took(milliseconds)),
            None => Cell::toned(format!("{} so far", between(stage.began_at, now)), Tone::Warn),
        };
        table.row([Cell::new(&stage.stage), time]);
    }
    table.render(None, palette)
}

fn steps(run: &RunView, now: Timestamp, width: Option<usize>, palette: Palette) -> String {
    let columns =
        [Column::left("STEP"), Column::left("RESULT"), Column::right("TOOK"), Column::left("COMMAND").shrinks(Shrink::End(20))];
    let mut table = Table::new(&columns);
    for step in &run.steps {
        let time = step.started_at.map(|at| between(at, step.ended_at.unwrap_or(now)));
        table.row([
            Cell::new(step.name()),
            result(step, run.state),
            Cell::new(time.as_deref().unwrap_or("-")),
            Cell::new(&step.command),
        ]);
        if let Some(problem) = &step.problem {
            table.note(Cell::default(), Cell::toned(problem, Tone::Bad), "");
        }
    }
    table.render(width, palette)
}

fn result(step: &StepReport, run: RunState) -> Cell {
    if step.has_failed() {
        let exit = step.exit.as_ref().map_or_else(|| "failed".to_owned(), |exit| format!("failed: {exit}"));
        return Cell::toned(exit, Tone::Bad);
    }
    match (step.started_at, step.ended_at) {
        (_, Some(_)) => Cell::toned("done", Tone::Good),
        (Some(_), None) => Cell::toned("running", Tone::Warn),
        (None, None) if run.is_over() => Cell::toned("not run", Tone::Faint),
        (None, None) => Cell::toned("to come", Tone::Faint),
    }
}

fn last_lines(step: &StepReport, palette: Palette) -> String {
    let title = format!("the last lines of {}", step.name());
    let mut text = format!("\n{}\n", palette.paint(Tone::Strong, &title));
    for line in &step.last_lines {
        text.push_str(&format!("  {} {}\n", palette.paint(Tone::Bad, "|"), printable_log_line(line)));
    }
    text
}
