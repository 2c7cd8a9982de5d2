//! All pipelines, and all runs of one, as tables.

use super::took::{of_run, tone};
use crate::commands::status::problem_line;
use crate::output::{Cell, Column, Palette, Shrink, Table, Tone, ago};
use coord_shared::wire::{PipelineView, PipelinesView, RunState, RunsView};

const PIPELINES: [Column; 7] = [
    Column::left("PIPELINE").shrinks(Shrink::End(12)),
    Column::left("REPOSITORY").shrinks(Shrink::Start(20)),
    Column::left("HEAD"),
    Column::right("RUN"),
    Column::left("STATE"),
    Column::right("TOOK"),
    Column::right("SINCE"),
];

/// Files that are no pipelines on top, then a row for each pipeline, and under it what stands in its way.
pub(super) fn pipelines(view: &PipelinesView, width: Option<usize>, palette: Palette) -> String {
    let mut text = String::new();
    for problem in &view.problems {
        text.push_str(&format!("{} {}\n", palette.paint(Tone::Bad, "!"), problem_line(problem)));
    }
    if view.pipelines.is_empty() {
        return text;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let mut table = Table::new(&PIPELINES);
    for pipeline in &view.pipelines {
        table.row(row(pipeline, view));
        for problem in &pipeline.problems {
            table.note(Cell::default(), Cell::toned(problem, Tone::Bad), "");
        }
        let last = pipeline.last_run.as_ref();
        if let Some((run, problem)) = last.and_then(|run| Some((run, run.problem.as_ref()?))) {
            let grade = if run.state == RunState::Failed { Tone::Bad } else { Tone::Faint };
            table.note(Cell::new(run.run.to_string()), Cell::toned(first_line(problem), grade), "");
        }
    }
    text.push_str(&table.render(width, palette));
    text
}

fn row(pipeline: &PipelineView, view: &PipelinesView) -> [Cell; 7] {
    let run = pipeline.last_run.as_ref();
    let head = pipeline.head.as_ref().map_or("-", |head| head.commit.short());
    [
        Cell::new(&pipeline.name),
        Cell::new(&pipeline.repository),
        Cell::new(head),
        Cell::new(run.map_or_else(|| "-".to_owned(), |run| run.run.number.to_string())),
        run.map_or_else(|| Cell::new("-"), |run| Cell::toned(run.state.to_string(), tone(run.state))),
        Cell::new(run.map_or_else(|| "-".to_owned(), |run| of_run(run, view.now))),
        Cell::new(run.map_or_else(|| "-".to_owned(), |run| ago(view.now, run.ended_at.unwrap_or(run.since)))),
    ]
}

const RUNS: [Column; 8] = [
    Column::right("RUN"),
    Column::left("STATE"),
    Column::left("COMMIT"),
    Column::left("SUBJECT").shrinks(Shrink::End(16)),
    Column::left("CAUSE").shrinks(Shrink::End(12)),
    Column::left("BUILDER").shrinks(Shrink::End(12)),
    Column::right("TOOK"),
    Column::right("MADE"),
];

/// A row for each run, and under it why it is not well.
pub(super) fn runs(view: &RunsView, width: Option<usize>, palette: Palette) -> String {
    let mut table = Table::new(&RUNS);
    for run in &view.runs {
        table.row([
            Cell::new(run.run.number.to_string()),
            Cell::toned(run.state.to_string(), tone(run.state)),
            Cell::new(run.commit.short()),
            Cell::new(run.about.as_ref().map_or("-", |about| about.subject.as_str())),
            Cell::new(&run.cause),
            Cell::new(run.builder.as_ref().map_or("-", |builder| builder.as_str())),
            Cell::new(of_run(run, view.now)),
            Cell::new(ago(view.now, run.made_at)),
        ]);
        if let Some(problem) = &run.problem {
            let grade = if run.state == RunState::Failed { Tone::Bad } else { Tone::Faint };
            table.note(Cell::default(), Cell::toned(first_line(problem), grade), "");
        }
    }
    table.render(width, palette)
}

/// Of a text that may be whole diagnostics, what fits a table.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
