//! Hosts: what the agents say, and what they are told. All of it memory; nothing here writes to the store.
//!
//! Who is known comes from the store by way of the controller; what a host should run comes compiled from there too. Agents bring
//! reports and wait in long polls, each of which sleeps on its own host's bell: a change rings only where something changed.

mod builds;
mod observed;
mod poll;

pub use builds::BuilderView;
pub use observed::{Observed, ReadyMark};
pub use poll::{Compiled, Poll};

use coord_shared::decide::liveness::{Liveness, LivenessLimits, liveness_since};
use coord_shared::decide::{Mono, Now};
use coord_shared::names::{Generation, HostName, InstanceId};
use coord_shared::wire::{FullReport, Report, ReportAnswer, Session};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Sessions that may wait for one host's agent: more than an admin opens by hand, and a bound on what an absent agent piles up.
pub const SESSIONS_PER_HOST_MAX: usize = 32;

/// All known hosts.
pub struct Hosts {
    by_name: Mutex<BTreeMap<HostName, Host>>,
    limits: LivenessLimits,
    /// Rings when a report changed something that decisions depend on.
    changed: Notify,
    /// Rings when a report said something new of sources and builds.
    building: Notify,
    polls: AtomicUsize,
}

#[derive(Default)]
struct Host {
    /// Since when this process listens for it.
    listening_since: Mono,
    heard: Option<Now>,
    run: String,
    /// The agent process before this one, whose late reports must not count.
    previous_run: String,
    sequence: u64,
    agent_version: Option<String>,
    accepted: Option<Generation>,
    full: Option<Arc<FullReport>>,
    /// The agent process that sent `full`.
    full_run: String,
    ready: BTreeMap<InstanceId, ReadyMark>,
    state: Option<Arc<Compiled>>,
    sessions: Vec<Session>,
    bell: Arc<Notify>,
}

/// What is said of a host to people.
#[derive(Debug, Clone)]
pub struct HostSummary {
    /// Whether it is heard of.
    pub liveness: Liveness,
    /// When it last was.
    pub last_seen: Option<Timestamp>,
    /// Its agent's version.
    pub agent_version: Option<String>,
    /// The host state that it accepted.
    pub accepted: Option<Generation>,
    /// What it reported last.
    pub full: Option<Arc<FullReport>>,
}

/// The host is not (or no longer) known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("host {0} is not known")]
pub struct UnknownHost(pub HostName);

impl Hosts {
    /// No hosts yet; the controller makes them known.
    pub fn new(limits: LivenessLimits) -> Self {
        Self { by_name: Mutex::default(), limits, changed: Notify::new(), building: Notify::new(), polls: AtomicUsize::new(0) }
    }

    /// Makes exactly these hosts known, and listens for the new ones from `now` on. Polls of those that are no longer known end.
    pub fn set_known(&self, known: &BTreeSet<HostName>, now: Mono) {
        let mut hosts = self.lock();
        hosts.retain(|name, host| {
            let stays = known.contains(name);
            if !stays {
                host.bell.notify_waiters();
            }
            stays
        });
        for name in known {
            if !hosts.contains_key(name) {
                hosts.insert(name.clone(), Host { listening_since: now, ..Host::default() });
            }
        }
    }

    /// Whether `host` is known.
    pub fn is_known(&self, host: &HostName) -> bool {
        self.lock().contains_key(host)
    }

    /// Waits for a report that may change a decision.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes in a report. Stale ones (an older sequence number, or an agent process that has been followed by another which is well)
    /// are dropped. Two agents with one token take turns at most once in `late_after`; the log says so.
    pub fn report(&self, report: Report, now: Now) -> Result<ReportAnswer, UnknownHost> {
        let mut hosts = self.lock();
        let host = hosts.get_mut(&report.host).ok_or_else(|| UnknownHost(report.host.clone()))?;
        let is_same_run = host.run == report.agent_run;
        if is_same_run && report.sequence <= host.sequence {
            return Ok(ReportAnswer::default());
        }
        if !is_same_run && host.previous_run == report.agent_run {
            // Late words of a process that has ended; or that process is alive, and the one after it was the stray.
            if host.liveness(now.mono, self.limits) == Liveness::Ready {
                tracing::warn!(host = %report.host, "two agents report for this host; the one that came last is believed");
                return Ok(ReportAnswer::default());
            }
            tracing::warn!(host = %report.host, "the agent that came last is silent; the one before it is believed again");
        }
        if !is_same_run {
            host.previous_run = std::mem::replace(&mut host.run, report.agent_run);
        }
        let was_ready = host.liveness(now.mono, self.limits) == Liveness::Ready;
        let mut is_news = !was_ready || host.accepted != report.generation;
        let mut is_news_of_builds = !was_ready;
        host.sequence = report.sequence;
        host.heard = Some(now);
        host.agent_version = Some(report.agent_version);
        host.accepted = report.generation;
        if let Some(full) = report.full {
            is_news_of_builds |= builds::is_news(host.full.as_deref(), &full);
            is_news |= host.take_full(full, now.mono);
        }
        let send_full = host.full.is_none() || host.full_run != host.run;
        drop(hosts);
        if is_news {
            self.changed.notify_one();
        }
        if is_news_of_builds {
            self.building.notify_one();
        }
        Ok(ReportAnswer { send_full })
    }

    /// Everything that decisions depend on, and when silence alone will change it next.
    pub fn observe(&self, now: Mono) -> (BTreeMap<HostName, Observed>, Option<Mono>) {
        let hosts = self.lock();
        let mut next: Option<Mono> = None;
        let observed = hosts.iter().map(|(name, host)| {
            if let Some(at) = host.next_transition(now, self.limits) {
                next = Some(next.map_or(at, |earliest| earliest.min(at)));
            }
            (name.clone(), host.observed(now, self.limits))
        });
        let observed = observed.collect();
        (observed, next)
    }

    /// What people are shown, by host.
    pub fn summaries(&self, now: Mono) -> BTreeMap<HostName, HostSummary> {
        let summary = |host: &Host| HostSummary {
            liveness: host.liveness(now, self.limits),
            last_seen: host.heard.map(|heard| heard.wall),
            agent_version: host.agent_version.clone(),
            accepted: host.accepted,
            full: host.full.clone(),
        };
        self.lock().iter().map(|(name, host)| (name.clone(), summary(host))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<HostName, Host>> {
        // Nothing in here panics between two changes of a host: a poisoned lock guards a whole map.
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    /// A host whose whole report is still to come counts as not heard of: nothing is known of what it runs.
    fn heard_in_full(&self) -> Option<Mono> {
        self.heard.filter(|_| self.full.is_some()).map(|heard| heard.mono)
    }

    fn liveness(&self, now: Mono, limits: LivenessLimits) -> Liveness {
        liveness_since(self.heard_in_full(), self.listening_since, now, limits)
    }

    fn next_transition(&self, now: Mono, limits: LivenessLimits) -> Option<Mono> {
        let Some(heard) = self.heard_in_full() else {
            return Some(self.listening_since.after(limits.lost_after)).filter(|at| *at > now);
        };
        [heard.after(limits.late_after), heard.after(limits.lost_after)].into_iter().find(|at| *at > now)
    }

    fn observed(&self, now: Mono, limits: LivenessLimits) -> Observed {
        Observed {
            liveness: self.liveness(now, limits),
            last_seen: self.heard.map(|heard| heard.wall),
            accepted: self.accepted,
            ready: self.ready.clone(),
        }
    }

    /// Answers whether readiness changed, which decisions depend on.
    fn take_full(&mut self, full: FullReport, now: Mono) -> bool {
        let ready: BTreeMap<_, _> = full
            .instances
            .iter()
            .filter_map(|report| {
                let mark = ReadyMark::of(report, self.ready.get(&report.instance), now)?;
                Some((report.instance.clone(), mark))
            })
            .collect();
        let present = |report: &FullReport| report.instances.iter().map(|i| i.instance.clone()).collect::<Vec<_>>();
        let is_news = ready != self.ready || self.full.as_ref().is_none_or(|old| present(old) != present(&full));
        self.ready = ready;
        self.full = Some(Arc::new(full));
        self.full_run.clone_from(&self.run);
        is_news
    }
}

#[cfg(test)]
mod tests;
