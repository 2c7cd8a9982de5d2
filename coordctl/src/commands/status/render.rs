//! The status as text: the overview of all workloads, and one workload in detail.

use super::converge::{Grade, Shortfall, aftermath, shortfalls};
use super::notes;
use crate::output::{Cell, Column, Palette, Shrink, Table, Tone, age, ago, printable};
use coord_shared::names::Commit;
pub(in crate::commands) use coord_shared::text::nested::short_image;
use coord_shared::wire::{InstanceView, ProblemView, StatusView, WorkloadView};
use jiff::Timestamp;

/// Most lines of one workload in the overview; a fleet that waits is not to push the next workload off the screen.
const SHORTFALLS_MAX: usize = 8;

/// How to show it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Columns to fit; `None` cuts nothing.
    pub(super) width: Option<usize>,
    pub(super) palette: Palette,
    /// All hosts, whole diagnostics.
    pub(super) verbose: bool,
}

/// The columns before the commit, which only those have that a pipeline made.
const OVERVIEW_LEFT: [Column; 3] =
    [Column::left("WORKLOAD").shrinks(Shrink::End(16)), Column::right("REV"), Column::left("IMAGE").shrinks(Shrink::Start(20))];
const OVERVIEW_RIGHT: [Column; 3] = [Column::right("READY"), Column::right("RESTARTS"), Column::right("AGE")];

/// Problems on top, then a row for each workload, and under it what is not as desired.
pub(super) fn overview(status: &StatusView, look: Look) -> String {
    let mut text = problems(&status.problems, look);
    if status.workloads.is_empty() {
        return text;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let commits = status.workloads.iter().any(|workload| commit(workload).is_some());
    let commit_column = commits.then_some(Column::left("COMMIT").shrinks(Shrink::End(12)));
    let columns: Vec<Column> = OVERVIEW_LEFT.into_iter().chain(commit_column).chain(OVERVIEW_RIGHT).collect();
    let mut table = Table::new(&columns);
    for workload in &status.workloads {
        let found = shortfalls(workload, status.now);
        let left = [
            Cell::new(&workload.name),
            Cell::new(dash(workload.revision)),
            Cell::new(workload.image.as_ref().map_or_else(|| "-".to_owned(), short_image)),
        ];
        let right = [
            Cell::toned(ready(workload), ready_tone(&found)),
            Cell::new(restarts(workload).to_string()),
            Cell::new(workload.published_at.map_or_else(|| "-".to_owned(), |at| age(status.now, at))),
        ];
        table.row(left.into_iter().chain(commits.then(|| commit_cell(workload, look.verbose))).chain(right));
        let shown = if look.verbose || found.len() <= SHORTFALLS_MAX + 1 { found.len() } else { SHORTFALLS_MAX };
        for shortfall in &found[..shown] {
            let head = shortfall.host.as_ref().map_or_else(Cell::default, Cell::new);
            table.note(head, Cell::toned(&shortfall.text, tone(shortfall.grade)), shortfall.when.as_str());
        }
        if shown < found.len() {
            let rest = format!("and {} more, see `coordctl status {}`", found.len() - shown, workload.name);
            table.note(Cell::default(), Cell::toned(rest, Tone::Faint), "");
        }
        notes::of_workload(workload, status.now, look.verbose, &mut table);
    }
    text.push_str(&table.render(look.width, look.palette));
    text
}

/// The commit that the newest revision was made from, where it is known.
fn commit(workload: &WorkloadView) -> Option<&Commit> {
    workload.origin.as_ref()?.commit.as_ref()
}

/// On demand with the first line of its message.
fn commit_cell(workload: &WorkloadView, verbose: bool) -> Cell {
    let subject = workload.origin.as_ref().map_or("", |origin| origin.subject.as_str());
    Cell::new(match commit(workload) {
        Some(commit) if verbose && !subject.is_empty() => format!("{} {subject}", commit.short()),
        Some(commit) => commit.short().to_owned(),
        None => "-".to_owned(),
    })
}

const INSTANCES: [Column; 7] = [
    Column::left("INSTANCE"),
    Column::left("HOST").shrinks(Shrink::End(16)),
    Column::left("STATE"),
    Column::right("REV"),
    Column::right("RESTARTS"),
    Column::right("SINCE"),
    Column::left("LAST EXIT"),
];

/// One workload (the first of the view, which holds no other) with each of its instances. Reasons are not cut here.
pub(super) fn detail(status: &StatusView, look: Look) -> String {
    let mut text = problems(&status.problems, Look { verbose: true, ..look });
    let Some(workload) = status.workloads.first() else { return text };
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&heading(workload, status.now, look.palette));
    let found = shortfalls(workload, status.now);
    for shortfall in found.iter().filter(|shortfall| shortfall.host.is_none()) {
        let line = format!("{}{}", printable(&shortfall.text), shortfall.when);
        text.push_str(&format!("  {}\n", look.palette.paint(tone(shortfall.grade), &line)));
    }
    if workload.instances.is_empty() {
        return text;
    }
    let mut table = Table::new(&INSTANCES);
    for instance in &workload.instances {
        table.row(instance_row(instance, workload, &found, status.now));
        let here: Vec<&Shortfall> = found.iter().filter(|shortfall| shortfall.host.as_ref() == Some(&instance.host)).collect();
        let is_desired = here.is_empty() && instance.liveness.is_reachable();
        let after = instance.report.as_ref().filter(|_| is_desired).and_then(|report| aftermath(report, status.now));
        for shortfall in here.into_iter().chain(&after) {
            let line = format!("{}{}", shortfall.text, shortfall.when);
            table.note(Cell::default(), Cell::toned(line, tone(shortfall.grade)), "");
        }
        if let Some(report) = instance.report.as_ref().filter(|_| instance.liveness.is_reachable()) {
            notes::of_instance(report, status.now, look.verbose, &mut table);
        }
    }
    text.push('\n');
    text.push_str(&table.render(None, look.palette));
    text
}

fn heading(workload: &WorkloadView, now: Timestamp, palette: Palette) -> String {
    let name = palette.paint(Tone::Strong, workload.name.as_str());
    let revision = workload.revision.map_or_else(|| "not published".to_owned(), |revision| format!("revision {revision}"));
    let published = workload.published_at.map_or_else(String::new, |at| format!(", published {}", ago(now, at)));
    let deleting = if workload.deleting { ", being deleted" } else { "" };
    let mut text = format!("{name}  {revision}{published}{deleting}\n");
    let mut line = |key: &str, value: String| text.push_str(&format!("  {key:<7} {}\n", printable(&value)));
    line("source", workload.source.clone());
    if let Some(image) = &workload.image {
        line("image", image.to_string());
    }
    if let Some(digest) = &workload.digest {
        line("digest", digest.to_string());
    }
    if let Some(origin) = &workload.origin {
        if let Some(commit) = &origin.commit {
            line("commit", format!("{} {}", commit.short(), origin.subject));
        }
        if let Some(run) = &origin.run {
            line("run", run.to_string());
        }
    }
    line("ready", format!("{} of {}", workload.ready, workload.targets));
    text
}

fn instance_row(instance: &InstanceView, workload: &WorkloadView, found: &[Shortfall], now: Timestamp) -> [Cell; 7] {
    let report = instance.report.as_ref();
    let well = !found.iter().any(|shortfall| shortfall.host.as_ref() == Some(&instance.host));
    // What a host that is not heard of said last is history, not its state.
    let state = match report {
        Some(report) if instance.liveness.is_reachable() => match &report.health {
            Some(health) => format!("{} ({})", report.state, health.status),
            None => report.state.to_string(),
        },
        Some(report) => format!("unknown (was {})", report.state),
        None => "unknown".to_owned(),
    };
    let id = report.map_or_else(|| format!("{}.0", workload.name), |report| report.instance.to_string());
    let since = report.map_or_else(|| "-".to_owned(), |report| age(now, report.since));
    let exit = report
        .and_then(|report| report.last_exit)
        .map_or_else(|| "-".to_owned(), |exit| format!("{exit}, {}", ago(now, exit.at)));
    [
        Cell::new(id),
        Cell::new(&instance.host),
        Cell::toned(state, if well { Tone::Good } else { Tone::Plain }),
        Cell::new(dash(report.and_then(|report| report.revision))),
        Cell::new(report.map_or_else(|| "-".to_owned(), |report| report.restarts.to_string())),
        Cell::new(since),
        Cell::new(exit),
    ]
}

/// `web.toml:3:1: unknown key "imge"`: the place first, as compilers write it, so that editors can jump there.
pub(in crate::commands) fn problem_line(problem: &ProblemView) -> String {
    let source = problem.source.strip_prefix("folder:").unwrap_or(&problem.source).replacen("host:", "host ", 1);
    let source = source.replacen("pipelines:", "pipelines/", 1);
    // A summary begins with line:column where there is one.
    let gap = if problem.summary.starts_with(|c: char| c.is_ascii_digit()) { ":" } else { ": " };
    printable(&format!("{source}{gap}{}", problem.summary))
}

/// A line each, and on demand its whole diagnostics.
fn problems(problems: &[ProblemView], look: Look) -> String {
    let mut text = String::new();
    for problem in problems {
        let mut line = problem_line(problem);
        if let Some(width) = look.width.filter(|_| !look.verbose)
            && line.chars().count() + 2 > width
        {
            line = line.chars().take(width - 3).chain(['…']).collect();
        }
        text.push_str(&format!("{} {line}\n", look.palette.paint(Tone::Bad, "!")));
        if let Some(detail) = problem.detail.as_ref().filter(|_| look.verbose) {
            for line in detail.lines() {
                text.push_str(format!("    {}", printable(line)).trim_end());
                text.push('\n');
            }
        }
    }
    text
}

fn ready(workload: &WorkloadView) -> String {
    format!("{}/{}", workload.ready, workload.targets)
}

fn ready_tone(found: &[Shortfall]) -> Tone {
    found.iter().map(|shortfall| shortfall.grade).min().map_or(Tone::Good, tone)
}

fn restarts(workload: &WorkloadView) -> u64 {
    workload.instances.iter().filter_map(|instance| instance.report.as_ref()).map(|report| u64::from(report.restarts)).sum()
}

fn tone(grade: Grade) -> Tone {
    match grade {
        Grade::Failing => Tone::Bad,
        Grade::Working => Tone::Warn,
        Grade::Waiting => Tone::Faint,
    }
}

fn dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
