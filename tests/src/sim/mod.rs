//! A whole fleet in one thread, in virtual time, from one number: the real judgement of `coord_shared::decide` under thousands of faults.
//!
//! Real: every decision (planner, rollout, targets, restart, backoff, liveness). Modelled, as small as can be: what decisions act
//! on. A [`machine`] has containers that start slowly, crash, fall ill and ignore signals, and an image store; an [`agent`] holds a ledger
//! and forgets everything else when it dies; a [`coordinator`] holds what it has stored and forgets what it was told; the
//! [`network`] loses, delays and reorders; an [`operator`] and [`chaos`] never sleep. Everything random comes from the seed, so a
//! run that breaks a promise is repeated to the letter, with a trace.
//!
//! ```text
//!   seed ── operator: publish, edit, delete      coordinator: rollout, targets, liveness
//!       └── chaos: crash, reboot, cut, kill        │  host state ▼   ▲ report     (network)
//!                                                agent: planner, restart, backoff
//!           promises: checked at every step        │  actions ▼   ▲ what happened
//!                                                machine: containers, images ── registry
//! ```
//!
//! First comes a time of faults; then all faults end and the fleet must settle within a bounded time, or say what it waits for.
//! Deliberately absent: threads, real time, files, and every model of how an effect is carried out.

mod agent;
mod chaos;
mod coordinator;
mod dice;
mod doors;
mod health;
mod machine;
mod network;
mod operator;
mod promises;
mod scenario;
mod settled;
mod world;

pub use promises::{Broken, Promise};

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

/// Events of a broken run that are shown: enough to see what led to it, few enough to read.
const TRACE_SHOWN: usize = 120;

/// What happened in a run, so that a suite can see that its promises were put to the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Events taken from the queue.
    pub events: u64,
    /// Plans made by agents.
    pub plans: u64,
    /// Containers started.
    pub starts: u64,
    /// Containers asked to end.
    pub stops: u64,
    /// Containers killed when their grace period was over.
    pub kills: u64,
    /// Removals tried.
    pub removals: u64,
    /// Pulls begun.
    pub pulls: u64,
    /// Pulls begun for what a host will run later.
    pub pulls_ahead: u64,
    /// Hosts whose turn came when they had fetched the image ahead.
    pub prefetched: u64,
    /// Containers started to go on with a predecessor while the newest image was on its way.
    pub predecessors_restarted: u64,
    /// Running containers that took on a new revision without a restart.
    pub adopted: u64,
    /// Containers asked to end because they were ill.
    pub ended_as_ill: u64,
    /// Starts that failed by a hook.
    pub hooks_failed: u64,
    /// Containers that gave way, with `start-first`, to one whose health check had said that it is well.
    pub gave_way: u64,
    /// Containers that gave way once their published ports led elsewhere.
    pub drained: u64,
    /// Hosts told to replace a container that served.
    pub turns: u64,
    /// Host states refused for being older than the accepted one.
    pub stale_states: u64,
    /// Agents that started while containers ran.
    pub reattached: u64,
    /// Starts of the coordinator after a crash.
    pub coordinator_restarts: u64,
    /// Virtual time from the end of the faults until the fleet had settled, in milliseconds; the longest of several runs.
    pub settled_after_ms: u64,
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.plans += other.plans;
        self.starts += other.starts;
        self.stops += other.stops;
        self.kills += other.kills;
        self.removals += other.removals;
        self.pulls += other.pulls;
        self.pulls_ahead += other.pulls_ahead;
        self.prefetched += other.prefetched;
        self.predecessors_restarted += other.predecessors_restarted;
        self.adopted += other.adopted;
        self.ended_as_ill += other.ended_as_ill;
        self.hooks_failed += other.hooks_failed;
        self.gave_way += other.gave_way;
        self.drained += other.drained;
        self.turns += other.turns;
        self.stale_states += other.stale_states;
        self.reattached += other.reattached;
        self.coordinator_restarts += other.coordinator_restarts;
        self.settled_after_ms = self.settled_after_ms.max(other.settled_after_ms);
    }
}

/// A run that broke a promise. Displays as the whole story, with the command that repeats it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// When, in virtual time.
    pub at: Duration,
    /// What was broken.
    pub broken: Broken,
    /// The events that led to it, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "{:.3} BROKEN {}", self.at.as_secs_f64(), self.broken)?;
        write!(f, "repeat: cargo run -p coord-tests --bin coord-sim -- --from {} --seeds 1", self.seed)
    }
}

/// Runs one fleet through faults and out of them. A broken run is repeated with its events recorded.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64) -> Result<Stats, Box<Failure>> {
    let mut world = world::World::new(seed, None);
    match world.run() {
        Ok(stats) => Ok(stats),
        Err(_) => {
            let mut world = world::World::new(seed, Some(TRACE_SHOWN));
            let broken = world.run().err().unwrap_or_else(|| Broken {
                promise: Promise::Repeats,
                detail: "the run broke a promise once and not again".to_owned(),
            });
            Err(Box::new(Failure { seed, at: world.now(), broken, trace: world.into_trace() }))
        }
    }
}

#[cfg(test)]
mod tests;
