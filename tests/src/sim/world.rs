//! The world: everything there is, and a queue of what happens next.

use super::agent::{Ledger, Seen};
use super::chaos::Faults;
use super::coordinator::Coordinator;
use super::dice::Dice;
use super::doors::Kernel;
use super::machine::{Ending, Machine, Registry};
use super::network::{Link, ToCoordinator, ToHost};
use super::promises::{Broken, Memory, Promise};
use super::{Stats, settled};
use coord_shared::decide::{Mono, Now};
use coord_shared::names::{ContainerId, Digest, Labels};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// More events than any run needs; a run that reaches it is in a loop.
const EVENTS_MAX: u64 = 200_000;

/// Longest line of a trace: an event's kind and what it concerns come first.
const TRACE_LINE_MAX_CHARS: usize = 300;

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Event {
    AtCoordinator {
        host: usize,
        message: ToCoordinator,
    },
    AtHost {
        host: usize,
        message: ToHost,
    },
    Made {
        host: usize,
        boot: u64,
        container: ContainerId,
    },
    Ended {
        host: usize,
        boot: u64,
        container: ContainerId,
        end: Ending,
    },
    Removed {
        host: usize,
        run: u64,
        container: ContainerId,
        fails: bool,
    },
    /// A `post_start` hook came to its end.
    Hooked {
        host: usize,
        run: u64,
        container: ContainerId,
        fails: bool,
    },
    /// A container is asked whether it is well.
    Asked {
        host: usize,
        run: u64,
        container: ContainerId,
    },
    HalfPulled {
        host: usize,
        run: u64,
        digest: Digest,
    },
    Pulled {
        host: usize,
        run: u64,
        digest: Digest,
        fails: bool,
    },
    Seen {
        host: usize,
        run: u64,
        what: Seen,
    },
    /// The kernel has the doors that an agent wished for.
    DoorsMoved {
        host: usize,
        run: u64,
        number: u64,
        led_to: BTreeSet<ContainerId>,
        is_awaited: bool,
    },
    /// An agent looks who is connected to a container.
    Looked {
        host: usize,
        run: u64,
        container: ContainerId,
    },
    AgentUp {
        host: usize,
    },
    HostUp {
        host: usize,
    },
    AgentTimer {
        host: usize,
        run: u64,
        token: u64,
    },
    PollDue {
        host: usize,
        run: u64,
    },
    ReportDue {
        host: usize,
        run: u64,
        token: u64,
    },
    CallTimeout {
        host: usize,
        run: u64,
        call: u64,
    },
    PollOver {
        run: u64,
        host: usize,
        call: u64,
    },
    CoordinatorTimer {
        run: u64,
        token: u64,
    },
    CoordinatorUp,
    Operator,
    Chaos,
    LinkHeals {
        host: usize,
    },
    RegistryHeals,
    StartsWork {
        host: usize,
    },
    /// The faults end.
    Calm,
    /// The operator mends what cannot come to rest.
    Mend,
    /// Looks whether the fleet has settled.
    Look,
}

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) dice: Dice,
    queue: BTreeMap<(Duration, u64), Event>,
    scheduled: u64,
    pub(super) machines: Vec<Machine>,
    pub(super) links: Vec<Link>,
    pub(super) registry: Registry,
    pub(super) coordinator: Coordinator,
    pub(super) faults: Faults,
    pub(super) faults_on: bool,
    pub(super) calm_at: Duration,
    /// A machine that stays off for good.
    pub(super) dark: Option<usize>,
    pub(super) memory: Memory,
    pub(super) broken: Option<Broken>,
    pub(super) stats: Stats,
    is_over: bool,
    trace: Option<VecDeque<String>>,
    trace_max: usize,
}

impl World {
    /// A fleet of one seed; the last `trace` events are recorded if a number is given.
    pub(super) fn new(seed: u64, trace: Option<usize>) -> Self {
        let mut dice = Dice::new(seed);
        let hosts = 2 + dice.below(4);
        let machines = (0..hosts).map(|index| machine(index, &mut dice)).collect();
        let faults = Faults::choose(&mut dice);
        Self {
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            scheduled: 0,
            machines,
            links: vec![Link::default(); hosts],
            registry: Registry { up: true, slow: false },
            coordinator: Coordinator::new(hosts),
            faults,
            faults_on: true,
            calm_at: dice.millis(60_000, 900_000),
            dark: None,
            memory: Memory::new(hosts),
            broken: None,
            stats: Stats::default(),
            is_over: false,
            trace: trace.map(VecDeque::with_capacity),
            trace_max: trace.unwrap_or(0),
            dice,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn into_trace(self) -> Vec<String> {
        self.trace.into_iter().flatten().collect()
    }

    /// Runs to the end: settled, or a promise broken.
    pub(super) fn run(&mut self) -> Result<Stats, Broken> {
        self.begin();
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            self.stats.events += 1;
            self.note(|| format!("{event:?}"));
            self.apply(event);
            let is_loop = self.stats.events > EVENTS_MAX;
            self.promise(!is_loop, Promise::Settles, || "it goes round in circles".to_owned());
            if let Some(broken) = self.broken.take() {
                return Err(broken);
            }
            if self.is_over {
                return Ok(self.stats);
            }
        }
        Err(Broken { promise: Promise::Settles, detail: "nothing happens any more".to_owned() })
    }

    fn begin(&mut self) {
        for host in 0..self.machines.len() {
            let delay = self.dice.millis(1, 10_000);
            self.schedule(delay, Event::AgentUp { host });
        }
        self.schedule(Duration::ZERO, Event::CoordinatorUp);
        self.schedule(Duration::from_millis(1), Event::Operator);
        self.schedule(Duration::from_secs(1), Event::Chaos);
        self.schedule(self.calm_at, Event::Calm);
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::AtCoordinator { host, message } => self.coordinator_hears(host, message),
            Event::AtHost { host, message } => self.agent_hears(host, message),
            Event::Made { host, boot, container } => self.made(host, boot, container),
            Event::Ended { host, boot, container, end } => self.ended(host, boot, container, end),
            Event::Removed { host, run, container, fails } => self.removed(host, run, container, fails),
            Event::Hooked { host, run, container, fails } => self.hooked(host, run, container, fails),
            Event::Asked { host, run, container } => self.asked(host, run, container),
            Event::HalfPulled { host, run, digest } => self.agent_sees(host, run, Seen::HalfPulled { digest }),
            Event::Pulled { host, run, digest, fails } => self.pulled(host, run, digest, fails),
            Event::Seen { host, run, what } => self.agent_sees(host, run, what),
            Event::DoorsMoved { host, run, number, led_to, is_awaited } => {
                self.doors_moved(host, (run, number), led_to, is_awaited);
            }
            Event::Looked { host, run, container } => self.looked(host, run, &container),
            Event::AgentUp { host } => self.agent_up(host),
            Event::HostUp { host } if self.dark == Some(host) => {}
            Event::HostUp { host } => self.power_on(host),
            Event::AgentTimer { host, run, token } => self.agent_timer(host, run, token),
            Event::PollDue { host, run } => self.poll(host, run),
            Event::ReportDue { host, run, token } => self.report(host, run, token),
            Event::CallTimeout { host, run, call } => self.call_failed(host, run, call),
            Event::PollOver { run, host, call } => self.poll_over(run, host, call),
            Event::CoordinatorTimer { run, token } => self.coordinator_timer(run, token),
            Event::CoordinatorUp => self.coordinator_up(),
            Event::Operator => self.operate(),
            Event::Chaos => self.wreak_havoc(),
            Event::LinkHeals { host } => self.links[host] = Link::default(),
            Event::RegistryHeals => self.registry = Registry { up: true, slow: false },
            Event::StartsWork { host } => self.machines[host].starts_fail = false,
            Event::Calm => self.calm_down(),
            Event::Mend => self.mend(),
            Event::Look => self.look(),
        }
    }

    pub(super) fn schedule(&mut self, delay: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now + delay, self.scheduled), event);
    }

    /// Records one line, if the run is recorded at all.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let Some(trace) = &mut self.trace else { return };
        if trace.len() == self.trace_max {
            trace.pop_front();
        }
        let mut line = format!("{:.3} {}", self.now.as_secs_f64(), line());
        if let Some((end, _)) = line.char_indices().nth(TRACE_LINE_MAX_CHARS) {
            line.truncate(end);
        }
        trace.push_back(line);
    }

    /// The clocks of a machine that booted, or a process that started, at `beginning`.
    pub(super) fn clock(&self, beginning: Duration) -> Now {
        Now { mono: Mono(self.now.saturating_sub(beginning)), wall: self.wall(self.now) }
    }

    pub(super) fn wall(&self, at: Duration) -> Timestamp {
        let since_epoch = SignedDuration::try_from(at).unwrap_or(SignedDuration::ZERO);
        Timestamp::UNIX_EPOCH.checked_add(since_epoch).unwrap_or(Timestamp::MAX)
    }

    fn look(&mut self) {
        match self.unsettled() {
            None => {
                self.stats.settled_after_ms = (self.now - self.calm_at).as_millis() as u64;
                self.is_over = true;
            }
            Some(why) => {
                let in_time = self.now < self.calm_at + settled::SETTLES_WITHIN;
                self.promise(in_time, Promise::Settles, || why);
                self.schedule(Duration::from_secs(1), Event::Look);
            }
        }
    }
}

fn machine(index: usize, dice: &mut Dice) -> Machine {
    Machine {
        name: format!("host-{index}").parse().expect("a fixed pattern that is a host name"),
        up: true,
        boot: 0,
        booted_at: Duration::ZERO,
        labels: labels(dice),
        is_old_release: dice.percent(25),
        starts_fail: false,
        store: BTreeSet::new(),
        containers: BTreeMap::new(),
        ledger: Ledger::default(),
        kernel: Kernel::default(),
        agent: None,
        runs: 0,
    }
}

/// Labels as an operator gives them.
pub(super) fn labels(dice: &mut Dice) -> Labels {
    match dice.pick(&["web", "web", "db", ""]) {
        &"" => Labels::new(),
        role => Labels::from([("role".to_owned(), (*role).to_owned())]),
    }
}
