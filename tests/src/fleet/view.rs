//! What a fleet says of itself, and what is really there: for tests that compare the two.
//!
//! Status comes from `coordctl`, as a person would ask; processes, containers and logs come from the kernel and the
//! files, because a status that lies is one of the things to be found.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coord_shared::wire::{HistoryView, InstanceState, InstanceView, Report, StatusView, WorkloadView};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{FLEET_LIMIT, Fleet};
use crate::process::{Pid, describe};
use crate::{http, wait};

/// One line of an instance's log, as its file has it.
#[derive(Debug, Clone, Deserialize)]
pub struct LogLine {
    /// When, by the host's clock.
    pub t: String,
    /// `out` or `err`.
    pub s: String,
    /// The text.
    pub m: String,
}

impl Fleet {
    /// `coordctl status`.
    pub fn status(&self) -> Result<StatusView> {
        self.ask(&["status", "-o", "json"])
    }

    /// `coordctl history`.
    pub fn history(&self, workload: &str) -> Result<HistoryView> {
        self.ask(&["history", workload, "-o", "json"])
    }

    fn ask<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let output = self.coordctl(args)?;
        if !output.status.success() {
            bail!("coordctl {args:?}: {}", describe(&output));
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("coordctl {args:?} gives other JSON than agreed"))
    }

    /// Waits until the status fulfils a condition, and gives it. Errors show the last one.
    pub fn wait_status(&self, what: &str, condition: impl FnMut(&StatusView) -> bool) -> Result<StatusView> {
        self.wait_status_for(FLEET_LIMIT, what, condition)
    }

    /// [`Fleet::wait_status`] with a limit of its own.
    pub fn wait_status_for(
        &self,
        limit: Duration,
        what: &str,
        mut condition: impl FnMut(&StatusView) -> bool,
    ) -> Result<StatusView> {
        let mut last = String::new();
        let found = wait::wait_for(limit, what, || match self.status() {
            Ok(status) => {
                last = format!("{status:#?}");
                condition(&status).then_some(status)
            }
            Err(error) => {
                last = format!("{error:#}");
                None
            }
        });
        found.with_context(|| format!("the last status:\n{last}"))
    }

    /// Waits until exactly these hosts run the newest revision of a workload and say that it is ready.
    pub fn wait_ready(&self, workload: &str, hosts: &[&str]) -> Result<WorkloadView> {
        let what = format!("{workload} is ready on exactly {hosts:?}");
        let status = self.wait_status(&what, |status| {
            let found = status.workloads.iter().find(|found| found.name.to_string() == workload);
            found.is_some_and(|found| is_ready_on(found, hosts))
        })?;
        view(&status, workload)
    }

    /// Waits until one host has one workload ready in revision `revision` or a later one.
    pub fn wait_revision(&self, workload: &str, revision: u64) -> Result<WorkloadView> {
        let what = format!("{workload} is ready everywhere, in revision {revision} or later");
        let status = self.wait_status(&what, |status| {
            let found = status.workloads.iter().find(|found| found.name.to_string() == workload);
            found.is_some_and(|found| {
                found.revision.is_some_and(|newest| newest.0 >= revision)
                    && found.targets > 0
                    && found.instances.iter().all(|instance| is_ready(instance, found))
            })
        })?;
        view(&status, workload)
    }

    /// Waits until the coordinator shows a workload no more: the last container of it is gone.
    pub fn wait_gone(&self, workload: &str) -> Result<StatusView> {
        self.wait_status(&format!("{workload} is gone"), |status| {
            status.workloads.iter().all(|found| found.name.to_string() != workload)
        })
    }

    /// The containers that a host really has: the names of their folders.
    pub fn containers(&self, number: usize) -> Vec<String> {
        let entries = fs::read_dir(self.agents[number].run_dir.join("c")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// All that an instance has written, in order, over all of its containers.
    pub fn log_lines(&self, number: usize, instance: &str) -> Result<Vec<LogLine>> {
        let path = self.agents[number].state_dir.join("log").join(format!("{instance}.jsonl"));
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        // The last line may be on its way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().map(|line| serde_json::from_str(line).with_context(|| format!("log line {line:?}")));
        lines.collect()
    }

    /// Sends a report as an agent would, and gives the answer.
    pub fn post_report(&self, host: &str, token: &str, report: &Report) -> Result<http::Answer> {
        self.post(&format!("/v1/hosts/{host}/report"), token, &serde_json::to_vec(report)?)
    }

    /// One POST of JSON to a coordinator on loopback.
    pub fn post(&self, path: &str, token: &str, body: &[u8]) -> Result<http::Answer> {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        http::request("POST", &format!("{}{path}", self.url), &headers, body)
    }
}

/// The workload of a status.
pub fn view(status: &StatusView, workload: &str) -> Result<WorkloadView> {
    let found = status.workloads.iter().find(|found| found.name.to_string() == workload);
    found.cloned().with_context(|| format!("the status has no {workload}: {status:#?}"))
}

/// The instance on a host.
pub fn on<'a>(workload: &'a WorkloadView, host: &str) -> Result<&'a InstanceView> {
    let found = workload.instances.iter().find(|instance| instance.host.to_string() == host);
    found.with_context(|| format!("{} has no instance on {host}: {workload:#?}", workload.name))
}

/// The first process of the instance on a host, as its agent numbers it.
pub fn pid_on(workload: &WorkloadView, host: &str) -> Result<Pid> {
    let pid = on(workload, host)?.report.as_ref().and_then(|report| report.pid);
    let pid = pid.with_context(|| format!("{} does not run on {host}: {workload:#?}", workload.name))?;
    Ok(Pid::from_raw(i32::try_from(pid)?))
}

/// How often the instance on a host was restarted.
pub fn restarts_on(workload: &WorkloadView, host: &str) -> Result<u32> {
    let report = on(workload, host)?.report.as_ref();
    report.map(|report| report.restarts).with_context(|| format!("{host} has reported nothing of {}", workload.name))
}

/// Everything that the fleet says is amiss with a workload, a sentence a line.
pub fn reasons(workload: &WorkloadView) -> String {
    let own = workload.reasons.iter();
    let reported = workload.instances.iter().filter_map(|instance| instance.report.as_ref()?.reason.as_ref());
    let seen = workload.instances.iter().filter_map(|instance| instance.reason.as_ref());
    own.chain(reported).chain(seen).map(|reason| format!("{reason}\n")).collect()
}

fn is_ready_on(workload: &WorkloadView, hosts: &[&str]) -> bool {
    let names = workload.instances.iter().map(|instance| instance.host.to_string());
    names.eq(hosts.iter().map(|host| (*host).to_owned()))
        && workload.instances.iter().all(|instance| is_ready(instance, workload))
        && usize::try_from(workload.ready).is_ok_and(|ready| ready == hosts.len())
}

fn is_ready(instance: &InstanceView, workload: &WorkloadView) -> bool {
    let Some(report) = &instance.report else { return false };
    report.ready && report.state == InstanceState::Running && report.revision == workload.revision
}
