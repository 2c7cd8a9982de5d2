//! Metrics in Prometheus's text format (exposition format 0.0.4): counts kept here, everything else read when asked.

use crate::http::App;
use coord_shared::decide::liveness::Liveness;
use coord_shared::wire::InstanceState;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::{Mutex, PoisonError};

/// Counts of requests, by route and status.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
}

impl Metrics {
    /// Counts one answered request. `route` is a pattern of the router, so the number of series is bounded.
    pub fn count_request(&self, route: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        match requests.get_mut(&(route.to_owned(), status)) {
            Some(count) => *count += 1,
            None => {
                requests.insert((route.to_owned(), status), 1);
            }
        }
    }

    fn requests(&self) -> BTreeMap<(String, u16), u64> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Everything, as text.
pub fn render(app: &App) -> String {
    let mut text = Text::default();
    hosts(app, &mut text);
    let board = app.board.borrow();
    let workloads = board.workloads.values().filter(|workload| !workload.record.deleted).count();
    drop(board);
    text.metric("coord_workloads", "gauge", "Published workloads.").value("", workloads);
    let waiting = app.publisher.waiting.list().len();
    text.metric("coord_waiting_documents", "gauge", "Documents that wait for their image to be resolved.").value("", waiting);
    let problems = app.problems.list().len();
    text.metric("coord_problems", "gauge", "Sources that could not be published.").value("", problems);
    let published = app.publisher.published_count();
    text.metric("coord_publish_total", "counter", "Revisions published by this process.").value("", published);
    pipelines(app, &mut text);
    text.metric("coord_http_requests_total", "counter", "Answered requests.");
    for ((route, status), count) in app.metrics.requests() {
        text.value(&format!("route=\"{route}\",status=\"{status}\""), count);
    }
    text.metric("coord_long_polls", "gauge", "Agents' polls that are waiting.").value("", app.hosts.waiting_polls());
    let timings = app.store.timings();
    text.metric("coord_store_commits_total", "counter", "Commits of the store to disk.").value("", timings.commits);
    text.metric("coord_store_transactions_total", "counter", "Transactions of the store.").value("", timings.transactions);
    let seconds = timings.commit_us as f64 / 1e6;
    text.metric("coord_store_commit_seconds_total", "counter", "Time spent in commits.").value("", seconds);
    process(&mut text);
    text.0
}

fn hosts(app: &App, text: &mut Text) {
    let summaries = app.hosts.summaries(crate::clock::now().mono);
    let mut by_liveness: BTreeMap<&str, u64> = BTreeMap::new();
    let mut by_state: BTreeMap<&str, u64> = BTreeMap::new();
    for name in [Liveness::Ready, Liveness::Late, Liveness::Lost, Liveness::Unknown].map(liveness_name) {
        by_liveness.insert(name, 0);
    }
    for summary in summaries.values() {
        *by_liveness.entry(liveness_name(summary.liveness)).or_default() += 1;
        for instance in summary.full.iter().flat_map(|full| &full.instances) {
            *by_state.entry(state_name(instance.state)).or_default() += 1;
        }
    }
    text.metric("coord_hosts", "gauge", "Known hosts, by whether they are heard of.");
    for (liveness, count) in by_liveness {
        text.value(&format!("liveness=\"{liveness}\""), count);
    }
    text.metric("coord_instances", "gauge", "Instances, as their hosts last reported them.");
    for (state, count) in by_state {
        text.value(&format!("state=\"{state}\""), count);
    }
}

fn pipelines(app: &App, text: &mut Text) {
    let findings = app.pipelines.findings();
    text.metric("coord_pipelines", "gauge", "Pipelines.").value("", findings.pipelines.len());
    text.metric("coord_runs", "gauge", "Runs of pipelines that are kept, by state.");
    for (state, count) in &findings.runs {
        text.value(&format!("state=\"{state}\""), count);
    }
    text.metric("coord_runs_ended_total", "counter", "Runs that ended in this process, by how.");
    for (state, ended) in &findings.ended {
        text.value(&format!("state=\"{state}\""), ended.count);
    }
    text.metric("coord_run_seconds_total", "counter", "Time from the making of these runs to their ends.");
    for (state, ended) in &findings.ended {
        text.value(&format!("state=\"{state}\""), ended.seconds);
    }
}

/// proc(5): what the kernel says of this process. Left out where it says nothing.
fn process(text: &mut Text) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    if let Some(kib) = kib {
        text.metric("process_resident_memory_bytes", "gauge", "Resident memory.").value("", kib * 1024);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        text.metric("process_open_fds", "gauge", "Open file descriptors.").value("", open.count());
    }
    if let Some(start) = crate::clock::process_start() {
        let seconds = start.as_millisecond() as f64 / 1e3;
        text.metric("process_start_time_seconds", "gauge", "Start of the process, since the epoch.").value("", seconds);
    }
}

fn liveness_name(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Ready => "ready",
        Liveness::Late => "late",
        Liveness::Lost => "lost",
        Liveness::Unknown => "unknown",
    }
}

fn state_name(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Pending => "pending",
        InstanceState::Starting => "starting",
        InstanceState::Running => "running",
        InstanceState::Stopping => "stopping",
        InstanceState::Exited => "exited",
        InstanceState::Unknown => "unknown",
    }
}

/// The text being written; `value` belongs to the last `metric`.
#[derive(Default)]
struct Text(String, &'static str);

impl Text {
    fn metric(&mut self, name: &'static str, kind: &str, help: &str) -> &mut Self {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self.1 = name;
        self
    }

    fn value(&mut self, labels: &str, value: impl Display) {
        let name = self.1;
        let _ =
            if labels.is_empty() { writeln!(self.0, "{name} {value}") } else { writeln!(self.0, "{name}{{{labels}}} {value}") };
    }
}
