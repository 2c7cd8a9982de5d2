//! Builders: which hosts can look at a source or build a run now, and why the others cannot.

use super::{BuilderFacts, Fleet, Wait};
use crate::names::{HostName, HostSelector, RunId};
use crate::wire::RunState;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a host that is lost keeps its watch: sources are looked at every minute or so, and a change of watcher means a fetch anew.
const WATCH_GRACE: Duration = Duration::from_secs(60);
/// What a builder must have free, in bytes: a checkout, a build image and an archive hardly fit into less.
const DISK_FREE_MIN_BYTES: u64 = 512 * 1024 * 1024;

/// The hosts, with what was given to them so far.
pub(super) struct Builders<'a> {
    pub(super) fleet: &'a Fleet,
    /// Runs that each of them builds.
    building: BTreeMap<&'a HostName, Vec<RunId>>,
    /// Sources that each of them looks at.
    watching: BTreeMap<&'a HostName, u32>,
}

/// Whether a host that looks at a source goes on doing so.
pub(super) enum Keeps {
    /// It can, and will be heard.
    Yes,
    /// It is not heard of; for so long it is waited for.
    For(Duration),
    /// It cannot any more.
    No,
}

impl<'a> Builders<'a> {
    pub(super) fn new(fleet: &'a Fleet) -> Self {
        let mut building: BTreeMap<&HostName, Vec<RunId>> = BTreeMap::new();
        let mut watching: BTreeMap<&HostName, u32> = BTreeMap::new();
        for (name, pipeline) in &fleet.pipelines {
            if let Some(watcher) = &pipeline.watcher {
                *watching.entry(watcher).or_default() += 1;
            }
            for (number, run) in &pipeline.runs {
                if let (RunState::Building, Some(builder)) = (run.state, &run.builder) {
                    building.entry(builder).or_default().push(RunId { pipeline: name.clone(), number: *number });
                }
            }
        }
        Self { fleet, building, watching }
    }

    pub(super) fn keeps_watch(&self, host: &HostName, selectors: &[HostSelector]) -> Keeps {
        let Some(facts) = self.fleet.hosts.get(host) else { return Keeps::No };
        if !matches(host, facts, selectors) {
            return Keeps::No;
        }
        match capacity(facts) {
            Some(_) if facts.liveness.is_reachable() => Keeps::Yes,
            None if facts.full.is_some() => Keeps::No,
            _ if facts.liveness.is_away() && facts.lost_for >= WATCH_GRACE => Keeps::No,
            _ => Keeps::For(WATCH_GRACE.saturating_sub(facts.lost_for)),
        }
    }

    /// Who shall look at a source: whoever built it last, else the one with the fewest sources.
    pub(super) fn watcher(&mut self, selectors: &[HostSelector], last: Option<&HostName>) -> Result<HostName, Wait> {
        let able = self.able(selectors)?;
        let watches = |host: &HostName| self.watching.get(host).copied().unwrap_or(0);
        let best = able.into_iter().min_by_key(|(host, _)| (Some(*host) != last, watches(host), *host));
        let (host, _) = best.ok_or(Wait::NoBuilder { selectors: shown(selectors) })?;
        *self.watching.entry(host).or_default() += 1;
        Ok(host.clone())
    }

    /// Who shall build `run`: whoever built the pipeline last, else the one with the least to do. It counts as given to him.
    pub(super) fn take(&mut self, run: &RunId, selectors: &[HostSelector], last: Option<&HostName>) -> Result<HostName, Wait> {
        let able = self.able(selectors)?;
        let mut busy = None;
        let mut free: Vec<(&HostName, usize)> = Vec::new();
        for (host, facts) in able {
            let full = facts.full.as_ref();
            let building = self.building.get(host).map_or(&[][..], Vec::as_slice);
            if full.is_some_and(|full| full.builds.iter().any(|build| build.run == *run)) {
                busy = Some(Wait::ClearingUp { host: host.clone() });
            } else if building.len() >= capacity(facts).unwrap_or(0) {
                busy = busy.or(Some(Wait::BuilderBusy { host: host.clone(), run: building.first().cloned() }));
            } else if let Some(free_bytes) =
                full.map(|full| full.facts.disk_free_bytes).filter(|free| *free < DISK_FREE_MIN_BYTES)
            {
                busy = busy.or(Some(Wait::DiskFull { host: host.clone(), free_bytes }));
            } else {
                free.push((host, building.len()));
            }
        }
        let best = free.into_iter().min_by_key(|(host, load)| (Some(*host) != last, *load, *host));
        let Some((host, _)) = best else {
            return Err(busy.unwrap_or(Wait::NoBuilder { selectors: shown(selectors) }));
        };
        self.building.entry(host).or_default().push(run.clone());
        Ok(host.clone())
    }

    /// The hosts that could build something if they had nothing else to do; why there is none.
    fn able(&self, selectors: &[HostSelector]) -> Result<Vec<(&'a HostName, &'a BuilderFacts)>, Wait> {
        let selected = self.fleet.hosts.iter().filter(|(host, facts)| matches(host, facts, selectors));
        let mut problem = None;
        let mut able = Vec::new();
        for (host, facts) in selected {
            if !facts.liveness.is_reachable() {
                problem = problem.or(Some(Wait::BuilderAway { host: host.clone(), liveness: facts.liveness }));
            } else if capacity(facts).is_none() {
                problem = problem.or(Some(Wait::DoesNotBuild { host: host.clone() }));
            } else {
                able.push((host, facts));
            }
        }
        if able.is_empty() {
            return Err(problem.unwrap_or(Wait::NoBuilder { selectors: shown(selectors) }));
        }
        Ok(able)
    }
}

fn matches(host: &HostName, facts: &BuilderFacts, selectors: &[HostSelector]) -> bool {
    selectors.iter().any(|selector| selector.matches(host, &facts.labels))
}

/// How many runs it builds at a time, as far as it said.
pub(super) fn capacity(facts: &BuilderFacts) -> Option<usize> {
    let builder = facts.full.as_ref()?.builder.as_ref()?;
    usize::try_from(builder.runs).ok()
}

fn shown(selectors: &[HostSelector]) -> String {
    selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A run's builder that is of no more use for it, and why.
pub(super) fn gone(fleet: &Fleet, host: &HostName, grace: Duration) -> Option<String> {
    let Some(facts) = fleet.hosts.get(host) else { return Some(format!("host {host} is not known any more")) };
    if facts.liveness.is_away() && facts.lost_for >= grace {
        return Some(format!("builder {host} was lost while it built"));
    }
    if facts.liveness.is_reachable() && facts.full.is_some() && capacity(facts).is_none() {
        return Some(format!("host {host} does not build any more"));
    }
    None
}
