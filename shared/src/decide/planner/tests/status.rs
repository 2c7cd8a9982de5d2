//! What the host says of an instance.
use super::*;
use crate::decide::planner::status::instance_reports;
use crate::wire::InstanceReport;

/// The report of the one instance as `STATE rREVISION [ready] since SECOND, restarts N[, last EXIT][, CONTAINER][: REASON]`.
fn check(world: World, expect: &str) {
    let plan = plan(&world.desired, &[], &world.observed, now());
    let reports = instance_reports(&world.desired, &world.observed, &plan, |_| second(42), now());
    let shown: Vec<String> = reports.iter().map(show).collect();
    assert_eq!(shown.join("; "), expect);
}

fn show(report: &InstanceReport) -> String {
    let mut text = report.state.to_string();
    text += &report.revision.map(|revision| format!(" r{revision}")).unwrap_or_default();
    text += if report.ready { " ready" } else { "" };
    text += &format!(" since {}, restarts {}", report.since.as_duration().as_secs(), report.restarts);
    text += &report.last_exit.map(|exit| format!(", last {exit}")).unwrap_or_default();
    text += &report.container.as_ref().map(|id| format!(", {id}")).unwrap_or_default();
    text += &report.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    assert_eq!(report.pid.is_some(), report.container.is_some(), "{text}");
    text
}

#[test]
fn an_instance_without_a_container() {
    let wanted = || world().want(spec(1, "a")).present("a");
    check(world().want(spec(1, "a")), "pending since 42, restarts 0: pulling the image");
    let why = "exit code 1; restarted 0 times so far";
    check(wanted().ended("web.0-r1-1", "a", 1, 9, 95), &format!("exited r1 since 95, restarts 0, last exit code 1: {why}"));
    check(wanted().ended("web.0-r1-1", "a", 1, 1, 900_000), "exited r1 since 0, restarts 0, last exit code 1: starting");
    let failed = wanted().history("web.0-r1-1", "a", |history| history.note_start_failure("no".to_owned(), second(100)));
    check(failed, "pending r1 since 100, restarts 0: start failed (once): no");
}

#[test]
fn an_instance_with_a_container() {
    let seen = |phase| world().want(spec(1, "a")).present("a").container("web.0-r1-1", "a", phase);
    check(seen(starting()), "starting r1 since 99, restarts 0, web.0-r1-1: starting");
    check(seen(running()), "running r1 ready since 50, restarts 0, web.0-r1-1");
    check(seen(stopping(105)), "stopping r1 since 95, restarts 0, web.0-r1-1: stopping the previous container");
    check(seen(exited()), "exited r1 since 99, restarts 0, web.0-r1-1: starting");
}

#[test]
fn the_running_container_of_the_desired_make_is_the_desired_revision() {
    let adopted = world().want(spec(2, "a")).present("a").container("web.0-r1-1", "a", running());
    check(adopted, "running r2 ready since 50, restarts 0, web.0-r1-1");
}

#[test]
fn the_previous_revision_is_ready_until_the_new_one_runs() {
    let update = |order: fn(Spec) -> Spec| {
        let world = world().want_after(spec(1, "a"), order(spec(2, "b"))).present("a").present("b");
        world.container("web.0-r1-1", "a", running())
    };
    check(
        update(start_first).container("web.0-r2-1", "b", starting()),
        "running r1 ready since 50, restarts 0, web.0-r1-1: starting",
    );
    check(update(start_first).container("web.0-r2-1", "b", running()), "running r2 ready since 50, restarts 0, web.0-r2-1");
    check(update(|spec| spec), "running r1 ready since 50, restarts 0, web.0-r1-1: stopping the previous container");
}

#[test]
fn a_job_that_did_its_work_is_ready() {
    let job = |revision, code| {
        let wanted = restarting(RestartPolicy::OnFailure(Some(0)), spec(revision, "a"));
        world().want(wanted).present("a").ended("web.0-r1-1", "a", code, 1, 95)
    };
    check(job(1, 0), "exited r1 ready since 95, restarts 0, last exit code 0: completed");
    // It need not do it again for a revision that keeps its make.
    check(job(2, 0), "exited r2 ready since 95, restarts 0, last exit code 0: completed");
    // Nor is it done with while a container of another make still lives.
    let leftover = job(1, 0).container("web.0-r0-1", "b", starting());
    check(leftover, "starting r0 since 99, restarts 0, last exit code 0, web.0-r0-1: completed");
    let given_up = "exited r2 since 95, restarts 0, last exit code 1: exit code 1; not restarted (restart = \"on-failure:0\")";
    check(job(2, 1), given_up);
}

#[test]
fn an_undesired_instance_is_reported_until_it_is_gone() {
    check(world().container("web.0-r1-1", "a", running()), "running r1 ready since 50, restarts 0, web.0-r1-1: stopping");
    check(
        world().container("web.0-r1-1", "a", exited()),
        "exited r1 since 99, restarts 0, web.0-r1-1: removing what is left of it",
    );
    check(world(), "");
}

#[test]
fn a_rejected_document_is_said_of_what_runs() {
    let world = world().rejected(Some(spec(1, "a"))).present("a").container("web.0-r1-1", "a", running());
    check(world, "running r1 ready since 50, restarts 0, web.0-r1-1: the agent rejects the document: 2:1: unknown key \"prots\"");
}
