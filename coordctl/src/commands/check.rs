//! `coordctl check`: documents, pipelines and recipes, without a coordinator.
//!
//! The diagnostics are this command's data, so they go to stdout. The same parser decides in the coordinator and in every agent.

use super::files::{self, FileError, Subject, TextFile};
use super::words;
use crate::cli::{CheckArgs, Format};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use coord_shared::document::Diagnostics;
use serde::Serialize;

/// What was found in one file, for programs.
#[derive(Debug, Serialize)]
struct FileView {
    file: String,
    /// `document`, `pipeline` or `recipe`; absent where the file could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    workload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline: Option<String>,
    valid: bool,
    mistakes: Vec<MistakeView>,
}

/// One mistake, for programs. Line and column count from 1, columns in characters; absent where it concerns the whole file.
#[derive(Debug, Serialize)]
struct MistakeView {
    rule: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

pub(super) fn run(args: &CheckArgs, output: &Output) -> Result<Exit, Failure> {
    let (files, errors) = files::load(&args.paths, None);
    let found: Vec<(TextFile, Option<Diagnostics>)> =
        files.into_iter().map(|file| (file.diagnostics(), file)).map(|(diagnostics, file)| (file, diagnostics)).collect();
    let bad = errors.len() + found.iter().filter(|(_, diagnostics)| diagnostics.is_some()).count();
    let total = errors.len() + found.len();
    let noun = noun(&found);
    match args.format.format {
        Format::Table => {
            show(&found, output)?;
            errors.into_iter().for_each(|error| output.failure(&error.into()));
        }
        Format::Json => {
            let views = found.iter().map(|(file, diagnostics)| view(file, diagnostics.as_ref()));
            output.json(&views.chain(errors.into_iter().map(error_view)).collect::<Vec<_>>())?;
        }
    }
    output.message(&match bad {
        0 if total == 1 => format!("the {noun} is good"),
        0 => format!("all {total} {noun}s are good"),
        bad => format!("{bad} of {} bad", words::count(total, noun) + if bad == 1 { " is" } else { " are" }),
    });
    Ok(if bad == 0 { Exit::Done } else { Exit::Error })
}

/// What the files are: one word for all of a kind.
fn noun(found: &[(TextFile, Option<Diagnostics>)]) -> &'static str {
    let mut kinds = found.iter().map(|(file, _)| file.subject.kind());
    match kinds.next() {
        Some(first) if kinds.all(|kind| kind == first) => first.noun(),
        Some(_) => "file",
        None => "document",
    }
}

fn show(found: &[(TextFile, Option<Diagnostics>)], output: &Output) -> std::io::Result<()> {
    for (file, diagnostics) in found {
        if let Some(diagnostics) = diagnostics {
            output.data(&diagnostics.render(&file.path.display().to_string(), &file.text, output.palette.on))?;
            output.data("\n")?;
        }
    }
    Ok(())
}

fn view(file: &TextFile, diagnostics: Option<&Diagnostics>) -> FileView {
    let mistakes = diagnostics.into_iter().flat_map(Diagnostics::iter).map(|mistake| {
        let (line, column) = position(&file.text, mistake.span.start);
        MistakeView {
            rule: mistake.rule.code().to_owned(),
            message: mistake.message.clone(),
            line: Some(line),
            column: Some(column),
            hint: mistake.hint.clone(),
        }
    });
    FileView {
        file: file.path.display().to_string(),
        kind: Some(file.subject.kind().noun()),
        workload: if let Subject::Document(workload) = &file.subject { Some(workload.to_string()) } else { None },
        pipeline: if let Subject::Pipeline(name) = &file.subject { Some(name.to_string()) } else { None },
        valid: diagnostics.is_none(),
        mistakes: mistakes.collect(),
    }
}

fn error_view(error: FileError) -> FileView {
    let file = error.path().display().to_string();
    let failure = Failure::from(error);
    let mistake =
        MistakeView { rule: "unusable-file".to_owned(), message: failure.message, line: None, column: None, hint: failure.hint };
    FileView { file, kind: None, workload: None, pipeline: None, valid: false, mistakes: vec![mistake] }
}

/// Line and column of a byte, both from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
