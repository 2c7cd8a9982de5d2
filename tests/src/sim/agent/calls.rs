//! The agent's side of the wire: one long poll and one report at a time, each repeated with backoff until it is answered.

use super::super::network::{Full, ToCoordinator, ToHost};
use super::super::world::{Event, World};
use coord_shared::decide::backoff;
use coord_shared::wire::InstanceReport;
use std::time::Duration;

/// How long an agent waits for the answer to a poll: the coordinator's wait and a margin.
const POLL_TIMEOUT: Duration = Duration::from_secs(65);
/// And to a report.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a healthy agent.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Changes that come closer together than this are told together.
const COALESCE: Duration = Duration::from_millis(10);

/// What an agent has asked and told.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Counts the calls of this process; a report's number is its sequence.
    last_call: u64,
    poll: Option<u64>,
    poll_failures: u32,
    report: Option<u64>,
    report_failures: u32,
    report_token: u64,
    /// What is to be told, and a number that grows with it.
    content: (u64, Vec<InstanceReport>),
    /// The content that the report under way carries.
    telling: u64,
    /// The content that the coordinator is known to hold.
    told: Option<u64>,
}

impl World {
    pub(crate) fn poll(&mut self, host: usize, run: u64) {
        let machine = &mut self.machines[host];
        let known = machine.ledger.accepted.as_ref().map(|state| state.generation);
        let Some(agent) = machine.agent.as_mut().filter(|agent| agent.run == run && agent.calls.poll.is_none()) else { return };
        agent.calls.last_call += 1;
        let call = agent.calls.last_call;
        agent.calls.poll = Some(call);
        self.send_to_coordinator(host, ToCoordinator::Poll { run, call, known });
        self.schedule(POLL_TIMEOUT, Event::CallTimeout { host, run, call });
    }

    /// What there is to tell after a plan.
    pub(super) fn content(&mut self, host: usize, reports: Vec<InstanceReport>) {
        self.check_reports(host, &reports);
        let Some(agent) = &mut self.machines[host].agent else { return };
        let calls = &mut agent.calls;
        if calls.content.1 != reports || calls.content.0 == 0 {
            calls.content = (calls.content.0 + 1, reports);
            if calls.report.is_none() && calls.report_failures == 0 {
                self.report_after(host, COALESCE);
            }
        }
    }

    /// Labels of `agent.toml` changed.
    pub(crate) fn labels_changed(&mut self, host: usize) {
        let Some(agent) = &mut self.machines[host].agent else { return };
        agent.calls.content.0 += 1;
        if agent.calls.report.is_none() && agent.calls.report_failures == 0 {
            self.report_after(host, COALESCE);
        }
    }

    fn report_after(&mut self, host: usize, delay: Duration) {
        let Some(agent) = &mut self.machines[host].agent else { return };
        agent.calls.report_token += 1;
        let (run, token) = (agent.run, agent.calls.report_token);
        self.schedule(delay, Event::ReportDue { host, run, token });
    }

    pub(crate) fn report(&mut self, host: usize, run: u64, token: u64) {
        let machine = &mut self.machines[host];
        let Some(agent) = machine.agent.as_mut().filter(|agent| agent.run == run) else { return };
        let calls = &mut agent.calls;
        if calls.report_token != token || calls.report.is_some() {
            return;
        }
        calls.last_call += 1;
        let call = calls.last_call;
        calls.report = Some(call);
        calls.telling = calls.content.0;
        let is_news = calls.told != Some(calls.telling);
        let full = is_news.then(|| Full { labels: machine.labels.clone(), instances: calls.content.1.clone() });
        self.send_to_coordinator(host, ToCoordinator::Report { run, call, full });
        self.schedule(REPORT_TIMEOUT, Event::CallTimeout { host, run, call });
    }

    pub(crate) fn agent_hears(&mut self, host: usize, message: ToHost) {
        let (ToHost::State { run, call, .. }
        | ToHost::NothingNew { run, call }
        | ToHost::Reported { run, call, .. }
        | ToHost::Refused { run, call }) = message;
        let Some(agent) = self.machines[host].agent.as_mut().filter(|agent| agent.run == run) else { return };
        match message {
            ToHost::State { state, .. } => {
                self.poll_answered(host, run, call);
                // Even an answer that nobody waits for any more is judged: the generation is the door.
                self.offered(host, state);
            }
            ToHost::NothingNew { .. } => self.poll_answered(host, run, call),
            ToHost::Reported { send_full, .. } if agent.calls.report == Some(call) => {
                let calls = &mut agent.calls;
                calls.report = None;
                calls.report_failures = 0;
                calls.told = if send_full { None } else { Some(calls.telling) };
                let delay = if calls.told == Some(calls.content.0) { HEARTBEAT } else { COALESCE };
                self.report_after(host, delay);
            }
            ToHost::Reported { .. } => {}
            ToHost::Refused { .. } => self.call_failed(host, run, call),
        }
    }

    fn poll_answered(&mut self, host: usize, run: u64, call: u64) {
        let Some(agent) = &mut self.machines[host].agent else { return };
        if agent.calls.poll == Some(call) {
            agent.calls.poll = None;
            agent.calls.poll_failures = 0;
            self.schedule(Duration::from_millis(1), Event::PollDue { host, run });
        }
    }

    /// No answer, or a refusal.
    pub(crate) fn call_failed(&mut self, host: usize, run: u64, call: u64) {
        let share = self.dice.share();
        let Some(agent) = self.machines[host].agent.as_mut().filter(|agent| agent.run == run) else { return };
        let calls = &mut agent.calls;
        if calls.poll == Some(call) {
            calls.poll = None;
            calls.poll_failures += 1;
            let delay = backoff::POLL.delay_with_jitter(calls.poll_failures, share);
            self.schedule(delay, Event::PollDue { host, run });
        } else if calls.report == Some(call) {
            calls.report = None;
            calls.report_failures += 1;
            calls.told = None;
            let delay = backoff::POLL.delay_with_jitter(calls.report_failures, share);
            self.report_after(host, delay);
        }
    }
}
