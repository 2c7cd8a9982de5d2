//! The network between the coordinator and the hosts: messages are lost, late, overtake each other, and come twice.
//!
//! A connection that is refused or reset is a message too ([`ToHost::Refused`]), so that an agent may learn of a dead coordinator at
//! once, or only by its own timeout.

use super::dice::Dice;
use super::world::{Event, World};
use coord_shared::decide::planner::Spec;
use coord_shared::names::{Generation, InstanceId, Labels, PinnedImage};
use coord_shared::wire::InstanceReport;
use std::sync::Arc;
use std::time::Duration;

/// From an agent.
#[derive(Debug, Clone)]
pub(super) enum ToCoordinator {
    /// The long poll. `run` names the agent process, `call` the request.
    Poll { run: u64, call: u64, known: Option<Generation> },
    /// A report; `full` is absent in a heartbeat.
    Report { run: u64, call: u64, full: Option<Full> },
}

/// The part of a report that is sent after a change.
#[derive(Debug, Clone)]
pub(super) struct Full {
    pub(super) labels: Labels,
    pub(super) instances: Vec<InstanceReport>,
}

/// To an agent.
#[derive(Debug, Clone)]
pub(super) enum ToHost {
    /// The answer to a poll.
    State { run: u64, call: u64, state: HostState },
    /// The answer to a poll when there was nothing new for long.
    NothingNew { run: u64, call: u64 },
    /// The answer to a report.
    Reported { run: u64, call: u64, send_full: bool },
    /// Nobody listens, or the connection broke.
    Refused { run: u64, call: u64 },
}

/// A host state, its documents already checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HostState {
    pub(super) generation: Generation,
    pub(super) instances: Vec<(InstanceId, Arc<Spec>)>,
    /// What to fetch ahead.
    pub(super) prefetch: Vec<PinnedImage>,
}

/// How one host is connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// Whether what the host sends is lost.
    pub(super) cut_up: bool,
    /// Whether what the host is sent is lost.
    pub(super) cut_down: bool,
    /// How many messages of a hundred are lost.
    pub(super) loss_percent: u32,
    /// How many arrive a second time.
    pub(super) twice_percent: u32,
    /// The longest delay of a message.
    pub(super) delay_max_ms: u64,
}

impl Default for Link {
    fn default() -> Self {
        Self { cut_up: false, cut_down: false, loss_percent: 0, twice_percent: 0, delay_max_ms: 5 }
    }
}

impl Link {
    /// How long a message takes, each time that it arrives: as a rule once, and not at all if it is lost.
    fn passes(&self, cut: bool, dice: &mut Dice) -> Vec<Duration> {
        let times = match (cut || dice.percent(self.loss_percent), dice.percent(self.twice_percent)) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        (0..times).map(|_| dice.millis(1, self.delay_max_ms)).collect()
    }
}

impl World {
    pub(super) fn send_to_coordinator(&mut self, host: usize, message: ToCoordinator) {
        let link = self.links[host];
        for delay in link.passes(link.cut_up, &mut self.dice) {
            self.schedule(delay, Event::AtCoordinator { host, message: message.clone() });
        }
    }

    pub(super) fn send_to_host(&mut self, host: usize, message: ToHost) {
        let link = self.links[host];
        for delay in link.passes(link.cut_down, &mut self.dice) {
            self.schedule(delay, Event::AtHost { host, message: message.clone() });
        }
    }
}
