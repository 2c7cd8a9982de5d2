//! The control loop over a store in memory: who is told what, and what a crash, a lost answer or a restart changes (nothing).
use super::*;
use crate::records::{
    ASSIGN, Assigned, HostRecord, RevisionRecord, Source, WorkloadRecord, host_key, revision_key, workload_key,
};
use coord_shared::decide::liveness::LivenessLimits;
use coord_shared::decide::reason::Reason;
use coord_shared::names::{ContainerId, Digest, Generation, Labels, Revision, WorkloadName};
use coord_shared::wire::{
    FullReport, HostFacts, HostState, InstanceReport, InstanceState, Prefetch, RegistryLogin, Report, WIRE_VERSION,
};
use coord_store::{Fault, FaultyStore, MemoryStore, Store as _};
use std::sync::Arc;

mod retention;

/// Reports and time pass by hand; the controller makes its passes when told to.
struct Fleet {
    store: Arc<FaultyStore>,
    hosts: Arc<Hosts>,
    controller: Controller,
    board: watch::Receiver<Arc<Board>>,
    logins: watch::Sender<Arc<Logins>>,
    sequence: u64,
}

fn fleet() -> Fleet {
    Fleet::over(Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()))))
}

fn host(text: &str) -> HostName {
    text.parse().expect("a host name")
}

fn workload(text: &str) -> WorkloadName {
    text.parse().expect("a workload name")
}

fn document(hosts: &str, extra: &str) -> String {
    format!("image = \"r.lan/web:1\"\nhosts = {hosts}\n{extra}\n[rollout]\nmonitor = \"5s\"\n")
}

impl Fleet {
    /// A coordinator that has just started over what an earlier one left.
    fn over(store: Arc<FaultyStore>) -> Self {
        let (logins, _) = watch::channel(Arc::default());
        let hosts = Arc::new(Hosts::new(LivenessLimits::default()));
        let (controller, board) = Controller::new(Arc::clone(&store) as SharedStore, Arc::clone(&hosts), logins.subscribe());
        Self { store, hosts, controller, board, logins, sequence: 0 }
    }

    fn restarted(&self) -> Self {
        Self::over(Arc::clone(&self.store))
    }

    async fn put(&self, txn: Txn) {
        assert!(matches!(self.store.txn(txn).await, Ok(Committed::Yes(_))));
    }

    async fn add_host(&self, name: &str, role: &str) {
        let labels = Labels::from([("role".to_owned(), role.to_owned())]);
        let record = HostRecord { token_sha256: String::new(), added_at: clock::wall(), labels };
        self.put(Txn::default().put(host_key(&host(name)), encode(&record))).await;
    }

    async fn publish(&self, name: &str, revision: u64, text: &str, content: &str) {
        let (name, revision) = (workload(name), Revision(revision));
        let source = Source::Folder(format!("{name}.toml"));
        let image = "r.lan/web:1".parse().expect("an image");
        let at = clock::wall();
        let body = RevisionRecord { text: text.to_owned(), image, digest: Digest::of(content.as_bytes()), at, origin: None };
        let record = WorkloadRecord { newest: revision, source, at, deleted: false, last_text: revision };
        let txn = Txn::default().put(revision_key(&name, revision), encode(&body)).put(workload_key(&name), encode(&record));
        self.put(txn).await;
    }

    async fn delete(&self, name: &str, revision: u64) {
        let source = Source::Folder(format!("{name}.toml"));
        let (newest, last_text) = (Revision(revision), Revision(revision - 1));
        let record = WorkloadRecord { newest, source, at: clock::wall(), deleted: true, last_text };
        self.put(Txn::default().put(workload_key(&workload(name)), encode(&record))).await;
    }

    fn say(&mut self, name: &str, container: Option<(&str, bool)>) {
        self.sequence += 1;
        let accepted = self.board.borrow().hosts.get(&host(name)).map(|h| h.generation);
        let instances = container.into_iter().map(|(container, ready)| {
            let id: ContainerId = container.parse().expect("a container");
            InstanceReport {
                instance: id.instance.clone(),
                state: InstanceState::Running,
                revision: Some(id.revision),
                ready,
                since: clock::wall(),
                restarts: 0,
                last_exit: None,
                container: Some(id),
                pid: None,
                reason: None,
                health: None,
                loosened: Vec::new(),
                addresses: Vec::new(),
                nested: None,
            }
        });
        let full = FullReport {
            labels: Labels::new(),
            facts: HostFacts::default(),
            instances: instances.collect(),
            prefetch: Vec::new(),
            problems: Vec::new(),
            ..FullReport::default()
        };
        let report = Report {
            version: WIRE_VERSION,
            host: host(name),
            agent_version: "1".to_owned(),
            sequence: self.sequence,
            agent_run: "run".to_owned(),
            generation: accepted,
            full: Some(full),
        };
        self.hosts.report(report, clock::now()).expect("is known");
    }

    async fn pass(&mut self) -> Option<Mono> {
        self.controller.pass().await.expect("passes")
    }

    /// What the host would read now: its generation, and `workload@revision` for each instance.
    async fn told(&self, name: &str) -> (u64, Vec<String>) {
        let state = self.state(name).await;
        (state.generation.0, state.instances.iter().map(|i| format!("{}@{}", i.workload, i.revision)).collect())
    }

    async fn ahead(&self, name: &str) -> Vec<Prefetch> {
        self.state(name).await.prefetch
    }

    async fn state(&self, name: &str) -> HostState {
        let poll = self.hosts.poll(&host(name), None, Duration::ZERO).await.expect("is known");
        let crate::hosts::Poll::State(state, _) = poll else { panic!("{name} has no state: {poll:?}") };
        let text = std::str::from_utf8(&state.body).expect("text");
        HostState::from_toml(text).expect("a host state")
    }

    fn target(&self, name: &str, on: &str) -> TargetBoard {
        self.board.borrow().workloads[&workload(name)].targets.get(&host(on)).cloned().expect("a target")
    }
}

fn told(generation: u64, instances: &[&str]) -> (u64, Vec<String>) {
    (generation, instances.iter().map(|i| (*i).to_owned()).collect())
}

#[tokio::test(start_paused = true)]
async fn targets_are_told_and_others_are_not() {
    let mut fleet = fleet();
    for (name, role) in [("a", "web"), ("b", "db"), ("c", "web")] {
        fleet.add_host(name, role).await;
    }
    fleet.publish("web", 1, &document("[\"role=web\"]", ""), "one").await;
    fleet.pass().await;
    assert_eq!(fleet.told("a").await, told(1, &["web@1"]));
    assert_eq!(fleet.told("b").await, told(0, &[]));
    assert_eq!(fleet.told("c").await, told(1, &["web@1"]));
    // The label comes to a further host, and goes from one.
    fleet.add_host("b", "web").await;
    fleet.add_host("c", "db").await;
    fleet.pass().await;
    assert_eq!(fleet.told("a").await, told(1, &["web@1"]));
    assert_eq!(fleet.told("b").await, told(1, &["web@1"]));
    assert_eq!(fleet.told("c").await, told(2, &[]));
}

#[tokio::test(start_paused = true)]
async fn a_generation_grows_only_when_instances_change() {
    let mut fleet = fleet();
    fleet.add_host("a", "web").await;
    fleet.publish("web", 1, &document("[\"a\"]", ""), "one").await;
    fleet.pass().await;
    let before = fleet.store.range(ASSIGN).await.expect("reads");
    fleet.publish("other", 1, &document("[\"elsewhere\"]", ""), "one").await;
    fleet.say("a", Some(("web.0-r1-1", true)));
    for _ in 0..3 {
        fleet.pass().await;
    }
    assert_eq!(fleet.store.range(ASSIGN).await.expect("reads"), before);
    assert_eq!(fleet.board.borrow().workloads[&workload("other")].reasons, [Reason::HostNotKnown { host: host("elsewhere") }]);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_goes_host_by_host_and_waits_for_readiness() {
    let mut fleet = fleet();
    for name in ["a", "b"] {
        fleet.add_host(name, "web").await;
    }
    fleet.publish("web", 1, &document("[\"*\"]", ""), "one").await;
    fleet.pass().await;
    for name in ["a", "b"] {
        fleet.say(name, Some(("web.0-r1-1", true)));
    }
    fleet.publish("web", 2, &document("[\"*\"]", ""), "two").await;
    fleet.pass().await;
    assert_eq!((fleet.told("a").await, fleet.told("b").await), (told(2, &["web@2"]), told(2, &["web@1"])));
    assert!(matches!(fleet.target("web", "b").reason, Some(Reason::WaitingForTurn { .. })));
    // Ready, and watched for its monitor time; then the next.
    fleet.say("a", Some(("web.0-r2-1", true)));
    let wake = fleet.pass().await.expect("a time to look again");
    assert_eq!(wake.since(clock::now().mono), Duration::from_secs(5));
    assert!(fleet.target("web", "a").is_ready);
    assert_eq!(fleet.told("b").await, told(2, &["web@1"]));
    tokio::time::advance(Duration::from_secs(5)).await;
    fleet.pass().await;
    assert_eq!(fleet.told("b").await, told(3, &["web@2"]));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_its_turn_fetches_the_image_meanwhile() {
    let mut fleet = fleet();
    for name in ["a", "b"] {
        fleet.add_host(name, "web").await;
    }
    fleet.publish("web", 1, &document("[\"*\"]", ""), "one").await;
    fleet.pass().await;
    for name in ["a", "b"] {
        fleet.say(name, Some(("web.0-r1-1", true)));
    }
    // The same image in another container: there is nothing to fetch.
    fleet.publish("web", 2, &document("[\"*\"]", "read_only = true"), "one").await;
    fleet.pass().await;
    assert_eq!((fleet.ahead("a").await, fleet.ahead("b").await), (vec![], vec![]));
    assert_eq!(fleet.told("b").await, told(1, &["web@1"]));
    let two = Prefetch { image: "r.lan/web:1".parse().expect("an image"), digest: Digest::of(b"two") };
    fleet.publish("web", 3, &document("[\"*\"]", ""), "two").await;
    fleet.pass().await;
    assert_eq!((fleet.ahead("a").await, fleet.ahead("b").await), (vec![], vec![two.clone()]));
    assert_eq!(fleet.told("b").await, told(2, &["web@1"]));
    assert!(fleet.target("web", "b").prefetches && !fleet.target("web", "a").prefetches);
    // Asked again, and by a coordinator that has just started: nothing new.
    let mut fleet = fleet.restarted();
    fleet.pass().await;
    assert_eq!((fleet.ahead("b").await, fleet.told("b").await), (vec![two], told(2, &["web@1"])));
    // Withdrawn before its turn came.
    fleet.publish("web", 4, &document("[\"*\"]", ""), "one").await;
    fleet.pass().await;
    assert_eq!((fleet.ahead("b").await, fleet.told("b").await), (vec![], told(3, &["web@4"])));
}

#[tokio::test(start_paused = true)]
async fn a_text_that_the_store_lost_is_not_fetched_ahead() {
    let mut fleet = fleet();
    for name in ["a", "b"] {
        fleet.add_host(name, "web").await;
    }
    fleet.publish("web", 1, &document("[\"*\"]", ""), "one").await;
    fleet.pass().await;
    fleet.say("b", Some(("web.0-r1-1", true)));
    fleet.publish("web", 2, &document("[\"*\"]", ""), "two").await;
    fleet.pass().await;
    fleet.put(Txn::default().delete(revision_key(&workload("web"), Revision(2)))).await;
    let mut fleet = fleet.restarted();
    fleet.pass().await;
    assert_eq!(fleet.ahead("b").await, []);
    assert_eq!(fleet.told("b").await.1, ["web@1"]);
}

#[tokio::test(start_paused = true)]
async fn a_login_goes_to_who_needs_it_and_a_new_password_makes_a_new_generation() {
    let mut fleet = fleet();
    for name in ["a", "b"] {
        fleet.add_host(name, "web").await;
    }
    let login = |password: &str| RegistryLogin {
        prefix: "r.lan".to_owned(),
        location: None,
        mirrors: Vec::new(),
        insecure: false,
        username: Some("puller".to_owned()),
        password: Some(password.to_owned()),
    };
    let share = |fleet: &Fleet, password, is_shared| {
        fleet.logins.send_replace(Arc::new(Logins(vec![SharedRegistry { login: login(password), is_shared }])));
    };
    share(&fleet, "sesame", true);
    fleet.publish("web", 1, &document("[\"a\"]", ""), "one").await;
    fleet.pass().await;
    assert_eq!(fleet.state("a").await.registries, [login("sesame")]);
    assert_eq!(fleet.state("b").await.registries, [], "it needs no image of that registry");
    fleet.pass().await;
    assert_eq!(fleet.told("a").await, told(1, &["web@1"]));
    share(&fleet, "changed", true);
    fleet.pass().await;
    assert_eq!(fleet.told("a").await, told(2, &["web@1"]));
    assert_eq!(fleet.state("a").await.registries, [login("changed")]);
    // A coordinator that starts with another password still.
    let restarted = fleet.restarted();
    share(&restarted, "again", true);
    let mut fleet = restarted;
    fleet.pass().await;
    assert_eq!((fleet.told("a").await.0, fleet.state("a").await.registries), (3, vec![login("again")]));
    share(&fleet, "again", false);
    fleet.pass().await;
    assert_eq!((fleet.told("a").await.0, fleet.state("a").await.registries), (4, vec![]));
    for entry in fleet.store.range("").await.expect("reads") {
        let text = String::from_utf8_lossy(&entry.value).into_owned();
        assert!(!["sesame", "changed", "again"].iter().any(|secret| text.contains(secret)), "{}: {text}", entry.key);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_keeps_the_container_reaches_everyone_at_once_and_counts_when_accepted() {
    let mut fleet = fleet();
    for name in ["a", "b"] {
        fleet.add_host(name, "web").await;
    }
    fleet.publish("web", 1, &document("[\"*\"]", ""), "one").await;
    fleet.pass().await;
    for name in ["a", "b"] {
        fleet.say(name, Some(("web.0-r1-1", true)));
    }
    fleet.pass().await;
    fleet.publish("web", 2, &document("[\"*\"]", "restart = \"on-failure\""), "one").await;
    fleet.pass().await;
    assert_eq!((fleet.told("a").await, fleet.told("b").await), (told(2, &["web@2"]), told(2, &["web@2"])));
    assert!(!fleet.target("web", "a").is_ready, "not accepted yet");
    fleet.say("a", Some(("web.0-r1-1", true)));
    fleet.pass().await;
    assert!(fleet.target("web", "a").is_ready, "the old container is the new one");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_workload_leaves_every_host_and_stays_on_the_board() {
    let mut fleet = fleet();
    fleet.add_host("a", "web").await;
    fleet.publish("web", 1, &document("[\"a\"]", ""), "one").await;
    fleet.pass().await;
    fleet.delete("web", 2).await;
    fleet.pass().await;
    assert_eq!(fleet.told("a").await, told(2, &[]));
    let board = fleet.board.borrow().clone();
    assert!(board.workloads[&workload("web")].record.deleted && board.workloads[&workload("web")].targets.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_restart_changes_nobodys_state() {
    let mut fleet = fleet();
    for name in ["a", "b", "c"] {
        fleet.add_host(name, "web").await;
    }
    fleet.publish("web", 1, &document("[\"*\"]", ""), "one").await;
    fleet.pass().await;
    for name in ["a", "b", "c"] {
        fleet.say(name, Some(("web.0-r1-1", true)));
    }
    // In the middle of a rollout: a was told, and has not said a word since.
    fleet.publish("web", 2, &document("[\"*\"]", ""), "two").await;
    fleet.pass().await;
    let before = fleet.store.range("").await.expect("reads");
    let etag = |fleet: &Fleet| {
        let hosts = Arc::clone(&fleet.hosts);
        async move { hosts.poll(&host("a"), None, Duration::ZERO).await }
    };
    let state = etag(&fleet).await;
    let mut fleet = fleet.restarted();
    fleet.pass().await;
    assert_eq!(fleet.store.range("").await.expect("reads"), before);
    assert_eq!(etag(&fleet).await, state, "not even the bytes changed");
    assert_eq!(fleet.target("web", "a").reason, Some(Reason::HostUnknown));
    // b is back first. It must not be told before a had time to be heard of.
    fleet.say("b", Some(("web.0-r1-1", true)));
    fleet.pass().await;
    assert_eq!(fleet.told("b").await, told(2, &["web@1"]));
    tokio::time::advance(LivenessLimits::default().lost_after).await;
    fleet.say("b", Some(("web.0-r1-1", true)));
    fleet.pass().await;
    assert_eq!(fleet.told("b").await, told(3, &["web@2"]), "a host that stays away holds nobody up for ever");
    assert_eq!(fleet.told("c").await, told(2, &["web@1"]), "and one that is away is not told");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_returns_under_its_name_goes_on_with_its_generation() {
    let mut fleet = fleet();
    fleet.add_host("a", "web").await;
    fleet.publish("web", 1, &document("[\"*\"]", ""), "one").await;
    fleet.pass().await;
    fleet.put(Txn::default().delete(host_key(&host("a")))).await;
    fleet.pass().await;
    assert!(!fleet.hosts.is_known(&host("a")));
    fleet.add_host("a", "web").await;
    fleet.pass().await;
    assert_eq!(fleet.told("a").await, told(3, &["web@1"]));
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_tells_nobody_and_a_lost_answer_tells_once() {
    let mut fleet = fleet();
    fleet.add_host("a", "web").await;
    fleet.pass().await;
    fleet.publish("web", 1, &document("[\"a\"]", ""), "one").await;
    fleet.store.plan([Fault::Fail]);
    assert!(fleet.controller.pass().await.is_err());
    assert_eq!(fleet.told("a").await, told(0, &[]));
    fleet.store.plan([Fault::LoseAnswer]);
    assert!(fleet.controller.pass().await.is_err());
    assert_eq!(fleet.told("a").await, told(0, &[]), "what is not known to be durable is not told");
    fleet.pass().await;
    assert_eq!(fleet.told("a").await, told(1, &["web@1"]));
    fleet.publish("web", 2, &document("[\"a\"]", "restart = \"no\""), "one").await;
    fleet.store.plan([Fault::Conflict, Fault::Conflict]);
    fleet.pass().await;
    assert_eq!(fleet.told("a").await, told(2, &["web@2"]));
}

#[tokio::test(start_paused = true)]
async fn a_text_that_the_store_lost_stops_nothing() {
    let mut fleet = fleet();
    fleet.add_host("a", "web").await;
    fleet.publish("web", 1, &document("[\"a\"]", ""), "one").await;
    fleet.pass().await;
    fleet.put(Txn::default().delete(revision_key(&workload("web"), Revision(1)))).await;
    fleet.pass().await;
    assert_eq!(fleet.told("a").await, told(1, &["web@1"]), "it keeps what it was told");
    let mut fleet = fleet.restarted();
    fleet.pass().await;
    let poll = fleet.hosts.poll(&host("a"), None, Duration::ZERO).await;
    assert_eq!(poll, Ok(crate::hosts::Poll::NotYet), "no state is better than one that stops it");
    let reasons = fleet.board.borrow().workloads[&workload("web")].reasons.clone();
    assert!(matches!(reasons.as_slice(), [Reason::DocumentRejected { .. }]), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_record_harms_only_itself() {
    let mut fleet = fleet();
    fleet.add_host("a", "web").await;
    fleet.publish("web", 1, &document("[\"a\"]", ""), "one").await;
    let damaged = Txn::default().put(workload_key(&workload("bad")), "{").put("host/NOT A NAME", "{}");
    fleet.put(damaged).await;
    fleet.pass().await;
    assert_eq!(fleet.told("a").await, told(1, &["web@1"]));
}

#[tokio::test(start_paused = true)]
async fn a_preview_tells_what_a_publish_would_do() {
    let mut fleet = fleet();
    for (name, role) in [("a", "web"), ("b", "web"), ("c", "db")] {
        fleet.add_host(name, role).await;
    }
    fleet.publish("web", 1, &document("[\"a\", \"b\"]", ""), "one").await;
    fleet.pass().await;
    let board = fleet.board.borrow().clone();
    let check = |new: Option<(&str, Option<&str>)>, starts: &[&str], replaces: &[&str], stops: &[&str]| {
        let document = new.map(|(text, _)| coord_shared::document::parse(text).expect("a document"));
        let digest = new.and_then(|(_, content)| content).map(|content| Digest::of(content.as_bytes()));
        let got = preview(&board, &workload("web"), document.as_ref().map(|d| (d, digest.as_ref())));
        let names = |hosts: &[&str]| hosts.iter().map(|h| host(h)).collect::<Vec<_>>();
        assert_eq!((got.starts_on, got.replaces_on, got.stops_on), (names(starts), names(replaces), names(stops)), "{new:?}");
    };
    let same = document("[\"a\", \"b\"]", "");
    check(Some((&same, None)), &[], &[], &[]);
    check(Some((&same, Some("two"))), &[], &["a", "b"], &[]);
    check(Some((&document("[\"b\", \"c\"]", ""), Some("one"))), &["c"], &[], &["a"]);
    check(Some((&document("[\"a\"]", "read_only = true"), None)), &[], &["a"], &["b"]);
    check(None, &[], &[], &["a", "b"]);
}

#[test]
fn an_assignment_names_the_revision_of_a_workload() {
    let assigned = Assigned { workload: workload("web"), index: 0, revision: Revision(3) };
    let record = AssignRecord { generation: Generation(1), instances: vec![assigned], ..AssignRecord::default() };
    assert_eq!(record.revision_of(&workload("web")), Some(Revision(3)));
    assert_eq!(record.revision_of(&workload("db")), None);
}
