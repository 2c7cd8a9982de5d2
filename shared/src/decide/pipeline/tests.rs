//! What becomes of pipelines and their runs: rule by rule here, all of them together under faults in `simulation`.

use super::*;
use crate::wire::{ArchiveReport, BuildPhase, BuildReport, BuilderReport, HostFacts};

mod simulation;

const TEXT: &str = "[source]\ngit = \"https://git.lan/shop.git\"\n[build]\nsteps = [\"make\"]\n[package]\ninclude = [\"shop\"]\n\
                    [image]\nrepository = \"shop\"\n[deploy]\ndocument = \"web.toml\"\n";

fn settings(extra: &str) -> Arc<Pipeline> {
    let text = format!("{extra}\n{TEXT}");
    Arc::new(crate::pipeline::parse(&text).unwrap_or_else(|problem| panic!("{}", problem.render("shop.toml", &text, false))))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn name(text: &str) -> PipelineName {
    text.parse().unwrap()
}

fn host(text: &str) -> HostName {
    text.parse().unwrap()
}

fn run(text: &str) -> RunId {
    text.parse().unwrap()
}

fn commit(n: u64) -> Commit {
    format!("r{n}").parse().unwrap()
}

fn builder(runs: u32) -> BuilderFacts {
    let facts = HostFacts { disk_free_bytes: 1 << 40, ..HostFacts::default() };
    let full = FullReport { builder: Some(BuilderReport { runs }), facts, ..FullReport::default() };
    let labels = Labels::from([("builder".to_owned(), "true".to_owned())]);
    BuilderFacts { labels, liveness: Liveness::Ready, lost_for: Duration::ZERO, full: Some(Arc::new(full)) }
}

fn says(facts: &mut BuilderFacts, change: impl FnOnce(&mut FullReport)) {
    change(Arc::make_mut(facts.full.as_mut().expect("it said something")));
}

fn head(n: u64, asked: u64) -> HeadReport {
    let head = Head { commit: commit(n), reference: "main".to_owned() };
    HeadReport { pipeline: name("shop"), asked, head: Some(head), problem: None }
}

fn build(of: &str, phase: BuildPhase) -> BuildReport {
    let (commit, problem, archive, deploy) = (None, None, None, None);
    BuildReport { run: run(of), phase, since: at(0), commit, steps: Vec::new(), problem, archive, deploy }
}

fn facts(state: RunState) -> RunFacts {
    RunFacts {
        state,
        settings: Some(settings("")),
        builder: None,
        attempt: 0,
        at: at(0),
        cancelled_at: None,
        archive: None,
        rollout: None,
        is_told: true,
    }
}

fn building(on: &str) -> RunFacts {
    RunFacts { builder: Some(host(on)), attempt: 1, ..facts(RunState::Building) }
}

/// One pipeline that `b` watches, and one builder of that name.
fn fleet() -> Fleet {
    let shop =
        PipelineFacts { settings: Some(settings("")), watcher: Some(host("b")), asked: 3, fresh: 3, ..PipelineFacts::default() };
    Fleet { pipelines: BTreeMap::from([(name("shop"), shop)]), hosts: BTreeMap::from([(host("b"), builder(1))]) }
}

impl Fleet {
    fn shop(&mut self) -> &mut PipelineFacts {
        self.pipelines.get_mut(&name("shop")).expect("there is one")
    }

    fn host(&mut self, text: &str) -> &mut BuilderFacts {
        self.hosts.get_mut(&host(text)).expect("there is one")
    }

    fn with(mut self, number: u64, run: RunFacts) -> Self {
        self.shop().runs.insert(number, run);
        self
    }

    fn at(&self, second: i64) -> Plan {
        decide(self, at(second))
    }
}

fn end(of: &str, state: RunState, problem: Option<&str>) -> Action {
    Action::End { run: run(of), state, problem: problem.map(str::to_owned) }
}

fn make(n: u64, cause: Cause) -> Action {
    let head = Head { commit: commit(n), reference: "main".to_owned() };
    Action::Make { pipeline: name("shop"), head, cause, take_over: false }
}

#[test]
fn a_source_is_watched_by_whoever_can() {
    let mut fleet = fleet();
    assert_eq!(fleet.at(0).actions, [], "the one who does goes on");
    fleet.host("b").liveness = Liveness::Lost;
    let plan = fleet.at(0);
    assert_eq!((plan.actions, plan.wake_in), (vec![], Some(Duration::from_secs(60))), "a while longer");
    fleet.host("b").lost_for = Duration::from_secs(60);
    let plan = fleet.at(0);
    assert_eq!(plan.actions, [Action::Watch { pipeline: name("shop"), host: None }]);
    assert_eq!(plan.problems[&name("shop")], ["builder b is lost; see `coordctl hosts`"]);
    fleet.hosts.insert(host("c"), builder(1));
    assert_eq!(fleet.at(0).actions, [Action::Watch { pipeline: name("shop"), host: Some(host("c")) }]);
}

#[test]
fn why_nobody_watches_is_said_with_the_cure() {
    let check = |change: &dyn Fn(&mut Fleet), expect: &str| {
        let mut fleet = fleet();
        fleet.shop().watcher = None;
        change(&mut fleet);
        let plan = fleet.at(0);
        assert_eq!(plan.problems[&name("shop")], [expect]);
        assert_eq!(plan.actions, []);
    };
    let no_host = "no host matches builder=true: set that in a builder's agent.toml, under [labels], or name a host in the pipeline's `hosts`";
    check(&|fleet| fleet.hosts.clear(), no_host);
    check(&|fleet| fleet.host("b").labels.clear(), no_host);
    let does_not = "host b does not build: set [builder] in its agent.toml";
    check(&|fleet| says(fleet.host("b"), |full| full.builder = None), does_not);
    check(&|fleet| fleet.host("b").liveness = Liveness::Unknown, "builder b is unknown; see `coordctl hosts`");
}

#[test]
fn a_new_commit_makes_one_run() {
    let check = |seen: Option<u64>, look: HeadReport, expect: &[Action]| {
        let mut fleet = fleet();
        fleet.shop().seen = seen.map(commit);
        says(fleet.host("b"), |full| full.heads = vec![look]);
        assert_eq!(fleet.at(0).actions, expect);
    };
    check(None, head(1, 3), &[make(1, Cause::Push)]);
    check(Some(1), head(1, 3), &[]);
    check(Some(1), head(2, 7), &[make(2, Cause::Push)]);
    check(Some(1), head(2, 2), &[]);
    check(Some(1), HeadReport { problem: Some("no route".to_owned()), ..head(2, 3) }, &[]);
    check(None, HeadReport { head: None, ..head(2, 3) }, &[]);
    check(None, HeadReport { pipeline: name("other"), ..head(2, 3) }, &[]);
}

#[test]
fn a_wish_waits_for_a_look_that_is_newer() {
    let mut fleet = fleet();
    fleet.shop().seen = Some(commit(1));
    fleet.shop().asked = 4;
    let cause = Cause::Manual("eve".to_owned());
    fleet.shop().wanted = Some(Wanted { asked: 4, cause: cause.clone(), commit: None, take_over: false });
    says(fleet.host("b"), |full| full.heads = vec![head(1, 3)]);
    assert_eq!(fleet.at(0).actions, []);
    says(fleet.host("b"), |full| full.heads = vec![head(1, 4)]);
    assert_eq!(fleet.at(0).actions, [make(1, cause.clone())], "although nothing is new");
    fleet.shop().wanted = Some(Wanted { asked: 9, cause: cause.clone(), commit: Some(commit(7)), take_over: true });
    let head = Head { commit: commit(7), reference: "r7".to_owned() };
    let named = Action::Make { pipeline: name("shop"), head, cause, take_over: true };
    assert_eq!(fleet.at(0).actions, [named], "a commit that is named needs no look");
}

#[test]
fn what_waits_is_replaced_and_what_is_built_goes_on() {
    let mut fleet = fleet().with(1, building("b")).with(2, facts(RunState::Queued));
    fleet.shop().seen = Some(commit(2));
    says(fleet.host("b"), |full| full.heads = vec![head(3, 3)]);
    let replaced = end("shop.2", RunState::Superseded, Some("a newer run took its place"));
    assert_eq!(fleet.at(0).actions, [make(3, Cause::Push), replaced]);
}

#[test]
fn a_run_is_given_to_a_builder_that_has_room() {
    let give = |of: &str, to: &str| vec![Action::Assign { run: run(of), host: host(to) }];
    let mut fleet = fleet().with(4, facts(RunState::Queued));
    assert_eq!(fleet.at(0).actions, give("shop.4", "b"));
    fleet.hosts.insert(host("a"), builder(1));
    assert_eq!(fleet.at(0).actions, give("shop.4", "a"), "by name");
    fleet.shop().last_builder = Some(host("b"));
    assert_eq!(fleet.at(0).actions, give("shop.4", "b"), "its caches are warm");
    fleet
        .pipelines
        .insert(name("blog"), PipelineFacts { runs: BTreeMap::from([(9, building("b"))]), ..PipelineFacts::default() });
    assert_eq!(fleet.at(0).actions, give("shop.4", "a"), "no place is left");
    fleet.hosts.remove(&host("a"));
    let plan = fleet.at(0);
    assert_eq!(plan.waits[&run("shop.4")].to_string(), "builder b builds blog.9 first");
    says(fleet.host("b"), |full| full.builder = Some(BuilderReport { runs: 2 }));
    assert_eq!(fleet.at(0).actions, give("shop.4", "b"));
    says(fleet.host("b"), |full| full.facts.disk_free_bytes = 1 << 20);
    assert_eq!(fleet.at(0).waits[&run("shop.4")].to_string(), "builder b has only 1.00 MiB of disk left: free some");
    says(fleet.host("b"), |full| full.builds = vec![build("shop.4", BuildPhase::Failed)]);
    let wait = "builder b still clears up what it began of this run before";
    assert_eq!(fleet.at(0).waits[&run("shop.4")].to_string(), wait);
}

#[test]
fn one_run_of_a_pipeline_is_built_at_a_time_until_it_is_published() {
    let check = |before: RunFacts, waits: bool| {
        let mut fleet = fleet().with(1, before).with(2, facts(RunState::Queued));
        fleet.hosts.insert(host("c"), builder(5));
        assert_eq!(fleet.at(0).waits.contains_key(&run("shop.2")), waits);
    };
    check(building("b"), true);
    check(facts(RunState::Assembling), true);
    check(facts(RunState::Deploying), true);
    check(RunFacts { rollout: Some(rollout(&[])), ..facts(RunState::Deploying) }, false);
    check(facts(RunState::Failed), false);
}

fn rollout(waiting: &[&str]) -> RolloutFacts {
    RolloutFacts {
        revision: Revision(7),
        newest: Some(Revision(7)),
        is_deleted: false,
        targets: 3,
        waiting: waiting.iter().map(|name| (host(name), "image on its way".to_owned())).collect(),
        stuck_for: Duration::ZERO,
    }
}

#[test]
fn what_a_builder_says_at_the_end_is_what_becomes_of_the_run() {
    let check = |change: &dyn Fn(&mut BuildReport), archive: Option<&[u8]>, expect: Action| {
        let mut report = build("shop.1", BuildPhase::Failed);
        change(&mut report);
        let mut fleet = fleet().with(1, RunFacts { archive: archive.map(Digest::of), ..building("b") });
        says(fleet.host("b"), |full| full.builds = vec![report]);
        assert_eq!(fleet.at(0).actions, [expect]);
    };
    let done = |report: &mut BuildReport| {
        report.phase = BuildPhase::Done;
        report.archive = Some(ArchiveReport { digest: Digest::of(b"x"), bytes: 1 });
    };
    check(&done, Some(b"x"), Action::Assemble { run: run("shop.1") });
    let lost = "builder b says that it is done, and its archive is not here; run it again";
    check(&done, Some(b"y"), end("shop.1", RunState::Failed, Some(lost)));
    check(&done, None, end("shop.1", RunState::Failed, Some(lost)));
    check(&|report| report.phase = BuildPhase::Skipped, None, end("shop.1", RunState::Skipped, None));
    let unsaid = "it failed on its builder, which does not say why; see its log";
    check(&|_| {}, None, end("shop.1", RunState::Failed, Some(unsaid)));
    check(
        &|report| report.problem = Some("no such branch".to_owned()),
        None,
        end("shop.1", RunState::Failed, Some("no such branch")),
    );
}

#[test]
fn a_builder_that_is_lost_is_replaced_once() {
    let mut fleet = fleet().with(1, building("b"));
    fleet.shop().watcher = None;
    fleet.host("b").liveness = Liveness::Lost;
    assert_eq!(fleet.at(9).actions, [], "not heard of is not lost");
    assert_eq!(fleet.at(9).waits[&run("shop.1")].to_string(), "builder b is lost; it may be building all the same");
    fleet.host("b").lost_for = LOST_GRACE;
    let problem = "builder b was lost while it built".to_owned();
    assert_eq!(fleet.at(9).actions, [Action::Requeue { run: run("shop.1"), problem }]);
    fleet.shop().runs.insert(2, facts(RunState::Queued));
    let problem = "builder b was lost while it built, and a newer run took its place";
    assert_eq!(fleet.at(9).actions, [end("shop.1", RunState::Superseded, Some(problem))]);
    fleet.shop().runs.remove(&2);
    fleet.shop().runs.get_mut(&1).expect("it").attempt = 2;
    let problem = "builder b was lost while it built, and so was the builder before it; run it again once one is well";
    assert_eq!(fleet.at(9).actions, [end("shop.1", RunState::Failed, Some(problem))]);
    fleet.hosts.clear();
    assert!(matches!(&fleet.at(9).actions[..], [Action::End { .. }]), "nor is one that was removed waited for");
}

#[test]
fn a_run_ends_in_time() {
    let mut fleet = fleet().with(1, RunFacts { settings: Some(settings("timeout = \"10m\"")), ..building("b") });
    says(fleet.host("b"), |full| full.builds = vec![build("shop.1", BuildPhase::Testing)]);
    let plan = fleet.at(899);
    assert_eq!((plan.actions, plan.wake_in), (vec![], Some(Duration::from_secs(1))));
    let problem = "it took longer than 10m, and builder b did not end it";
    assert_eq!(fleet.at(900).actions, [end("shop.1", RunState::Failed, Some(problem))]);
}

#[test]
fn a_run_can_be_cancelled_until_it_is_published() {
    let cancelled = |state: RunFacts| RunFacts { cancelled_at: Some(at(0)), ..state };
    assert_eq!(fleet().with(1, cancelled(facts(RunState::Queued))).at(1).actions, [end("shop.1", RunState::Cancelled, None)]);
    assert_eq!(fleet().with(1, cancelled(facts(RunState::Assembling))).at(1).actions, [end("shop.1", RunState::Cancelled, None)]);
    let mut fleet = fleet().with(1, cancelled(building("b")));
    let plan = fleet.at(1);
    assert_eq!((plan.actions, plan.wake_in), (vec![], Some(CANCEL_PATIENCE - Duration::from_secs(1))));
    let problem = "builder b has not said that it ended it";
    assert_eq!(fleet.at(60).actions, [end("shop.1", RunState::Cancelled, Some(problem))]);
    says(fleet.host("b"), |full| full.builds = vec![build("shop.1", BuildPhase::Done)]);
    assert_eq!(fleet.at(1).actions, [end("shop.1", RunState::Cancelled, None)], "also if the builder was faster");
}

#[test]
fn a_deployment_is_over_when_nobody_is_waited_for() {
    let check = |change: &dyn Fn(&mut RolloutFacts), expect: Option<(RunState, Option<&str>)>| {
        let mut facts_of = rollout(&["web-1"]);
        change(&mut facts_of);
        let run = RunFacts { rollout: Some(facts_of), ..facts(RunState::Deploying) };
        let expect: Vec<_> = expect.map(|(state, problem)| end("shop.1", state, problem)).into_iter().collect();
        assert_eq!(fleet().with(1, run).at(1).actions, expect);
    };
    check(&|_| {}, None);
    check(&|rollout| rollout.waiting.clear(), Some((RunState::Succeeded, None)));
    check(
        &|rollout| (rollout.waiting, rollout.targets) = (BTreeMap::new(), 0),
        Some((RunState::Succeeded, Some("the document matches no host"))),
    );
    check(&|rollout| (rollout.waiting, rollout.newest) = (BTreeMap::new(), Some(Revision(6))), None);
    check(&|rollout| (rollout.waiting, rollout.newest) = (BTreeMap::new(), None), None);
    let newer = "revision 8 came before every host was ready in revision 7";
    check(&|rollout| rollout.newest = Some(Revision(8)), Some((RunState::Succeeded, Some(newer))));
    let stuck = "revision 7 is published, and 1 hosts are not ready after 30 minutes: web-1: image on its way";
    check(&|rollout| rollout.stuck_for = DEPLOY_STUCK_AFTER, Some((RunState::Failed, Some(stuck))));
}

#[test]
fn a_pipeline_that_is_deleted_takes_its_runs_with_it() {
    let mut fleet = fleet().with(1, facts(RunState::Succeeded)).with(2, building("b")).with(3, facts(RunState::Queued));
    (fleet.shop().is_deleted, fleet.shop().settings) = (true, None);
    let forget = Action::Forget { run: run("shop.1") };
    let watch = Action::Watch { pipeline: name("shop"), host: None };
    assert_eq!(fleet.at(1).actions, [watch, end("shop.3", RunState::Cancelled, Some("the pipeline was deleted")), forget]);
    assert!(matches!(fleet.at(1).waits[&run("shop.2")], Wait::Cancelling { .. }));
}

#[test]
fn old_runs_are_forgotten_but_for_the_last_good_one() {
    let mut fleet = fleet();
    fleet.shop().settings = Some(settings("keep_runs = 2"));
    for (number, state) in [(1, RunState::Succeeded), (2, RunState::Succeeded), (3, RunState::Failed), (4, RunState::Failed)] {
        fleet.shop().runs.insert(number, facts(state));
    }
    fleet.shop().runs.insert(5, building("b"));
    fleet.shop().runs.insert(6, facts(RunState::Skipped));
    fleet.shop().runs.insert(0, RunFacts { is_told: false, ..facts(RunState::Failed) });
    let forget = |of: &str| Action::Forget { run: run(of) };
    assert_eq!(fleet.at(1).actions, [forget("shop.3"), forget("shop.1")]);
}
