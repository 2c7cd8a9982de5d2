//! What `coordctl status` looks like, and when a workload counts as being as desired.

use super::converge::shortfalls;
use super::*;
use crate::expect::expect;
use crate::output::Palette;
use coord_shared::decide::liveness::Liveness;
use coord_shared::decide::reason::{AfterUnhealthy, Reason};
use coord_shared::document::Protocol;
use coord_shared::names::{Digest, Revision};
use coord_shared::wire::nested::{CacheKind, CacheView, ChildState, ChildView, MountView, NestedReport, Verified};
use coord_shared::wire::{
    Exit as ContainerExit, HealthReport, HealthStatus, InstanceReport, InstanceState, InstanceView, Origin, PrefetchState,
    WorkloadView,
};
use jiff::{SignedDuration, Timestamp};

fn now() -> Timestamp {
    "2026-11-22T14:00:00Z".parse().expect("a time")
}

fn from_now(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn exit(code: i32) -> ContainerExit {
    ContainerExit { code: Some(code), signal: None, oom_killed: false, memory_limit: None, at: from_now(-40) }
}

/// An instance as desired, in revision 4.
fn instance(workload: &str, host: &str) -> InstanceView {
    InstanceView {
        host: host.parse().expect("a host name"),
        liveness: Liveness::Ready,
        assigned: Some(Revision(4)),
        report: Some(InstanceReport {
            instance: format!("{workload}.0").parse().expect("an instance"),
            state: InstanceState::Running,
            revision: Some(Revision(4)),
            ready: true,
            since: from_now(-7200),
            restarts: 0,
            last_exit: None,
            container: None,
            pid: Some(42),
            reason: None,
            health: None,
            loosened: Vec::new(),
            addresses: Vec::new(),
            nested: None,
        }),
        reason: None,
        prefetch: None,
    }
}

/// The instance with another report.
fn with_report(mut instance: InstanceView, change: impl FnOnce(&mut InstanceReport)) -> InstanceView {
    change(instance.report.as_mut().expect("an instance with a report"));
    instance
}

/// An instance that is not ready, and says why.
fn unready(workload: &str, host: &str, reason: Reason) -> InstanceView {
    with_report(instance(workload, host), |report| {
        report.ready = false;
        report.state = InstanceState::Exited;
        report.since = from_now(-180);
        report.reason = Some(reason);
    })
}

/// A workload in revision 4 with these instances.
fn workload(name: &str, instances: Vec<InstanceView>) -> WorkloadView {
    let ready = instances.iter().filter(|instance| instance.report.as_ref().is_some_and(|report| report.ready)).count();
    WorkloadView {
        name: name.parse().expect("a workload name"),
        revision: Some(Revision(4)),
        image: Some(format!("registry.lan:5000/shop/{name}:1.4.2").parse().expect("an image")),
        digest: Some(Digest::of(name.as_bytes())),
        source: format!("folder:{name}.toml"),
        published_at: Some(from_now(-7300)),
        targets: u32::try_from(instances.len()).expect("few"),
        ready: u32::try_from(ready).expect("few"),
        origin: None,
        reasons: Vec::new(),
        instances,
        deleting: false,
    }
}

fn unhealthy(then: AfterUnhealthy) -> Reason {
    Reason::Unhealthy { failures: 3, output: "HTTP/1.1 503 Service Unavailable\nno database".to_owned(), then }
}

/// Each reason once, as its owner would give it.
fn every_reason() -> Vec<Reason> {
    let host = |name: &str| name.parse().expect("a host name");
    vec![
        Reason::Pulling { done_bytes: 0, total_bytes: 0, bytes_per_s: 0 },
        Reason::Pulling { done_bytes: 30_000_000, total_bytes: 71_303_168, bytes_per_s: 12_345_678 },
        Reason::PullFailed {
            error: "registry.lan:5000 does not know shop/web:1.4.2 (404); is the tag pushed? A text that is longer than a line"
                .to_owned(),
            attempts: 3,
            retry_at: from_now(12),
        },
        Reason::Starting,
        Reason::StartFailed { error: "\x1b[2Jexec /bin/web:\nno such file".to_owned(), attempts: 1, retry_at: from_now(0) },
        Reason::RestartBackoff { exit: exit(1), restarts: 3, retry_at: from_now(8) },
        Reason::Completed,
        Reason::NotRestarted { exit: exit(2), policy: "restart = \"no\"".to_owned() },
        Reason::NotStarted {
            error: "post_start hook `/warm`: exit code 1".to_owned(),
            attempts: 4,
            policy: "restart_policy.max_attempts = 3".to_owned(),
        },
        Reason::WaitingForHealth { output: String::new() },
        Reason::WaitingForHealth { output: "connection refused".to_owned() },
        unhealthy(AfterUnhealthy::Stopping { kill_at: from_now(9) }),
        unhealthy(AfterUnhealthy::Restarted { restarts: 2, retry_at: from_now(4) }),
        unhealthy(AfterUnhealthy::Left { policy: "restart = \"no\"".to_owned() }),
        unhealthy(AfterUnhealthy::NotRestarted { policy: "restart_policy.max_attempts = 3".to_owned() }),
        Reason::PortTaken { port: 80, protocol: Protocol::Tcp, by: "program nginx (pid 7)".to_owned() },
        Reason::Draining { until: None, connections: None },
        Reason::Draining { until: Some(from_now(2)), connections: None },
        Reason::Draining { until: Some(from_now(1)), connections: Some(1) },
        Reason::Draining { until: Some(from_now(28)), connections: Some(12) },
        Reason::StoppingPrevious { kill_at: from_now(9) },
        Reason::Stopping { kill_at: from_now(5) },
        Reason::Removing,
        Reason::RemoveFailed { attempts: 2, retry_at: from_now(30) },
        Reason::DocumentRejected { error: "3:1: unknown key `gpus`; upgrade coord-agent".to_owned() },
        Reason::WaitingForTurn { revision: Revision(4), after: vec![host("a"), host("b"), host("c")] },
        Reason::WaitingForHost { revision: Revision(4) },
        Reason::Monitoring { until: from_now(4) },
        Reason::HostLost { last_seen: from_now(-600) },
        Reason::HostUnknown,
        Reason::NoHostMatches,
        Reason::HostNotKnown { host: host("web-9") },
        Reason::ImageUnresolved {
            error: "registry.lan:5000 cannot be reached: connection refused".to_owned(),
            retry_at: from_now(20),
        },
        Reason::Unknown,
    ]
}

/// One workload on one host for each reason.
fn every_status() -> StatusView {
    let workloads = every_reason().into_iter().enumerate().map(|(number, reason)| {
        let name = format!("w{number:02}");
        workload(&name, vec![unready(&name, "host-a", reason)])
    });
    StatusView { now: now(), workloads: workloads.collect(), problems: Vec::new() }
}

/// An instance that waits for its turn while its host fetches the image.
fn waiting(host: &str, prefetch: PrefetchState) -> InstanceView {
    let after = vec!["web-3".parse().expect("a host name")];
    InstanceView {
        assigned: Some(Revision(3)),
        reason: Some(Reason::WaitingForTurn { revision: Revision(4), after }),
        prefetch: Some(prefetch),
        ..with_report(instance("frontend", host), |report| report.revision = Some(Revision(3)))
    }
}

/// A rollout with hosts in every state.
fn rolling() -> WorkloadView {
    let rollout = workload(
        "frontend",
        vec![
            instance("frontend", "web-1"),
            InstanceView { reason: Some(Reason::Monitoring { until: from_now(3) }), ..instance("frontend", "web-2") },
            unready("frontend", "web-3", Reason::Pulling { done_bytes: 1_000_000, total_bytes: 4_000_000, bytes_per_s: 0 }),
            InstanceView {
                assigned: Some(Revision(3)),
                reason: Some(Reason::WaitingForTurn {
                    revision: Revision(4),
                    after: vec!["web-3".parse().expect("a host name")],
                }),
                ..with_report(instance("frontend", "web-4"), |report| report.revision = Some(Revision(3)))
            },
            waiting("web-5", PrefetchState::Ready),
            waiting("web-6", PrefetchState::Pulling { done_bytes: 31_457_280, total_bytes: 360_710_144 }),
            waiting("web-7", PrefetchState::Waiting),
            waiting(
                "web-8",
                PrefetchState::Failed { error: "no room for 344 MiB".to_owned(), attempts: 2, retry_at: from_now(30) },
            ),
            InstanceView {
                liveness: Liveness::Lost,
                reason: Some(Reason::HostLost { last_seen: from_now(-900) }),
                ..instance("frontend", "edge-berlin")
            },
        ],
    );
    WorkloadView { ready: 2, ..rollout }
}

/// Instances that are asked whether they are well, one of which is not; and what they have of the host.
fn asked() -> WorkloadView {
    let with = |host: &str, status, failures, output: &str| {
        with_report(instance("shop", host), |report| {
            report.health = Some(HealthReport { status, failures, output: output.to_owned() });
            report.addresses = vec!["10.88.0.2".parse().expect("an address"), "fd00:88::2".parse().expect("an address")];
            report.loosened = vec!["capability NET_ADMIN".to_owned(), "no seccomp".to_owned()];
        })
    };
    let refused = "curl: (7) Failed to connect to localhost port 8080\nno route to the database";
    let ill = with_report(with("web-2", HealthStatus::Unhealthy, 3, refused), |report| {
        report.ready = false;
        report.loosened = Vec::new();
        report.reason = Some(unhealthy(AfterUnhealthy::Stopping { kill_at: from_now(9) }));
    });
    let young = with_report(with("web-3", HealthStatus::Starting, 0, ""), |report| {
        report.ready = false;
        report.reason = Some(Reason::WaitingForHealth { output: String::new() });
    });
    workload("shop", vec![with("web-1", HealthStatus::Healthy, 0, ""), ill, young])
}

/// A fleet in the middle of things: broken files, a rollout, a lost host, a job, a deletion.
fn busy() -> StatusView {
    let rollout = rolling();
    let crashing = workload(
        "payments",
        vec![with_report(
            unready("payments", "web-1", Reason::RestartBackoff { exit: exit(137), restarts: 41, retry_at: from_now(55) }),
            |report| {
                report.restarts = 41;
                report.last_exit = Some(ContainerExit { oom_killed: true, ..exit(137) });
            },
        )],
    );
    let job = workload("migrate", vec![unready("migrate", "web-1", Reason::Completed)]);
    let leaving = WorkloadView {
        deleting: true,
        targets: 0,
        ..workload(
            "old",
            vec![InstanceView { assigned: None, ..unready("old", "web-1", Reason::Stopping { kill_at: from_now(7) }) }],
        )
    };
    let waiting = WorkloadView {
        revision: None,
        digest: None,
        published_at: None,
        source: "api:search".to_owned(),
        reasons: vec![Reason::ImageUnresolved {
            error: "registry.lan:5000 cannot be reached".to_owned(),
            retry_at: from_now(20),
        }],
        ..workload("search", Vec::new())
    };
    let nowhere = WorkloadView { reasons: vec![Reason::NoHostMatches], ..workload("nowhere", Vec::new()) };
    let long = "a-workload-whose-name-takes-all-of-the-letters-that-a-name-has";
    let long = WorkloadView {
        image: Some("registry.example.net/a/very/deep/path/to/the/image:2026-11-22-nightly".parse().expect("an image")),
        ..workload(long, vec![instance(long, "web-1")])
    };
    let problem = |source: &str, summary: &str| ProblemView {
        source: source.to_owned(),
        summary: summary.to_owned(),
        detail: Some(format!("error[unknown-key]: {summary}\n --> {source}\n  |\n1 | imge = 1\n  | ^^^^\n")),
    };
    StatusView {
        now: now(),
        workloads: vec![long, rollout, asked(), job, nowhere, leaving, crashing, waiting],
        problems: vec![
            problem(
                "folder:cache.toml",
                "3:9: unknown key `imge`, and a message that is too long for one line of a screen (and 2 more)",
            ),
            problem("folder:frontend.toml", "it is not UTF-8"),
            ProblemView {
                source: "host:web-1".to_owned(),
                summary: "the state directory has 120 MiB left".to_owned(),
                detail: None,
            },
        ],
    }
}

fn look(width: Option<usize>, verbose: bool) -> render::Look {
    render::Look { width, palette: Palette { on: false }, verbose }
}

#[test]
fn every_reason_has_its_line() {
    let text = render::overview(&every_status(), look(Some(100), false));
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    expect("src/commands/status/tests/every-reason.txt", &text);
}

#[test]
fn a_busy_fleet_fits_one_screen() {
    let text = render::overview(&busy(), look(Some(100), false));
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    expect("src/commands/status/tests/busy.txt", &text);
    expect("src/commands/status/tests/busy-verbose.txt", &render::overview(&busy(), look(None, true)));
}

#[test]
fn colours_are_only_added() {
    let coloured = render::overview(&busy(), render::Look { palette: Palette { on: true }, ..look(Some(100), false) });
    assert!(coloured.contains("\x1b[31m"), "{coloured}");
    let plain = ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"]
        .iter()
        .fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(plain, render::overview(&busy(), look(Some(100), false)));
}

#[test]
fn a_large_fleet_does_not_push_the_next_workload_away() {
    let lost = |number: usize| InstanceView {
        liveness: Liveness::Lost,
        reason: Some(Reason::HostLost { last_seen: from_now(-300) }),
        ..instance("web", &format!("h{number:03}"))
    };
    let status = StatusView {
        now: now(),
        workloads: vec![workload("web", (0..200).map(lost).collect()), workload("api", vec![instance("api", "h000")])],
        problems: Vec::new(),
    };
    expect("src/commands/status/tests/large.txt", &render::overview(&status, look(Some(100), false)));
    assert_eq!(render::overview(&status, look(Some(100), true)).lines().count(), 203);
}

#[test]
fn one_workload_in_detail() {
    for name in ["frontend", "shop", "payments", "search", "old"] {
        let status = chosen(busy(), Some(&name.parse().expect("a workload name")));
        expect(&format!("src/commands/status/tests/detail-{name}.txt"), &render::detail(&status, look(Some(100), false)));
    }
}

#[test]
fn what_is_drained_is_shown_and_keeps_nothing_from_being_as_desired() {
    let draining = Reason::Draining { until: Some(from_now(28)), connections: Some(12) };
    let instance = with_report(instance("web", "h"), |report| report.reason = Some(draining));
    let status = StatusView { now: now(), workloads: vec![workload("web", vec![instance])], problems: Vec::new() };
    assert_eq!(shortfalls(&status.workloads[0], now()), []);
    let text = render::detail(&status, look(None, false));
    assert!(text.contains("draining the previous container, 12 connections are open, over in 28s"), "{text}");
}

#[test]
fn as_desired_means_told_run_heard_and_ready() {
    let check = |instance: InstanceView, expect: &str| {
        let found = shortfalls(&workload("web", vec![instance]), now());
        let text: Vec<String> = found.iter().map(|found| format!("{}{}", found.text, found.when)).collect();
        assert_eq!(text.join("; "), expect);
    };
    let good = || instance("web", "h");
    check(good(), "");
    check(InstanceView { liveness: Liveness::Late, ..good() }, "");
    check(unready("web", "h", Reason::Completed), "");
    check(InstanceView { liveness: Liveness::Lost, ..good() }, "host is lost; what it runs is not known");
    check(InstanceView { liveness: Liveness::Unknown, ..good() }, "host is unknown; what it runs is not known");
    check(InstanceView { report: None, ..good() }, "told to run revision 4, and has not answered");
    check(InstanceView { assigned: None, ..good() }, "no longer wanted here, running");
    check(InstanceView { assigned: None, report: None, ..good() }, "not told yet");
    check(InstanceView { assigned: Some(Revision(3)), ..good() }, "still told to run revision 3");
    check(with_report(good(), |report| report.revision = Some(Revision(3))), "running, revision 3; told to run revision 4");
    check(with_report(good(), |report| report.revision = None), "running; told to run revision 4");
    check(with_report(good(), |report| report.ready = false), "running, not ready");
    // An old revision that completed is no new one that did.
    let old = with_report(unready("web", "h", Reason::Completed), |report| report.revision = Some(Revision(3)));
    check(old, "exited, revision 3; told to run revision 4");
    // The closer word counts, and the worse one.
    let both = |said, told| InstanceView { reason: Some(told), ..unready("web", "h", said) };
    check(both(Reason::Starting, Reason::WaitingForHost { revision: Revision(4) }), "starting, for 3m");
    let failing = Reason::RestartBackoff { exit: exit(1), restarts: 1, retry_at: from_now(2) };
    let turn = || Reason::WaitingForTurn { revision: Revision(4), after: Vec::new() };
    check(both(Reason::Completed, Reason::WaitingForHost { revision: Revision(4) }), "");
    check(both(Reason::Completed, turn()), "waits for its turn for revision 4");
    check(both(failing, turn()), "exit code 1; restarted once so far, again in 2s");
}

#[test]
fn a_goal_is_reached_only_when_nothing_is_missing() {
    let name = || "web".parse::<WorkloadName>().expect("a workload name");
    let status = |workloads: Vec<WorkloadView>| StatusView { now: now(), workloads, problems: Vec::new() };
    let check = |goal: Goal, status: &StatusView, expect: &[&str]| assert_eq!(goal.missing(status), expect);
    let good = || status(vec![workload("web", vec![instance("web", "h")])]);
    check(Goal::All, &good(), &[]);
    check(Goal::All, &status(Vec::new()), &[]);
    check(Goal::Converged(vec![(name(), None)]), &good(), &[]);
    check(Goal::Converged(vec![(name(), Some(Revision(4)))]), &good(), &[]);
    check(Goal::Converged(vec![(name(), Some(Revision(5)))]), &good(), &["web: revision 5 is not there yet"]);
    check(Goal::Converged(vec![(name(), None)]), &status(Vec::new()), &["web is not published"]);
    check(Goal::Gone(vec![name()]), &good(), &["web is still on h"]);
    check(Goal::Gone(vec![name()]), &status(Vec::new()), &[]);
    // A target without an instance yet.
    let mut short = good();
    short.workloads[0].targets = 2;
    check(Goal::All, &short, &["web: 1 of its targets are not told yet"]);
    // A host's own trouble keeps no workload from being as desired, whatever the workload's name.
    let mut sick = good();
    sick.problems = vec![ProblemView { source: "host:web".to_owned(), summary: "little room".to_owned(), detail: None }];
    check(Goal::All, &sick, &[]);
    check(Goal::Converged(vec![(name(), None)]), &sick, &[]);
    // Broken documents: of anybody for all, of the workload itself for one.
    let mut broken = good();
    broken.problems = vec![ProblemView { source: "folder:api.toml".to_owned(), summary: "1:1: bad".to_owned(), detail: None }];
    check(Goal::All, &broken, &["api.toml:1:1: bad"]);
    check(Goal::Converged(vec![(name(), None)]), &broken, &[]);
    broken.problems[0].source = "folder:web.toml".to_owned();
    check(Goal::Converged(vec![(name(), None)]), &broken, &["web.toml:1:1: bad"]);
}

#[test]
fn the_commit_is_shown_where_a_pipeline_made_the_revision() {
    let mut built = workload("shop", vec![instance("shop", "web-1")]);
    built.origin = Some(Origin {
        run: Some("shop.12".parse().expect("a run")),
        commit: Some("a1".repeat(20).parse().expect("a commit")),
        subject: "Let the cart keep what is in it".to_owned(),
    });
    let plain = workload("frontend", vec![instance("frontend", "web-1")]);
    let status = StatusView { now: now(), workloads: vec![built, plain], problems: Vec::new() };
    let look = |verbose| render::Look { width: Some(100), palette: Palette { on: false }, verbose };
    expect("src/commands/status/tests/commits.txt", &render::overview(&status, look(false)));
    expect("src/commands/status/tests/commits-verbose.txt", &render::overview(&status, look(true)));
    expect("src/commands/status/tests/commits-detail.txt", &render::detail(&status, look(false)));
}

/// A test runner with containers and a cache within it.
fn runner() -> WorkloadView {
    let child = |name: &str, state, exit: Option<ContainerExit>| ChildView {
        name: name.parse().expect("a name"),
        image: "registry.lan:5000/tools/check:2".to_owned(),
        digest: None,
        state,
        created_at: from_now(-50),
        started_at: Some(from_now(-49)),
        pid: None,
        exit,
        reason: None,
        caches: vec![MountView {
            name: "work".parse().expect("a name"),
            path: "/work".to_owned(),
            read_only: true,
            verified: Some(Verified { files: 1000, ..Verified::default() }),
            verified_by_log: None,
        }],
        attached: true,
    };
    let mut containers: Vec<ChildView> =
        (0..6).map(|number| child(&format!("unit-{number}"), ChildState::Exited, Some(exit(number / 5)))).collect();
    containers.push(child("unit-6", ChildState::Running, None));
    let cache = CacheView {
        name: "work".parse().expect("a name"),
        path: "/work".to_owned(),
        kind: CacheKind::Store,
        because: None,
        from: None,
        files: 1000,
        bytes: 4_400_000,
        created_at: from_now(-60),
        used_at: from_now(-40),
        expires_at: Some(from_now(1740)),
        used_by: vec!["unit-6".parse().expect("a name")],
    };
    let instance = with_report(instance("runner", "ci-1"), |report| {
        report.nested = Some(NestedReport { containers, caches: vec![cache], left_out: 0 });
    });
    workload("runner", vec![instance])
}

#[test]
fn what_runs_within_an_instance_is_a_tree_under_it() {
    let status = StatusView { now: now(), workloads: vec![runner(), asked()], problems: Vec::new() };
    // Nobody who did not ask is told.
    let plain = render::overview(&status, look(Some(100), false));
    assert!(!plain.contains("unit-6"), "{plain}");
    expect("src/commands/status/tests/nested-verbose.txt", &render::overview(&status, look(None, true)));
    let status = chosen(status, Some(&"runner".parse().expect("a workload name")));
    expect("src/commands/status/tests/nested-detail.txt", &render::detail(&status, look(Some(100), false)));
    assert!(render::detail(&status, look(None, true)).contains("unit-0"), "all of them on demand");
}
