//! Reports and polls: what counts, what is dropped, who wakes.
use super::*;
use crate::clock;
use bytes::Bytes;
use coord_shared::names::{ContainerId, Revision};
use coord_shared::wire::{HostFacts, InstanceReport, InstanceState, WIRE_VERSION};
use std::time::Duration;

fn name(text: &str) -> HostName {
    text.parse().expect("a host name")
}

fn hosts(names: &[&str]) -> Hosts {
    let hosts = Hosts::new(LivenessLimits::default());
    hosts.set_known(&names.iter().map(|n| name(n)).collect(), clock::now().mono);
    hosts
}

fn heartbeat(host: &str, run: &str, sequence: u64) -> Report {
    let (host, agent_run) = (name(host), run.to_owned());
    Report { version: WIRE_VERSION, host, agent_version: "1".to_owned(), sequence, agent_run, generation: None, full: None }
}

fn full(host: &str, run: &str, sequence: u64, instances: Vec<InstanceReport>) -> Report {
    let full = FullReport {
        labels: Default::default(),
        facts: HostFacts::default(),
        instances,
        prefetch: Vec::new(),
        problems: Vec::new(),
        ..FullReport::default()
    };
    Report { full: Some(full), ..heartbeat(host, run, sequence) }
}

fn instance(container: &str, ready: bool) -> InstanceReport {
    let container: ContainerId = container.parse().expect("a container");
    InstanceReport {
        instance: container.instance.clone(),
        state: InstanceState::Running,
        revision: Some(container.revision),
        ready,
        since: jiff::Timestamp::UNIX_EPOCH,
        restarts: 0,
        last_exit: None,
        container: Some(container),
        pid: None,
        reason: None,
        health: None,
        loosened: Vec::new(),
        addresses: Vec::new(),
        nested: None,
    }
}

fn state(text: &'static str) -> Arc<Compiled> {
    let etag = format!("\"{text}\"");
    Arc::new(Compiled { generation: Generation(1), etag, body: Bytes::from_static(text.as_bytes()) })
}

fn at(seconds: u64) -> Now {
    let start = clock::now();
    Now { mono: start.mono.after(Duration::from_secs(seconds)), wall: start.wall }
}

#[test]
fn whoever_holds_no_full_report_asks_for_one() {
    let hosts = hosts(&["a"]);
    let send_full = |report| hosts.report(report, clock::now()).expect("is known").send_full;
    assert!(send_full(heartbeat("a", "run1", 1)));
    assert!(!send_full(full("a", "run1", 2, vec![])));
    assert!(!send_full(heartbeat("a", "run1", 3)));
    assert!(send_full(heartbeat("a", "run2", 1)), "a new agent process has to say everything anew");
    assert!(!send_full(full("a", "run2", 2, vec![])));
    assert_eq!(hosts.report(heartbeat("b", "run1", 1), clock::now()), Err(UnknownHost(name("b"))));
}

#[test]
fn late_reports_are_dropped() {
    let hosts = hosts(&["a"]);
    let send = |report| hosts.report(report, clock::now()).expect("is known");
    let shown = || hosts.summaries(clock::now().mono)[&name("a")].full.as_ref().map(|full| full.instances.len());
    send(full("a", "run1", 5, vec![instance("web.0-r1-1", true)]));
    send(full("a", "run1", 4, vec![]));
    send(full("a", "run1", 5, vec![]));
    assert_eq!(shown(), Some(1));
    send(full("a", "run2", 1, vec![instance("web.0-r1-1", true)]));
    send(full("a", "run1", 6, vec![]));
    assert_eq!(shown(), Some(1), "the process before this one has nothing to say any more");
}

#[test]
fn readiness_is_counted_from_when_this_container_became_ready() {
    let hosts = hosts(&["a"]);
    let id: InstanceId = "web.0".parse().expect("an instance");
    let mut sequence = 0;
    let mut since = |container: &str, ready, now: Now| {
        sequence += 1;
        hosts.report(full("a", "run", sequence, vec![instance(container, ready)]), now).expect("is known");
        let (observed, _) = hosts.observe(now.mono);
        observed[&name("a")].ready.get(&id).map(|mark| (mark.revision, mark.since))
    };
    let times: Vec<Now> = (0..6).map(at).collect();
    assert_eq!(since("web.0-r1-1", false, times[0]), None);
    assert_eq!(since("web.0-r1-1", true, times[1]), Some((Revision(1), times[1].mono)));
    assert_eq!(since("web.0-r1-1", true, times[2]), Some((Revision(1), times[1].mono)));
    assert_eq!(since("web.0-r1-2", true, times[3]), Some((Revision(1), times[3].mono)), "another container");
    assert_eq!(since("web.0-r1-2", false, times[4]), None);
    assert_eq!(since("web.0-r1-2", true, times[5]), Some((Revision(1), times[5].mono)), "it had dropped");
}

#[test]
fn silence_makes_late_then_lost_and_a_host_that_never_came_is_lost_in_the_end_too() {
    let start = at(0);
    let hosts = Hosts::new(LivenessLimits::default());
    hosts.set_known(&[name("a"), name("b")].into(), start.mono);
    let check = |seconds: u64, a: Liveness, b: Liveness, next: Option<u64>| {
        let mono = start.mono.after(Duration::from_secs(seconds));
        let (observed, wake) = hosts.observe(mono);
        assert_eq!((observed[&name("a")].liveness, observed[&name("b")].liveness), (a, b), "{seconds} s");
        assert_eq!(wake, next.map(|s| start.mono.after(Duration::from_secs(s))), "{seconds} s");
    };
    let later = |seconds: u64| Now { mono: start.mono.after(Duration::from_secs(seconds)), wall: start.wall };
    hosts.report(heartbeat("a", "run", 1), later(5)).expect("is known");
    check(5, Liveness::Unknown, Liveness::Unknown, Some(60));
    hosts.report(full("a", "run", 2, vec![]), later(10)).expect("is known");
    check(10, Liveness::Ready, Liveness::Unknown, Some(35));
    check(35, Liveness::Late, Liveness::Unknown, Some(60));
    check(60, Liveness::Late, Liveness::Lost, Some(70));
    check(70, Liveness::Lost, Liveness::Lost, None);
}

#[tokio::test(start_paused = true)]
async fn only_news_wakes_the_controller() {
    let hosts = hosts(&["a"]);
    let is_woken = async || tokio::time::timeout(Duration::from_millis(1), hosts.changed()).await.is_ok();
    let send = |report| hosts.report(report, clock::now()).expect("is known");
    send(full("a", "run", 1, vec![instance("web.0-r1-1", false)]));
    assert!(is_woken().await, "first heard of");
    send(heartbeat("a", "run", 2));
    assert!(!is_woken().await, "a heartbeat is no news");
    send(full("a", "run", 3, vec![instance("web.0-r1-1", false)]));
    assert!(!is_woken().await, "nor is the same again");
    send(full("a", "run", 4, vec![instance("web.0-r1-1", true)]));
    assert!(is_woken().await, "ready");
    send(full("a", "run", 5, vec![]));
    assert!(is_woken().await, "gone");
    tokio::time::advance(Duration::from_secs(30)).await;
    send(heartbeat("a", "run", 6));
    assert!(is_woken().await, "back from being late");
}

#[tokio::test(start_paused = true)]
async fn a_poll_answers_at_once_when_there_is_news_and_else_waits() {
    let hosts = hosts(&["a"]);
    let wait = Duration::from_secs(50);
    let started = clock::moment();
    assert_eq!(hosts.poll(&name("a"), None, Duration::ZERO).await, Ok(Poll::NotYet));
    hosts.set_state(&name("a"), state("one"));
    assert_eq!(hosts.poll(&name("a"), None, wait).await, Ok(Poll::State(state("one"), vec![])));
    assert_eq!(hosts.poll(&name("a"), Some("\"other\""), wait).await, Ok(Poll::State(state("one"), vec![])));
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(hosts.poll(&name("a"), Some("\"one\""), wait).await, Ok(Poll::Unchanged));
    assert_eq!(started.elapsed(), wait);
    assert_eq!(hosts.waiting_polls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_change_wakes_its_host_and_no_other() {
    let hosts = Arc::new(hosts(&["a", "b"]));
    for host in ["a", "b"] {
        hosts.set_state(&name(host), state("one"));
    }
    let poll = |host: &'static str| {
        let hosts = Arc::clone(&hosts);
        tokio::spawn(async move { hosts.poll(&name(host), Some("\"one\""), Duration::from_secs(50)).await })
    };
    let (a, b) = (poll("a"), poll("b"));
    tokio::task::yield_now().await;
    assert_eq!(hosts.waiting_polls(), 2);
    hosts.set_state(&name("a"), state("two"));
    hosts.set_state(&name("b"), state("one"));
    assert_eq!(a.await.expect("no panic"), Ok(Poll::State(state("two"), vec![])));
    assert_eq!(hosts.waiting_polls(), 1);
    assert_eq!(b.await.expect("no panic"), Ok(Poll::Unchanged));
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_a_poll_and_is_delivered_once() {
    let hosts = Arc::new(hosts(&["a"]));
    hosts.set_state(&name("a"), state("one"));
    let session = Session { id: "s1".to_owned(), logs: None, ..Session::default() };
    let other = Arc::clone(&hosts);
    let poll = tokio::spawn(async move { other.poll(&name("a"), Some("\"one\""), Duration::from_secs(50)).await });
    tokio::task::yield_now().await;
    assert!(hosts.open_session(&name("a"), session.clone()));
    assert_eq!(poll.await.expect("no panic"), Ok(Poll::State(state("one"), vec![session.clone()])));
    assert_eq!(hosts.poll(&name("a"), Some("\"one\""), Duration::ZERO).await, Ok(Poll::Unchanged));
    hosts.open_session(&name("a"), session);
    hosts.withdraw_session(&name("a"), "s1");
    assert_eq!(hosts.poll(&name("a"), Some("\"one\""), Duration::ZERO).await, Ok(Poll::Unchanged));
    let many = (0..SESSIONS_PER_HOST_MAX + 1)
        .map(|i| hosts.open_session(&name("a"), Session { id: i.to_string(), logs: None, ..Session::default() }));
    assert_eq!(many.filter(|taken| *taken).count(), SESSIONS_PER_HOST_MAX);
    assert!(!hosts.open_session(&name("b"), Session { id: "x".to_owned(), logs: None, ..Session::default() }));
}

#[tokio::test(start_paused = true)]
async fn polls_of_a_forgotten_host_end() {
    let hosts = Arc::new(hosts(&["a"]));
    hosts.set_state(&name("a"), state("one"));
    let other = Arc::clone(&hosts);
    let poll = tokio::spawn(async move { other.poll(&name("a"), Some("\"one\""), Duration::from_secs(50)).await });
    tokio::task::yield_now().await;
    hosts.set_known(&BTreeSet::new(), clock::now().mono);
    assert_eq!(poll.await.expect("no panic"), Err(UnknownHost(name("a"))));
}

#[test]
fn an_agent_that_a_stray_one_drowned_out_is_believed_again() {
    let hosts = hosts(&["a"]);
    let limits = LivenessLimits::default();
    let report = |report, seconds| hosts.report(report, at(seconds)).expect("is known");
    let accepted = || hosts.summaries(at(0).mono).values().next().expect("a host").agent_version.clone();
    let version = |report: Report, text: &str| Report { agent_version: text.to_owned(), ..report };
    report(version(full("a", "good", 1, vec![]), "good"), 0);
    report(version(full("a", "stray", 1, vec![]), "stray"), 1);
    report(version(full("a", "good", 2, vec![]), "good"), 2);
    assert_eq!(accepted().as_deref(), Some("stray"), "while both report, the one that came last counts");
    let silent = 1 + limits.late_after.as_secs();
    assert!(report(version(heartbeat("a", "good", 3), "good"), silent).send_full);
    assert_eq!(accepted().as_deref(), Some("good"));
}
