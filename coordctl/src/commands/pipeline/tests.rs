//! What pipelines and runs look like.

use super::*;
use crate::expect::expect;
use crate::output::Palette;
use coord_shared::wire::RunsView;

const PLAIN: Palette = Palette { on: false };

#[test]
fn pipelines_and_runs_as_tables() {
    let view: PipelinesView = serde_json::from_str(include_str!("tests/pipelines.json")).expect("a view");
    expect("src/commands/pipeline/tests/pipelines.txt", &list::pipelines(&view, Some(110), PLAIN));
    let runs = view.pipelines.iter().filter_map(|pipeline| pipeline.last_run.clone()).collect();
    let view = RunsView { now: view.now, runs };
    expect("src/commands/pipeline/tests/runs.txt", &list::runs(&view, Some(110), PLAIN));
}

#[test]
fn runs_in_full() {
    let view: PipelinesView = serde_json::from_str(include_str!("tests/pipelines.json")).expect("a view");
    let mut text = String::new();
    for pipeline in &view.pipelines {
        text.push_str(&detail::pipeline(pipeline, PLAIN));
        if let Some(run) = &pipeline.last_run {
            text.push_str(&detail::run(run, view.now, Some(110), PLAIN));
        }
        text.push_str("\n---\n\n");
    }
    expect("src/commands/pipeline/tests/detail.txt", &text);
}
