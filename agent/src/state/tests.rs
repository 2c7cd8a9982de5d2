//! The agent's memory: that what is set going is not set going twice, and that what happens to it is told right.
use super::*;
use coord_runtime::{Exit, Running};

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
