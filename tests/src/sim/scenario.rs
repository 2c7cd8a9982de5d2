//! What is deployed: documents whose command says how their container behaves, so that a make and its behaviour are one thing.

use super::dice::Dice;
use coord_shared::decide::planner::Spec;
use coord_shared::document::{
    Container, Document, Healthcheck, Hook, Network, Parallelism, PortMapping, Probe, Protocol, Resources, RestartPolicy,
    RestartSettings, Rollout, RolloutOrder,
};
use coord_shared::names::{Digest, HostSelector, ImageReference, Revision, WorkloadName};
use coord_shared::quantity::Span;
use std::collections::BTreeMap;

/// What a container does once it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Serves until it is asked to end.
    Serves,
    /// Serves, and takes long to come up.
    Slow,
    /// Serves, and ignores the request to end.
    Stubborn,
    /// Ends soon, with a failure.
    Crashes,
    /// Ends after a while, with success.
    Works,
    /// Cannot be started at all.
    Missing,
    /// Runs, and its health check fails.
    Ill,
    /// Serves, and its health check fails after a while.
    Ails,
    /// Serves, and its health check says so only after a while.
    Warms,
    /// Serves once its hook is through.
    Prepares,
    /// Its hook fails.
    Unprepared,
}

const BEHAVIOURS: [(Behaviour, &str); 11] = [
    (Behaviour::Serves, "serve"),
    (Behaviour::Slow, "serve-slowly"),
    (Behaviour::Stubborn, "serve-stubbornly"),
    (Behaviour::Crashes, "crash"),
    (Behaviour::Works, "work"),
    (Behaviour::Missing, "no-such-command"),
    (Behaviour::Ill, "serve-badly"),
    (Behaviour::Ails, "serve-for-a-while"),
    (Behaviour::Warms, "serve-when-warm"),
    (Behaviour::Prepares, "serve-when-prepared"),
    (Behaviour::Unprepared, "serve-unprepared"),
];

/// An agent of an older release rejects a document with this label.
const NEW_KEY: &str = "needs-a-newer-agent";
/// No registry can serve an image with this tag.
const BAD_TAG: &str = "bad";
const TAGS: [&str; 6] = ["1", "2", "3", "4", "5", BAD_TAG];

impl Behaviour {
    pub(super) fn of(document: &Document) -> Self {
        let command = document.container.command.as_ref().and_then(|command| command.first());
        BEHAVIOURS.iter().find(|(_, name)| command.is_some_and(|command| command == name)).map_or(Self::Serves, |(one, _)| *one)
    }

    fn command(self) -> Option<Vec<String>> {
        BEHAVIOURS.iter().find(|(one, _)| *one == self).map(|(_, name)| vec![(*name).to_owned()])
    }

    fn healthcheck(self) -> Option<Healthcheck> {
        matches!(self, Self::Ill | Self::Ails | Self::Warms).then(|| Healthcheck {
            probe: Some(Probe::Tcp { port: 80 }),
            interval: Some(Span::seconds(5)),
            start_period: Some(Span::seconds(10)),
            start_interval: Some(Span::seconds(1)),
            retries: Some(2),
            ..Healthcheck::default()
        })
    }

    fn hooks(self) -> Vec<Hook> {
        let hook = Hook { command: vec!["prepare".to_owned()], user: None, working_dir: None, environment: BTreeMap::new() };
        if matches!(self, Self::Prepares | Self::Unprepared) { vec![hook] } else { Vec::new() }
    }

    /// Makes the document's container behave so.
    fn give(self, document: &mut Document) {
        document.container.command = self.command();
        document.healthcheck = self.healthcheck();
        document.post_start = self.hooks();
    }
}

/// Whether an older agent cannot read it.
pub(super) fn needs_a_newer_agent(document: &Document) -> bool {
    document.container.labels.contains_key(NEW_KEY)
}

/// Whether no registry can serve its image.
pub(super) fn is_bad(image: &ImageReference) -> bool {
    image.tag() == Some(BAD_TAG)
}

/// The published form of a document.
pub(super) fn spec(revision: Revision, document: Document) -> Spec {
    let digest = Digest::of(document.image.to_string().as_bytes());
    let fingerprint = document.fingerprint(&digest);
    Spec { revision, image: document.image.clone().pin(digest), document, fingerprint }
}

/// A first document for a workload.
pub(super) fn document(workload: &WorkloadName, dice: &mut Dice) -> Document {
    let container = Container {
        entrypoint: None,
        command: Behaviour::Serves.command(),
        working_dir: None,
        user: None,
        hostname: None,
        environment: BTreeMap::new(),
        labels: BTreeMap::new(),
        network: Network::None,
        read_only: false,
        stop_signal: None,
        resources: Resources::default(),
        ..Container::default()
    };
    let mut document = Document {
        image: image(workload, "1"),
        hosts: selectors(dice),
        container,
        restart: RestartPolicy::Always,
        stop_grace_period: Span::seconds(5),
        restart_policy: RestartSettings::default(),
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
    for _ in 0..dice.below(4) {
        edit(&mut document, workload, dice);
    }
    document
}

/// Changes one thing, as an operator would, mistakes included.
pub(super) fn edit(document: &mut Document, workload: &WorkloadName, dice: &mut Dice) {
    match dice.below(16) {
        0..=2 => document.image = image(workload, TAGS[dice.below(TAGS.len())]),
        3 => {
            document.container.environment.insert("VARIANT".to_owned(), dice.below(3).to_string());
        }
        4..=5 => {
            let behaviours = BEHAVIOURS.map(|(behaviour, _)| behaviour);
            let behaviour = if dice.percent(50) { Behaviour::Serves } else { *dice.pick(&behaviours) };
            behaviour.give(document);
        }
        6 => {
            let policies = [RestartPolicy::No, RestartPolicy::OnFailure(None), RestartPolicy::OnFailure(Some(2))];
            document.restart = if dice.percent(50) { RestartPolicy::Always } else { *dice.pick(&policies) };
        }
        7 => document.hosts = selectors(dice),
        8 => {
            document.rollout.parallelism =
                *dice.pick(&[Parallelism::Count(1), Parallelism::Count(2), Parallelism::Percent(25), Parallelism::Percent(50)]);
        }
        14 => {
            let host_port = workload.as_str().bytes().map(u16::from).sum();
            let mapping = PortMapping { host_ip: None, host_port, container_port: 80, protocol: Protocol::Tcp };
            document.container.ports = if dice.percent(75) { vec![mapping] } else { Vec::new() };
        }
        15 => document.rollout.drain = Span::seconds(*dice.pick(&[0, 1, 2, 10])),
        9 => document.rollout.order = *dice.pick(&[RolloutOrder::StopFirst, RolloutOrder::StartFirst]),
        11 => {
            let max_attempts = *dice.pick(&[None, None, Some(0), Some(3)]);
            let delay = *dice.pick(&[None, Some(Span::seconds(0)), Some(Span::seconds(5))]);
            document.restart_policy =
                RestartSettings { delay, max_attempts, window: *dice.pick(&[None, Some(Span::seconds(1))]) };
        }
        10 => document.stop_grace_period = Span::seconds(*dice.pick(&[0, 1, 5, 20])),
        _ if dice.percent(40) => {
            document.container.labels.insert(NEW_KEY.to_owned(), "yes".to_owned());
        }
        _ => document.container.labels.clear(),
    }
}

/// Whether a fleet without faults brings it to rest.
pub(super) fn comes_to_rest(document: &Document) -> bool {
    let rests = match Behaviour::of(document) {
        Behaviour::Serves | Behaviour::Slow | Behaviour::Stubborn | Behaviour::Warms | Behaviour::Prepares => {
            document.restart == RestartPolicy::Always
        }
        // By any other policy, a job that was killed stays undone.
        Behaviour::Works => document.restart == RestartPolicy::OnFailure(None),
        Behaviour::Crashes | Behaviour::Missing | Behaviour::Ill | Behaviour::Ails | Behaviour::Unprepared => false,
    };
    rests && document.restart_policy.max_attempts.is_none() && !is_bad(&document.image) && !needs_a_newer_agent(document)
}

/// Mends whatever keeps it from coming to rest.
pub(super) fn mend(document: &mut Document, workload: &WorkloadName) {
    if is_bad(&document.image) {
        document.image = image(workload, "2");
    }
    document.container.labels.clear();
    match Behaviour::of(document) {
        Behaviour::Serves | Behaviour::Slow | Behaviour::Stubborn | Behaviour::Warms | Behaviour::Prepares => {}
        Behaviour::Works | Behaviour::Crashes | Behaviour::Missing | Behaviour::Ill | Behaviour::Ails | Behaviour::Unprepared => {
            Behaviour::Serves.give(document)
        }
    }
    document.restart = RestartPolicy::Always;
    document.restart_policy = RestartSettings::default();
}

fn image(workload: &WorkloadName, tag: &str) -> ImageReference {
    // Two workloads share a repository, so that they share pulls.
    let repository = if workload.as_str() == "api" { "web" } else { workload.as_str() };
    format!("registry.lan/{repository}:{tag}").parse().expect("a fixed pattern that is an image reference")
}

fn selectors(dice: &mut Dice) -> Vec<HostSelector> {
    let selector = |text: &str| text.parse::<HostSelector>().expect("a fixed text that is a selector");
    match dice.below(5) {
        0 => vec![selector("role=web")],
        1 => vec![selector("host-0"), selector("role=db")],
        2 => vec![selector("host-?")],
        _ => vec![selector("*")],
    }
}
