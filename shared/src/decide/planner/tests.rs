//! The planner, example by example: what is wanted and seen on one host at second 100, and the whole plan as one line of text.
//!
//! A plan reads `ACTIONS | REASONS | wake SECOND`: actions and reasons joined by `; `, `nothing` where there is no action, and a
//! reason's due time after an `@`. Makes of a container are letters: `a` is a document with image `a`; `a+x` is the same image with
//! another environment, so another container.

mod ahead;
mod draining;
mod health;
mod hooks;
mod ports;
mod pulls;
mod replacing;
mod restarts;
mod status;
mod winding_down;

use super::*;
use crate::document::{self, Network, Parallelism, Resources, RestartPolicy, Rollout};
use crate::names::{ImageReference, WorkloadName};
use crate::wire::Exit;
use jiff::Timestamp;
use std::time::Duration;

/// The second at which every plan here is made.
const NOW_SECONDS: u64 = 100;
/// The grace period of every container here, in seconds.
const GRACE_SECONDS: u64 = 10;

/// One host and its single instance `web.0`.
#[derive(Default)]
struct World {
    desired: Desired,
    ahead: Vec<PinnedImage>,
    observed: Observed,
}

fn world() -> World {
    World::default()
}

fn now() -> Now {
    Now { mono: second(NOW_SECONDS), wall: wall(NOW_SECONDS) }
}

fn second(at: u64) -> Mono {
    Mono(Duration::from_secs(at))
}

/// The wall clock began at the epoch, so that times of day read as seconds too.
fn wall(at: u64) -> Timestamp {
    Timestamp::from_second(at as i64).expect("a time near the epoch")
}

fn web() -> InstanceId {
    InstanceId { workload: "web".parse::<WorkloadName>().expect("a workload name"), index: 0 }
}

fn image_digest(make: &str) -> Digest {
    Digest::of(make.split('+').next().unwrap_or(make).as_bytes())
}

/// Revision `revision` of a stop-first service that is always restarted.
fn spec(revision: u64, make: &str) -> Spec {
    let (image, environment) = make.split_once('+').map_or((make, None), |(image, variant)| (image, Some(variant)));
    let reference: ImageReference = format!("registry.lan/{image}:1").parse().expect("an image reference");
    let document = Document {
        image: reference.clone(),
        hosts: vec!["*".parse().expect("a selector")],
        container: document::Container {
            entrypoint: None,
            command: None,
            working_dir: None,
            user: None,
            hostname: None,
            environment: environment.map(|variant| ("VARIANT".to_owned(), variant.to_owned())).into_iter().collect(),
            labels: BTreeMap::new(),
            network: Network::None,
            read_only: false,
            stop_signal: None,
            resources: Resources::default(),
            ..document::Container::default()
        },
        restart: RestartPolicy::Always,
        stop_grace_period: Span::seconds(GRACE_SECONDS),
        restart_policy: document::RestartSettings::default(),
        healthcheck: None,
        post_start: Vec::new(),
        pre_stop: Vec::new(),
        rollout: Rollout {
            parallelism: Parallelism::Count(1),
            order: RolloutOrder::StopFirst,
            monitor: Span::seconds(5),
            drain: Span::seconds(2),
        },
    };
    let digest = image_digest(make);
    let fingerprint = document.fingerprint(&digest);
    Spec { revision: Revision(revision), image: reference.pin(digest), document, fingerprint }
}

fn start_first(spec: Spec) -> Spec {
    let rollout = Rollout { order: RolloutOrder::StartFirst, ..spec.document.rollout };
    Spec { document: Document { rollout, ..spec.document }, ..spec }
}

fn restarting(policy: RestartPolicy, spec: Spec) -> Spec {
    Spec { document: Document { restart: policy, ..spec.document }, ..spec }
}

fn running() -> Phase {
    Phase::Running { since: second(50) }
}

fn starting() -> Phase {
    Phase::Starting { since: second(99) }
}

fn stopping(kill_at: u64) -> Phase {
    Phase::Stopping { since: second(kill_at - GRACE_SECONDS), kill_at: second(kill_at), killed: false }
}

fn exited() -> Phase {
    Phase::Exited { at: second(99) }
}

fn failed_pull(attempts: u32, at: u64) -> Image {
    Image::Failed { error: "registry.lan refused".to_owned(), attempts, at: second(at) }
}

impl World {
    fn want(self, spec: Spec) -> Self {
        self.target(Target::Run(Arc::new(spec)), None)
    }

    fn want_after(self, previous: Spec, spec: Spec) -> Self {
        self.target(Target::Run(Arc::new(spec)), Some(previous))
    }

    fn rejected(self, previous: Option<Spec>) -> Self {
        self.target(Target::Rejected { error: "2:1: unknown key \"prots\"".to_owned() }, previous)
    }

    fn target(mut self, target: Target, previous: Option<Spec>) -> Self {
        self.desired.insert(web(), Wanted { target, previous: previous.map(Arc::new) });
        self
    }

    fn image(mut self, name: &str, image: Image) -> Self {
        self.observed.images.insert(image_digest(name), image);
        self
    }

    fn pulling(self, name: &str, done_bytes: u64, total_bytes: u64) -> Self {
        self.image(name, Image::Pulling { done_bytes, total_bytes, bytes_per_s: 0 })
    }

    /// The image is to be fetched ahead.
    fn ahead(mut self, name: &str) -> Self {
        self.ahead.push(spec(1, name).image);
        self
    }

    fn present(self, name: &str) -> Self {
        self.image(name, Image::Present)
    }

    fn container(mut self, id: &str, make: &str, phase: Phase) -> Self {
        let container = Container {
            fingerprint: spec(1, make).fingerprint,
            image: image_digest(make),
            grace: Span::seconds(GRACE_SECONDS),
            phase,
            pid: Some(4711),
            in_hooks: false,
            health: None,
            window: Span::seconds(10),
            ports: Vec::new(),
            traffic: Traffic::default(),
        };
        self.observed.containers.insert(id.parse().expect("a container name"), container);
        self
    }

    /// The container's history up to its start; `note` adds what followed.
    fn history(mut self, id: &str, make: &str, note: impl FnOnce(&mut History)) -> Self {
        let mut history = History::begin(&id.parse().expect("a container name"), spec(1, make).fingerprint);
        note(&mut history);
        self.observed.histories.insert(web(), history);
        self
    }

    /// It ended with `code` at the second `at`, for the `failures`th time in a row.
    fn ended(self, id: &str, make: &str, code: i32, failures: u32, at: u64) -> Self {
        self.history(id, make, |history| {
            history.failures = failures - 1;
            history.note_exit(exit(code, at), second(at), false);
        })
    }
}

fn exit(code: i32, at: u64) -> Exit {
    Exit { code: Some(code), signal: None, oom_killed: false, memory_limit: None, at: wall(at) }
}

/// Plans and compares with `expect`, in the notation of the header.
fn check(world: World, expect: &str) {
    assert_eq!(show(&plan(&world.desired, &world.ahead, &world.observed, now())), expect);
}

fn show(plan: &Plan) -> String {
    let actions: Vec<String> = plan.actions.iter().map(show_action).collect();
    let reasons: Vec<String> = plan.reasons.values().map(show_reason).collect();
    let mut sections = vec![if actions.is_empty() { "nothing".to_owned() } else { actions.join("; ") }];
    if !reasons.is_empty() {
        sections.push(reasons.join("; "));
    }
    if let Some(at) = plan.wake_at {
        sections.push(format!("wake {}", at.0.as_secs_f64()));
    }
    sections.join(" | ")
}

fn show_action(action: &Action) -> String {
    match action {
        Action::Pull(image) => format!("pull {}", image.reference.repository()),
        Action::Start { container, .. } => format!("start {container}"),
        Action::Stop { container, kill_at, is_ill: false } => format!("stop {container} by {}", kill_at.0.as_secs_f64()),
        Action::Stop { container, kill_at, is_ill: true } => {
            format!("stop {container}, which is ill, by {}", kill_at.0.as_secs_f64())
        }
        Action::Kill { container } => format!("kill {container}"),
        Action::Remove { container } => format!("remove {container}"),
    }
}

fn show_reason(reason: &Reason) -> String {
    match reason.due() {
        Some(due) => format!("{reason} @{}", due.as_duration().as_secs_f64()),
        None => reason.to_string(),
    }
}

#[test]
fn an_empty_host_has_nothing_to_do() {
    check(world(), "nothing");
}

#[test]
fn what_runs_as_desired_is_left_alone() {
    check(world().want(spec(1, "a")).present("a").container("web.0-r1-1", "a", running()), "nothing");
}

#[test]
fn a_restarted_agent_needs_no_history_to_leave_a_container_alone() {
    // Nor its image: a running container of the desired make is kept whatever became of its image, which is fetched again.
    check(world().want(spec(1, "a")).container("web.0-r1-1", "a", running()), "pull a");
}

#[test]
fn instances_are_planned_apart_and_share_a_pull() {
    let mut world = world().want(spec(1, "a"));
    let other = InstanceId { workload: "api".parse().expect("a workload name"), index: 0 };
    let wanted = Wanted { target: Target::Run(Arc::new(spec(4, "a+x"))), previous: None };
    world.desired.insert(other, wanted);
    check(world, "pull a | pulling the image; pulling the image");
}
