//! The agent's memory: that what is set going is not set going twice, and that what happens to it is told right.
use super::*;
use coord_runtime::{Exit, Recovered, RecoveredState, Running};
use coord_shared::decide::health::{Health, Status};
use coord_shared::decide::planner::Drain;

use coord_shared::names::{Generation, Revision};
use coord_shared::wire::{DesiredInstance, InstanceState, Prefetch, PrefetchState};

fn now() -> Now {
    clock::now()
}

fn document(extra: &str) -> String {
    format!("image = \"r.lan/web:1\"\nhosts = [\"*\"]\n{extra}")
}

fn host_state(generation: u64, revision: u64, image: &str, document: String) -> Event {
    host_state_ahead(generation, revision, image, document, &[])
}

/// With images to fetch ahead.
fn host_state_ahead(generation: u64, revision: u64, image: &str, document: String, ahead: &[&str]) -> Event {
    let host: HostName = "h".parse().expect("a host");
    let instance = DesiredInstance {
        workload: "web".parse().expect("a workload"),
        index: 0,
        revision: Revision(revision),
        digest: Digest::of(image.as_bytes()),
        document,
    };
    let ahead = ahead
        .iter()
        .map(|content| Prefetch { image: "r.lan/web:2".parse().expect("an image"), digest: Digest::of(content.as_bytes()) });
    let (generation, instances) = (Generation(generation), vec![instance]);
    let state = HostState { generation, instances, prefetch: ahead.collect(), ..HostState::empty(host) };
    Event::State(Box::new(state))
}

fn image(name: &str) -> Image {
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": { "Cmd": ["/serve"], "StopSignal": "SIGQUIT" },
        "rootfs": { "type": "layers", "diff_ids": [] }
    });
    Image {
        digest: Digest::of(name.as_bytes()),
        config: serde_json::from_value(config).expect("an image config"),
        healthcheck: None,
        annotations: BTreeMap::new(),
    }
}

struct Lab {
    agent: Agent,
    folder: tempfile::TempDir,
}

fn lab() -> Lab {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = Ledger::open(folder.path(), &"h".parse().expect("a host")).expect("a ledger");
    Lab { agent: Agent::new("h".parse().expect("a host"), Labels::new(), ledger, BTreeMap::new()), folder }
}

impl Lab {
    fn tasks(&mut self) -> Vec<String> {
        let (_, tasks) = self.agent.plan(now());
        tasks.iter().map(show).collect()
    }

    fn state(&mut self) -> (InstanceState, bool) {
        let (plan, _) = self.agent.plan(now());
        let report = self.agent.report(&plan, now());
        (report.instances[0].state, report.instances[0].ready)
    }

    fn apply(&mut self, event: Event) {
        self.agent.apply(event, now());
    }

    fn pulled(&mut self, name: &str) {
        let result = Ok(Box::new(image(name)));
        self.apply(Event::Pulled { digest: Digest::of(name.as_bytes()), result });
    }

    fn started(&mut self, id: &str) {
        let running = Running { id: id.to_owned(), pid: 42, started_at: now().wall, weakened: Vec::new() };
        self.apply(Event::Started { container: id.parse().expect("a container"), result: Ok(running) });
    }

    /// As if it had not ended.
    fn started_again(&mut self, id: &ContainerId) {
        let container = self.agent.observed.containers.get_mut(id).expect("its folder is there");
        (container.phase, container.pid) = (Phase::Running { since: now().mono }, Some(42));
    }

    fn exited(&mut self, id: &str, code: i32) {
        let exit = Exit { code: Some(code), signal: None, oom_killed: false, at: now().wall, unknown: false };
        self.apply(Event::Runtime(RuntimeEvent::Exited { id: id.to_owned(), exit }));
    }
}

fn show(task: &Task) -> String {
    match task {
        Task::Pull { .. } => "pull".to_owned(),
        Task::Start { container, .. } => format!("start {container}"),
        Task::PostStart { container, hooks } => format!("run {} hooks in {container}", hooks.len()),
        Task::Ask(asked) => format!("ask {}", asked.container),
        Task::AskNoMore { container } => format!("ask {container} no more"),
        Task::Stop { container, hooks, signal, .. } if hooks.is_empty() => format!("signal {container} {signal}"),
        Task::Stop { container, hooks, signal, .. } => format!("run {} hooks, then signal {container} {signal}", hooks.len()),
        Task::Kill { container } => format!("kill {container}"),
        Task::Remove { container } => format!("remove {container}"),
    }
}

#[test]
fn from_host_state_to_running_and_gone() {
    let mut lab = lab();
    lab.apply(host_state(1, 1, "one", document("")));
    assert_eq!(lab.tasks(), ["pull"]);
    assert!(lab.tasks().is_empty(), "a pull under way is not asked for again");
    lab.pulled("one");
    assert_eq!(lab.tasks(), ["start web.0-r1-1"]);
    assert!(lab.tasks().is_empty(), "a start under way is not asked for again");
    lab.started("web.0-r1-1");
    assert_eq!(lab.state(), (InstanceState::Running, true));
    let empty = HostState { generation: Generation(2), ..HostState::empty("h".parse().expect("a host")) };
    lab.apply(Event::State(Box::new(empty)));
    assert_eq!(lab.tasks(), ["signal web.0-r1-1 SIGQUIT"], "the image's own stop signal");
    lab.exited("web.0-r1-1", 0);
    assert_eq!(lab.tasks(), ["remove web.0-r1-1"]);
    lab.apply(Event::Removed { container: "web.0-r1-1".parse().expect("a container"), result: Ok(()) });
    let (plan, _) = lab.agent.plan(now());
    assert!(lab.agent.report(&plan, now()).instances.is_empty());
    lab.apply(host_state(3, 1, "one", document("")));
    assert_eq!(lab.tasks(), ["start web.0-r1-2"], "selected again: no container's name is used twice");
}

#[test]
fn an_image_is_fetched_ahead_kept_and_forgotten() {
    let mut lab = lab();
    lab.apply(host_state_ahead(1, 1, "one", document(""), &["two", "three"]));
    assert_eq!(lab.tasks(), ["pull"], "what is to run now comes first");
    lab.pulled("one");
    assert_eq!(lab.tasks(), ["start web.0-r1-1", "pull"]);
    lab.started("web.0-r1-1");
    lab.pulled("two");
    assert_eq!(lab.tasks(), ["pull"]);
    let failed = || Event::Pulled { digest: Digest::of(b"three"), result: Err("registry.lan refused".to_owned()) };
    lab.apply(failed());
    assert!(lab.tasks().is_empty(), "it is tried again, later");
    let (plan, _) = lab.agent.plan(now());
    let states: Vec<_> = lab.agent.report(&plan, now()).prefetch.into_iter().map(|one| one.state).collect();
    assert!(matches!(states.as_slice(), [PrefetchState::Ready, PrefetchState::Failed { attempts: 1, .. }]), "{states:?}");
    assert_eq!(lab.state(), (InstanceState::Running, true));
    assert!(lab.agent.images_in_use().contains_key(&Digest::of(b"two")), "kept while it is named");
    lab.apply(host_state(2, 1, "one", document("")));
    assert!(!lab.agent.images_in_use().contains_key(&Digest::of(b"two")));
    let (plan, _) = lab.agent.plan(now());
    assert!(lab.agent.report(&plan, now()).prefetch.is_empty());
    // Named again: the failure was forgotten with the name.
    lab.apply(host_state_ahead(3, 1, "one", document(""), &["three"]));
    assert_eq!(lab.tasks(), ["pull"]);
}

#[test]
fn a_new_login_is_tried_at_once() {
    let mut lab = lab();
    let Event::State(state) = host_state(1, 1, "one", document("")) else { unreachable!("a host state") };
    let with = |generation, password: &str| {
        let login = RegistryLogin {
            prefix: "r.lan".to_owned(),
            location: None,
            mirrors: Vec::new(),
            insecure: false,
            username: Some("puller".to_owned()),
            password: Some(password.to_owned()),
        };
        let state = HostState { generation: Generation(generation), registries: vec![login], ..(*state).clone() };
        Event::State(Box::new(state))
    };
    lab.apply(with(1, "wrong"));
    assert_eq!(lab.tasks(), ["pull"]);
    lab.apply(Event::Pulled { digest: Digest::of(b"one"), result: Err("unauthorized".to_owned()) });
    assert!(lab.tasks().is_empty());
    lab.apply(with(2, "right"));
    assert_eq!(lab.tasks(), ["pull"]);
    assert_eq!(lab.agent.registries()[0].password.as_deref(), Some("right"));
}

#[test]
fn the_old_container_stays_until_the_new_image_is_complete() {
    let mut lab = lab();
    lab.apply(host_state(1, 1, "one", document("")));
    lab.tasks();
    lab.pulled("one");
    lab.tasks();
    lab.started("web.0-r1-1");
    lab.apply(host_state(2, 2, "two", document("")));
    assert_eq!(lab.tasks(), ["pull"]);
    let digest = Digest::of(b"two");
    lab.apply(Event::Pulled { digest, result: Err("registry r.lan answers 500".to_owned()) });
    assert!(lab.tasks().is_empty());
    assert_eq!(lab.state(), (InstanceState::Running, true));
    // It ends meanwhile: what ran before is started again, because the new one cannot be.
    lab.exited("web.0-r1-1", 1);
    assert_eq!(lab.tasks(), ["remove web.0-r1-1"], "and the restart waits for its backoff");
    lab.pulled("two");
    assert_eq!(lab.tasks(), ["start web.0-r2-1"]);
}

#[test]
fn an_end_that_overtakes_its_start_is_not_lost() {
    let mut lab = lab();
    lab.apply(host_state(1, 1, "one", document("restart = \"no\"\n")));
    lab.tasks();
    lab.pulled("one");
    lab.tasks();
    lab.exited("web.0-r1-1", 0);
    lab.started("web.0-r1-1");
    assert_eq!(lab.tasks(), ["remove web.0-r1-1"]);
    assert_eq!(lab.state(), (InstanceState::Exited, true));
}

#[test]
fn an_older_host_state_is_refused_and_said() {
    let mut lab = lab();
    lab.apply(host_state(5, 1, "one", document("")));
    lab.apply(host_state(4, 1, "one", document("")));
    let (plan, _) = lab.agent.plan(now());
    let report = lab.agent.report(&plan, now());
    assert!(report.problems[0].contains("restored from a backup"), "{:?}", report.problems);
    assert_eq!(lab.agent.generation(), Some(Generation(5)));
}

#[test]
fn a_document_that_this_agent_cannot_read_disturbs_nothing() {
    let mut lab = lab();
    lab.apply(host_state(1, 1, "one", document("")));
    lab.tasks();
    lab.pulled("one");
    lab.tasks();
    lab.started("web.0-r1-1");
    lab.apply(host_state(2, 2, "one", document("from_the_future = 1\n")));
    assert!(lab.tasks().is_empty());
    assert_eq!(lab.state(), (InstanceState::Running, true));
    let (plan, _) = lab.agent.plan(now());
    let reason = lab.agent.report(&plan, now()).instances[0].reason.clone().expect("a reason").to_string();
    assert!(reason.contains("rejects the document"), "{reason}");
}

#[test]
fn news_that_cannot_be_written_down_are_kept_and_tried_again() {
    let mut lab = lab();
    let (path, moved) = (lab.folder.path().to_owned(), lab.folder.path().with_extension("away"));
    std::fs::rename(&path, &moved).expect("taken away");
    lab.apply(host_state(1, 1, "one", document("")));
    let (plan, tasks) = lab.agent.plan(now());
    assert!(tasks.is_empty(), "nothing is believed that is not in the ledger");
    assert!(lab.agent.report(&plan, now()).problems[0].contains("ledger"));
    std::fs::rename(&moved, &path).expect("given back");
    let later = Now { mono: plan.wake_at.expect("a next try"), ..now() };
    lab.agent.apply(Event::Timer, later);
    assert_eq!(lab.tasks(), ["pull"]);
    let (plan, _) = lab.agent.plan(now());
    assert!(lab.agent.report(&plan, now()).problems.is_empty());
}

/// The image's own health check: a program, asked every second, ill after two failures.
fn image_with_check(name: &str) -> Image {
    let healthcheck = coord_image::Healthcheck {
        command: vec!["/check".to_owned()],
        interval: Some(Duration::from_secs(1)),
        timeout: None,
        start_period: None,
        start_interval: None,
        retries: Some(2),
    };
    Image { healthcheck: Some(healthcheck), ..image(name) }
}

impl Lab {
    /// The image is here, and web.0 runs in revision 1.
    fn serving(&mut self, extra: &str, image: Image) {
        self.apply(host_state(1, 1, "one", document(extra)));
        self.tasks();
        self.apply(Event::Pulled { digest: Digest::of(b"one"), result: Ok(Box::new(image)) });
        self.tasks();
        self.started("web.0-r1-1");
    }

    fn health(&mut self, id: &str, status: Status) {
        let failures = if status == Status::Unhealthy { 2 } else { 0 };
        let health = Health { status, failures, output: "refused".to_owned(), ..Health::starting(now().mono) };
        self.apply(Event::Health { container: id.parse().expect("a container"), health });
    }

    fn hooked(&mut self, id: &str, result: Result<(), &str>) {
        let result = result.map_err(str::to_owned);
        self.apply(Event::Hooked { container: id.parse().expect("a container"), result });
    }

    fn reason(&mut self) -> String {
        let (plan, _) = self.agent.plan(now());
        let report = self.agent.report(&plan, now());
        report.instances[0].reason.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Another agent on the same host, which finds this container.
    fn successor(self, id: &str, state: RecoveredState, images: Vec<Image>) -> Self {
        let meta = serde_json::to_value(&self.agent.metas[&id.parse::<ContainerId>().expect("a container")]).expect("JSON");
        let histories = serde_json::to_value(self.agent.histories()).expect("JSON");
        let histories = serde_json::from_value(histories).expect("histories");
        let host = || "h".parse().expect("a host");
        let ledger = Ledger::open(self.folder.path(), &host()).expect("a ledger");
        let mut agent = Agent::new(host(), Labels::new(), ledger, histories);
        agent.found_images(images);
        agent.recover(vec![Recovered { id: id.to_owned(), meta, state }], now());
        Self { agent, folder: self.folder }
    }
}

fn found_running(id: &str) -> RecoveredState {
    RecoveredState::Running(Running { id: id.to_owned(), pid: 42, started_at: now().wall, weakened: Vec::new() })
}

#[test]
fn a_container_with_a_check_is_ready_when_that_says_so() {
    let mut lab = lab();
    lab.serving("", image_with_check("one"));
    assert_eq!(lab.tasks(), ["ask web.0-r1-1"]);
    assert_eq!(lab.state(), (InstanceState::Running, false));
    assert_eq!(lab.reason(), "waits for its health check");
    lab.health("web.0-r1-1", Status::Healthy);
    assert_eq!(lab.state(), (InstanceState::Running, true));
    assert!(lab.tasks().is_empty());
    // The image's word is not the last one.
    lab.apply(host_state(2, 2, "one", document("[healthcheck]\ndisable = true\n")));
    assert_eq!(lab.tasks(), ["ask web.0-r1-1 no more"]);
    assert_eq!(lab.state(), (InstanceState::Running, true));
    lab.apply(host_state(3, 3, "one", document("[healthcheck]\ntest = [\"CMD\", \"/other\"]\n")));
    assert_eq!(lab.tasks(), ["ask web.0-r1-1"], "a new question for the container that runs");
}

#[test]
fn an_ill_container_is_stopped_once_and_started_again() {
    let mut lab = lab();
    lab.serving("", image_with_check("one"));
    lab.tasks();
    lab.health("web.0-r1-1", Status::Unhealthy);
    assert_eq!(lab.tasks(), ["ask web.0-r1-1 no more", "signal web.0-r1-1 SIGQUIT"]);
    assert_eq!(lab.reason(), "unhealthy (2 failed checks in a row), stopping it: refused");
    lab.health("web.0-r1-1", Status::Healthy);
    assert!(lab.tasks().is_empty(), "an answer that was under way changes nothing");
    lab.exited("web.0-r1-1", 0);
    let history = &lab.agent.histories()[&"web.0".parse::<InstanceId>().expect("an instance")];
    assert_eq!((history.failures, history.lives.len()), (1, 0), "counted once, and nothing kept of it");
    assert_eq!(lab.tasks(), ["remove web.0-r1-1"], "and the restart waits for its backoff");
    assert_eq!(lab.reason(), "unhealthy (2 failed checks in a row), restarted 0 times so far: refused");
}

#[test]
fn the_next_agent_knows_who_was_well() {
    let mut one = lab();
    one.serving("", image_with_check("one"));
    one.health("web.0-r1-1", Status::Healthy);
    let mut next = one.successor("web.0-r1-1", found_running("web.0-r1-1"), vec![image_with_check("one")]);
    assert_eq!(next.state(), (InstanceState::Running, true), "at once, and not after its first check");
    assert!(matches!(next.agent.observed.containers.values().next(), Some(container) if container.health.is_some()));
}

#[test]
fn the_next_agent_goes_on_stopping_what_is_ill() {
    let mut one = lab();
    one.serving("", image_with_check("one"));
    one.tasks();
    one.health("web.0-r1-1", Status::Unhealthy);
    one.tasks();
    let mut next = one.successor("web.0-r1-1", found_running("web.0-r1-1"), vec![image_with_check("one")]);
    assert_eq!(next.tasks(), ["ask web.0-r1-1", "ask web.0-r1-1 no more", "signal web.0-r1-1 SIGQUIT"]);
    let failures = |lab: &Lab| lab.agent.histories().values().next().map(|history| history.failures);
    assert_eq!(failures(&next), Some(1));
    let exit = coord_runtime::Exit { code: Some(0), signal: None, oom_killed: false, at: now().wall, unknown: false };
    let last = next.successor("web.0-r1-1", RecoveredState::Exited(exit), vec![image_with_check("one")]);
    assert_eq!(failures(&last), Some(1), "its end is not another failure");
}

#[test]
fn a_container_of_an_older_agent_is_kept_and_asked() {
    let mut one = lab();
    one.serving("", image("one"));
    // What that agent kept beside it knew of no checks.
    let host = || "h".parse().expect("a host");
    let ledger = Ledger::open(one.folder.path(), &host()).expect("a ledger");
    let mut agent = Agent::new(host(), Labels::new(), ledger, BTreeMap::new());
    agent.found_images(vec![image_with_check("one")]);
    let fingerprint = one.agent.metas.values().next().expect("a container").fingerprint.clone();
    let meta = serde_json::json!({
        "fingerprint": fingerprint, "image": Digest::of(b"one"), "grace": "10s", "stop_signal": "SIGTERM"
    });
    agent.recover(vec![Recovered { id: "web.0-r1-1".to_owned(), meta, state: found_running("web.0-r1-1") }], now());
    let mut next = Lab { agent, folder: one.folder };
    assert_eq!(next.tasks(), ["ask web.0-r1-1"]);
    assert_eq!(next.state(), (InstanceState::Running, false));
}

const HOOKS: &str = "[[post_start]]\ncommand = [\"/warm\"]\n[[pre_stop]]\ncommand = [\"/drain\"]\n";

#[test]
fn a_container_is_starting_until_its_hooks_are_through() {
    let mut lab = lab();
    lab.serving(HOOKS, image_with_check("one"));
    assert_eq!(lab.tasks(), ["run 1 hooks in web.0-r1-1"]);
    assert_eq!(lab.state(), (InstanceState::Starting, false));
    lab.hooked("web.0-r1-1", Ok(()));
    assert_eq!(lab.tasks(), ["ask web.0-r1-1"], "nobody is asked before");
    lab.health("web.0-r1-1", Status::Healthy);
    assert_eq!(lab.state(), (InstanceState::Running, true));
    let empty = HostState { generation: Generation(2), ..HostState::empty("h".parse().expect("a host")) };
    lab.apply(Event::State(Box::new(empty)));
    assert_eq!(lab.tasks(), ["ask web.0-r1-1 no more", "run 1 hooks, then signal web.0-r1-1 SIGQUIT"]);
}

#[test]
fn a_hook_that_fails_fails_the_start() {
    let mut lab = lab();
    lab.serving(HOOKS, image("one"));
    lab.tasks();
    lab.hooked("web.0-r1-1", Err("post_start hook `/warm` failed: exit code 1"));
    assert_eq!(lab.tasks(), ["signal web.0-r1-1 SIGQUIT"], "without what it wants to be run before a stop");
    lab.exited("web.0-r1-1", 0);
    assert_eq!(lab.tasks(), ["remove web.0-r1-1"]);
    assert_eq!(lab.reason(), "start failed (once): post_start hook `/warm` failed: exit code 1");
}

#[test]
fn an_end_within_the_hooks_is_an_end() {
    let mut lab = lab();
    lab.serving(HOOKS, image("one"));
    lab.tasks();
    lab.exited("web.0-r1-1", 3);
    lab.hooked("web.0-r1-1", Err("post_start hook `/warm` failed: its container has ended"));
    assert_eq!(lab.tasks(), ["remove web.0-r1-1"]);
    assert_eq!(lab.reason(), "exit code 3; restarted 0 times so far");
}

#[test]
fn the_next_agent_runs_hooks_that_were_not_through_and_no_others() {
    let mut one = lab();
    one.serving(HOOKS, image("one"));
    one.tasks();
    let mut next = one.successor("web.0-r1-1", found_running("web.0-r1-1"), vec![image("one")]);
    assert_eq!(next.tasks(), ["run 1 hooks in web.0-r1-1"]);
    assert_eq!(next.state(), (InstanceState::Starting, false));
    next.hooked("web.0-r1-1", Ok(()));
    let mut last = next.successor("web.0-r1-1", found_running("web.0-r1-1"), vec![image("one")]);
    assert!(last.tasks().is_empty());
    assert_eq!(last.state(), (InstanceState::Running, true));
}

#[test]
fn an_end_for_want_of_memory_names_the_limit() {
    let mut lab = lab();
    lab.serving("restart = \"no\"\n[resources]\nmemory = \"64MiB\"\n", image("one"));
    let exit = coord_runtime::Exit { code: Some(137), signal: None, oom_killed: true, at: now().wall, unknown: false };
    lab.apply(Event::Runtime(RuntimeEvent::Exited { id: "web.0-r1-1".to_owned(), exit }));
    assert_eq!(lab.reason(), "killed: out of memory (limit 64.0 MiB); not restarted (restart = \"no\")");
}

#[test]
fn what_is_loosened_is_reported() {
    let mut lab = lab();
    lab.apply(host_state(1, 1, "one", document("network = \"host\"\n")));
    lab.tasks();
    lab.pulled("one");
    lab.tasks();
    let weakened = vec!["no user namespace: the kernel cannot idmap overlayfs".to_owned()];
    let running = Running { id: "web.0-r1-1".to_owned(), pid: 42, started_at: now().wall, weakened };
    lab.apply(Event::Started { container: "web.0-r1-1".parse().expect("a container"), result: Ok(running) });
    let (plan, _) = lab.agent.plan(now());
    let loosened = lab.agent.report(&plan, now()).instances[0].loosened.join("; ");
    assert_eq!(loosened, "host's network; no user namespace: the kernel cannot idmap overlayfs");
}

#[test]
fn a_container_is_drained_once_its_last_wish_for_no_door_is_fulfilled() {
    let publishing = |greeting: &str| {
        document(&format!(
            "ports = [\"80:8080\", \"53:53/udp\"]\nenvironment = {{ GREETING = {greeting:?} }}\n[rollout]\norder = \"start-first\"\n"
        ))
    };
    let (old, new): (ContainerId, ContainerId) =
        ("web.0-r1-1".parse().expect("a container"), "web.0-r2-1".parse().expect("a container"));
    let mut lab = lab();
    lab.apply(host_state(1, 1, "one", publishing("one")));
    lab.pulled("one");
    assert_eq!(lab.tasks(), ["start web.0-r1-1"]);
    lab.started("web.0-r1-1");
    // What is wished after each plan, as the loop does it: the containers that doors lead to, and how far the old one is.
    let wish = |lab: &mut Lab, number: u64| {
        let (plan, tasks) = lab.agent.plan(now());
        let doors = lab.agent.doors(&plan);
        lab.agent.wished(number, &doors);
        let led_to: Vec<String> = doors.values().map(|target| target.container.to_string()).collect();
        (led_to, plan.draining.get(&old).copied(), tasks.iter().map(show).collect::<Vec<_>>())
    };
    let both = |id: &ContainerId| vec![id.to_string(); 2];
    assert_eq!(wish(&mut lab, 1), (both(&old), None, vec![]));
    lab.apply(host_state(2, 2, "one", publishing("two")));
    assert_eq!(wish(&mut lab, 1), (both(&old), None, vec!["start web.0-r2-1".to_owned()]));
    lab.started("web.0-r2-1");
    assert_eq!(wish(&mut lab, 2), (both(&new), Some(Drain::MovingDoors), vec![]));
    // The new one dies before the doors have moved, and comes back: news of the first wish say nothing any more.
    lab.exited("web.0-r2-1", 1);
    let (led_to, drain, _) = wish(&mut lab, 3);
    assert_eq!((led_to, drain), (both(&old), None));
    lab.started_again(&new);
    assert_eq!(wish(&mut lab, 4).1, Some(Drain::MovingDoors));
    lab.apply(Event::NetworkIsAsWished(3));
    assert_eq!(wish(&mut lab, 4).1, Some(Drain::MovingDoors), "older than the wish that counts");
    lab.apply(Event::Connections { container: old.clone(), open: Some(0) });
    lab.apply(Event::NetworkIsAsWished(4));
    assert_eq!(wish(&mut lab, 4).1, Some(Drain::Settling), "whoever counted, counted too early");

    let later = || Now { mono: now().mono.after(planner::drain::SETTLE), ..now() };
    let (plan, _) = lab.agent.plan(later());
    assert_eq!(plan.draining.get(&old), Some(&Drain::Emptying));
    let watched = Watched { container: old.clone(), pid: 42, ports: [8080].into() };
    assert_eq!(lab.agent.watched(&plan), [watched], "UDP knows no connections");
    lab.agent.apply(Event::Connections { container: old.clone(), open: Some(1) }, later());
    assert!(lab.agent.plan(later()).1.is_empty());
    lab.agent.apply(Event::Connections { container: old.clone(), open: Some(0) }, later());
    let (plan, tasks) = lab.agent.plan(later());
    assert_eq!(tasks.iter().map(show).collect::<Vec<_>>(), ["signal web.0-r1-1 SIGQUIT"]);
    assert!(plan.draining.is_empty());
}
