//! Published ports: whoever wants one that somebody else has waits, and nothing is stopped for it.

use super::*;
use crate::decide::health::Health;
use crate::document::Protocol;

fn mapping(host_port: u16) -> PortMapping {
    PortMapping { host_ip: None, host_port, container_port: 80, protocol: Protocol::Tcp }
}

pub(super) fn publishing(host_port: u16, mut spec: Spec) -> Spec {
    spec.document.container.ports = vec![mapping(host_port)];
    spec.fingerprint = spec.document.fingerprint(&spec.image.digest);
    spec
}

fn door(port: u16) -> Door {
    Door { ip: None, port, protocol: Protocol::Tcp }
}

impl World {
    fn listens(mut self, port: u16, listener: Listener) -> Self {
        self.observed.listeners.insert(door(port), listener);
        self
    }

    /// A container of what `spec` says.
    pub(super) fn lives(mut self, id: &str, spec: &Spec, phase: Phase) -> Self {
        self = self.container(id, "a", phase);
        let container = self.observed.containers.get_mut(&id.parse().expect("a container")).expect("it was added");
        container.fingerprint = spec.fingerprint.clone();
        container.ports = spec.document.container.ports.clone();
        self
    }

    fn want_other(mut self, instance: &str, spec: Spec) -> Self {
        let wanted = Wanted { target: Target::Run(Arc::new(spec)), previous: None };
        self.desired.insert(instance.parse().expect("an instance"), wanted);
        self
    }
}

fn nginx() -> Listener {
    Listener::Program("nginx (pid 7)".to_owned())
}

#[test]
fn a_port_that_a_program_has_is_a_reason_before_anything_is_stopped() {
    let taken = "port 80/tcp of the host is taken by program nginx (pid 7); stop that, or publish another port";
    let new = || publishing(80, spec(2, "a"));
    check(world().want(new()).present("a").listens(80, nginx()), &format!("nothing | {taken} | wake 102"));
    let old = publishing(81, spec(1, "a"));
    for new in [new(), start_first(new())] {
        let world = world().want(new).present("a").listens(80, nginx()).lives("web.0-r1-1", &old, running());
        check(world, &format!("nothing | {taken} | wake 102"));
    }
    check(world().want(new()).present("a").listens(81, nginx()), "start web.0-r2-1 | starting");
}

#[test]
fn what_runs_keeps_its_port_whoever_listens() {
    let spec = publishing(80, spec(1, "a"));
    check(world().want(spec.clone()).present("a").lives("web.0-r1-1", &spec, running()).listens(80, nginx()), "nothing");
}

#[test]
fn of_two_that_want_a_port_only_one_starts() {
    let (api, web) = (publishing(80, spec(1, "a")), publishing(80, spec(1, "a+x")));
    let both = || world().want(web.clone()).want_other("api.0", api.clone()).present("a");
    let by = |who: &str| format!("port 80/tcp of the host is taken by instance {who}; stop that, or publish another port");
    check(both(), &format!("start api.0-r1-1 | starting; {}", by("api.0")));
    check(both().lives("web.0-r1-1", &web, running()), &format!("nothing | {}", by("web.0")));
    check(
        both().lives("api.0-r1-1", &api, stopping(105)),
        &format!("nothing | stopping the previous container @105; {} | wake 105", by("api.0")),
    );
}

#[test]
fn an_instance_is_not_in_its_own_way() {
    let (old, new) = (publishing(80, spec(1, "a")), publishing(80, spec(2, "a+x")));
    let world = || world().want(start_first(new.clone())).present("a").lives("web.0-r1-1", &old, running());
    check(world(), "start web.0-r2-1 | starting");
    // As a program on the host's network, it listens there itself.
    let own = Listener::Container("web.0-r1-1".parse().expect("a container"));
    check(world().listens(80, own), "start web.0-r2-1 | starting");
}

#[test]
fn a_port_moves_when_the_new_one_is_ready() {
    let leads_to = |world: &World| {
        crate::decide::planner::ports::doors(&world.observed, &BTreeMap::new())
            .remove(&door(80))
            .map(|target| target.container.to_string())
    };
    let (old, new) = (publishing(80, spec(1, "a")), publishing(80, spec(2, "a+x")));
    let mut world = world().lives("web.0-r1-1", &old, running()).lives("web.0-r2-1", &new, starting());
    assert_eq!(leads_to(&world).as_deref(), Some("web.0-r1-1"));
    let id: ContainerId = "web.0-r2-1".parse().expect("a container");
    let container = world.observed.containers.get_mut(&id).expect("it lives");
    container.phase = running();
    container.health = Some(Health::starting(second(50)));
    assert_eq!(leads_to(&world).as_deref(), Some("web.0-r1-1"), "it has a check, which has not passed yet");
    world.observed.containers.get_mut(&id).expect("it lives").health = None;
    assert_eq!(leads_to(&world).as_deref(), Some("web.0-r2-1"));
    let world = world.lives("web.0-r1-1", &old, exited()).lives("web.0-r2-1", &new, exited());
    assert_eq!(leads_to(&world), None);
}
