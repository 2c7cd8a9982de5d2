//! One step, from its container's start to its end. The container outlives the agent: one that an earlier agent has started is gone on
//! with.

use super::disk;
use super::log::RunLog;
use super::places::Places;
use super::record::StepEnd;
use super::verdict::{Bounds, Why, verdict};
use super::{Stop, stopped};
use crate::clock;
use crate::engine::Engine;
use crate::logs::Follow;
use crate::nested::Doors;
use coord_runtime::{ContainerSpec, Exit, Runtime as _};
use coord_shared::decide::Mono;
use coord_shared::quantity::{Signal, Span};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// How long a step may take to end when it is asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Between two pieces of what a step prints. It prints no faster than its monitor writes, which this leaves room for; and whatever it prints,
/// everybody else on this thread has that much time for himself.
const BREATH: Duration = Duration::from_millis(20);

/// A step that is to be run, or gone on with.
pub(super) struct Step<'a> {
    pub(super) engine: &'a Engine,
    pub(super) doors: &'a Doors,
    /// As people name it.
    pub(super) name: String,
    pub(super) container: String,
    /// Where its monitor writes.
    pub(super) raw_log: PathBuf,
    /// When its time is over, and which time that is.
    pub(super) until: (Mono, Why),
    /// What is looked at for the limit of the disk, beside what is written within it.
    pub(super) folders: Vec<PathBuf>,
    pub(super) bounds: Bounds,
}

impl Step<'_> {
    /// Starts the container, unless it was started already. The error is in words for people.
    pub(super) async fn start(&self, spec: ContainerSpec) -> Result<(), String> {
        if self.engine.has_found(&self.container) {
            return Ok(());
        }
        let started = self.engine.runtime.start(spec).await.map_err(|error| {
            let causes = crate::chain(&error);
            error.hint().map_or(causes.clone(), |hint| format!("{causes}; {hint}"))
        })?;
        for weak in &started.weakened {
            tracing::info!(container = %self.container, %weak, "a step has less isolation than it should");
        }
        Ok(())
    }

    /// Waits for its end, or brings it about; nothing is left of it then but its files in the workspace.
    pub(super) async fn finish(mut self, log: &mut RunLog, stop: &mut watch::Receiver<Stop>) -> StepEnd {
        match self.engine.has_found(&self.container) {
            true => log.resume_step(&self.name),
            false => log.begin_step(),
        }
        let mut follow = Follow::from_start(&self.raw_log);
        let (exit, why) = self.attend(log, &mut follow, stop).await;
        self.doors.close(&self.container).await;
        // The monitor has written everything before it said how the container ended.
        while let Ok(lines) = follow.read()
            && !lines.is_empty()
        {
            log.copy(&self.name, lines);
        }
        if let Ok(usage) = self.engine.runtime.usage(&self.container) {
            self.bounds.pids_refused = usage.pids.refused.unwrap_or_default();
        }
        let end = verdict(&exit, why, &self.bounds);
        if let Some(problem) = &end.problem {
            log.tell(&self.name, problem, clock::now().wall);
        }
        let last_lines = log.end_step(&self.name, clock::now().wall);
        let has_failed = end.problem.is_some() || end.exit.as_ref().is_none_or(|exit| !exit.is_success());
        StepEnd { last_lines: if has_failed { last_lines } else { Vec::new() }, ..end }
    }

    async fn attend(&self, log: &mut RunLog, follow: &mut Follow, stop: &mut watch::Receiver<Stop>) -> (Exit, Option<Why>) {
        let mut why = None;
        let mut kill_at: Option<Mono> = None;
        let (until, time) = self.until;
        let folders = || self.folders.iter().cloned().chain(self.doors.written(&self.container)).collect();
        let filled = disk::filled(folders, self.bounds.disk_bytes);
        let mut filled = std::pin::pin!(filled);
        loop {
            let timer = match (why, kill_at) {
                (None, _) => Some(until),
                (Some(_), kill_at) => kill_at,
            };
            // A timer for what is past is one for the next millisecond, and would never be the first to be ready while there is always
            // something to read.
            if timer.is_some_and(|at| at <= clock::now().mono) {
                if why.is_some() {
                    (kill_at, _) = (None, self.kill());
                } else {
                    (why, kill_at) = (Some(time), self.ask_to_end());
                }
                continue;
            }
            tokio::select! {
                exit = self.engine.ended(&self.container) => return (exit, why),
                lines = follow.next() => match lines {
                    Ok(lines) => {
                        log.copy(&self.name, lines);
                        tokio::time::sleep(BREATH).await;
                    }
                    Err(error) => {
                        tracing::warn!(container = %self.container, %error, "cannot read what a step prints");
                        tokio::time::sleep(GRACE).await;
                    }
                },
                () = sleep_until(timer) => {}
                () = stopped(stop), if why.is_none() => {
                    (why, kill_at) = (Some(Why::Stopped), self.ask_to_end());
                }
                too_much = &mut filled, if why.is_none() => {
                    why = Some(Why::Disk(too_much));
                    self.kill();
                }
            }
        }
    }

    fn ask_to_end(&self) -> Option<Mono> {
        // One that cannot be asked is killed when its time is over.
        let _ = self.engine.runtime.signal(&self.container, Signal::TERM.0);
        Some(clock::now().mono.after(GRACE))
    }

    fn kill(&self) {
        if let Err(error) = self.engine.runtime.kill(&self.container) {
            tracing::error!(container = %self.container, error = %crate::chain(&error), "cannot kill a step");
        }
    }
}

/// Removes a step's container and what it printed.
pub(super) async fn remove(engine: &Engine, places: &Places, container: &str) {
    if let Err(error) = engine.remove(container).await {
        tracing::warn!(%container, error = %crate::chain(&error), "something is left of a step");
    }
    for in_memory in [true, false] {
        remove_log(&places.raw_log(container, in_memory));
    }
}

/// The log, and what it was rotated to.
fn remove_log(path: &std::path::Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else { return };
    for found in super::places::names(folder).into_iter().filter(|found| found.starts_with(name)) {
        // One that stays is removed with its run.
        let _ = std::fs::remove_file(folder.join(found));
    }
}

/// The earlier of two ends.
pub(super) fn earlier(step: (Mono, Span), run: (Mono, Span)) -> (Mono, Why) {
    if run.0 < step.0 { (run.0, Why::RunTime(run.1)) } else { (step.0, Why::StepTime(step.1)) }
}

async fn sleep_until(at: Option<Mono>) {
    match at {
        Some(at) => tokio::time::sleep_until(clock::timer_at(at)).await,
        None => std::future::pending().await,
    }
}
