//! Doors, example by example, and by chance: sequences of everything that can happen to containers.

use super::*;

fn mapping(text: &str) -> PortMapping {
    let (host, container) = text.rsplit_once(':').expect("HOST:CONTAINER");
    let (ip, port) = host.rsplit_once('@').map_or((None, host), |(ip, port)| (Some(ip.parse().expect("an address")), port));
    let number = |text: &str| text.parse().expect("a port");
    PortMapping { host_ip: ip, host_port: number(port), container_port: number(container), protocol: Protocol::Tcp }
}

fn door(text: &str) -> Door {
    Door::of(&mapping(&format!("{text}:1")))
}

fn id(text: &str) -> ContainerId {
    text.parse().expect("a container")
}

#[test]
fn doors_overlap_where_one_packet_knocks_at_both() {
    let check = |a: &str, b: &str, expect: bool| {
        assert_eq!(door(a).overlaps(&door(b)), expect, "{a} {b}");
        assert_eq!(door(b).overlaps(&door(a)), expect, "{b} {a}");
    };
    check("80", "80", true);
    check("80", "81", false);
    check("80", "127.0.0.1@80", true);
    check("127.0.0.1@80", "192.0.2.1@80", false);
    check("0.0.0.0@80", "192.0.2.1@80", true);
    check("0.0.0.0@80", "::1@80", false);
    check("::@80", "::1@80", true);
    let udp = Door { protocol: Protocol::Udp, ..door("80") };
    assert!(!udp.overlaps(&door("80")));
}

#[test]
fn a_door_leads_to_the_newest_that_is_ready() {
    use Standing::{Ready, Running, Stopping};
    let check = |residents: &[(&str, Standing)], expect: Option<&str>| {
        let ports = [mapping("80:8080")];
        let ids: Vec<ContainerId> = residents.iter().map(|(container, _)| id(container)).collect();
        let of = |(container, (_, standing)): (_, &(&str, Standing))| Resident { container, standing: *standing, ports: &ports };
        let doors = doors(ids.iter().zip(residents).map(of));
        let target = doors.get(&door("80")).map(|target| (target.container.to_string(), target.port));
        assert_eq!(target, expect.map(|container| (container.to_owned(), 8080)));
    };
    check(&[], None);
    check(&[("web.0-r1-1", Ready)], Some("web.0-r1-1"));
    check(&[("web.0-r1-1", Ready), ("web.0-r2-1", Running)], Some("web.0-r1-1"));
    check(&[("web.0-r1-1", Ready), ("web.0-r2-1", Ready)], Some("web.0-r2-1"));
    check(&[("web.0-r2-9", Ready), ("web.0-r2-10", Ready)], Some("web.0-r2-10"));
    check(&[("web.0-r1-1", Stopping), ("web.0-r2-1", Running)], Some("web.0-r2-1"));
    check(&[("web.0-r1-1", Stopping)], Some("web.0-r1-1"));
    check(&[("web.0-r1-1", Ready), ("web.0-r2-1", Stopping)], Some("web.0-r1-1"));
    check(&[("web.0-r1-1", Stopping), ("api.0-r1-1", Ready)], Some("api.0-r1-1"));
    check(&[("web.0-r1-1", Ready), ("api.0-r1-1", Ready)], Some("api.0-r1-1"));
}

#[test]
fn whoever_is_in_the_way_is_named() {
    let check = |wanted: &[&str], others: &[(&str, &str)], listeners: &[(&str, Listener)], expect: Option<&str>| {
        let wanted: Vec<PortMapping> = wanted.iter().map(|text| mapping(text)).collect();
        let others: Vec<(InstanceId, Vec<PortMapping>)> =
            others.iter().map(|(other, ports)| (other.parse().expect("an instance"), vec![mapping(ports)])).collect();
        let listeners = listeners.iter().map(|(at, who)| (door(at), who.clone())).collect();
        let instance = "web.0".parse().expect("an instance");
        let taken = taken(&instance, &wanted, others.iter().map(|(other, ports)| (other, ports.as_slice())), &listeners);
        assert_eq!(taken.map(|taken| format!("{} by {}", taken.door.port, taken.by)).as_deref(), expect);
    };
    let nginx = || Listener::Program("nginx (pid 7)".to_owned());
    check(&["80:80"], &[("web.0", "80:80"), ("api.0", "81:80")], &[("443", nginx())], None);
    check(&["80:80"], &[("api.0", "80:1")], &[], Some("80 by instance api.0"));
    check(&["79:80", "80:80"], &[], &[("127.0.0.1@80", nginx())], Some("80 by program nginx (pid 7)"));
    check(&["192.0.2.1@80:80"], &[], &[("127.0.0.1@80", nginx())], None);
    check(&["80:80"], &[], &[("80", Listener::Container(id("web.0-r1-1")))], None);
    check(&["80:80"], &[], &[("80", Listener::Container(id("api.0-r1-1")))], Some("80 by instance api.0"));
}

/// A container as the game knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Life {
    Starting,
    Running,
    Ready,
    Stopping,
    Dead,
}

/// A small generator (xorshift64), so that a seed is a reproduction.
fn roll(state: &mut u64, sides: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % sides
}

#[test]
fn no_door_leads_to_the_dead_and_none_is_shut_while_somebody_is_ready() {
    for seed in 1..=300 {
        let mut state = seed;
        let mut lives: BTreeMap<ContainerId, Life> = BTreeMap::new();
        for step in 0..100 {
            let instance = ["web.0", "api.0", "db.0"][usize::try_from(roll(&mut state, 3)).expect("small")];
            if roll(&mut state, 4) == 0 {
                lives.insert(id(&format!("{instance}-r{}-{step}", 1 + step / 10)), Life::Starting);
            }
            let keys: Vec<ContainerId> = lives.keys().cloned().collect();
            if let Some(chosen) = keys.get(usize::try_from(roll(&mut state, 1 + keys.len() as u64)).expect("small")) {
                let next = match (lives[chosen], roll(&mut state, 3)) {
                    (Life::Starting, 0) | (Life::Ready, 1) => Life::Running,
                    (Life::Running, 0 | 1) => Life::Ready,
                    (Life::Running | Life::Ready, 2) => Life::Stopping,
                    (life @ Life::Stopping, 0) => life,
                    (Life::Starting | Life::Stopping | Life::Dead | Life::Ready, _) | (Life::Running, _) => Life::Dead,
                };
                lives.insert(chosen.clone(), next);
            }
            hold(&lives, seed);
        }
    }
}

/// Each instance has a door of its own.
fn hold(lives: &BTreeMap<ContainerId, Life>, seed: u64) {
    let port = |container: &ContainerId| match container.instance.workload.as_str() {
        "web" => [mapping("80:1")],
        "api" => [mapping("81:1")],
        _ => [mapping("82:1")],
    };
    let ports: BTreeMap<&ContainerId, [PortMapping; 1]> = lives.keys().map(|container| (container, port(container))).collect();
    let residents = lives.iter().filter_map(|(container, life)| {
        let standing = match life {
            Life::Running => Standing::Running,
            Life::Ready => Standing::Ready,
            Life::Stopping => Standing::Stopping,
            Life::Starting | Life::Dead => return None,
        };
        Some(Resident { container, standing, ports: &ports[container] })
    });
    let doors = doors(residents);
    for target in doors.values() {
        assert!(!matches!(lives[&target.container], Life::Starting | Life::Dead), "seed {seed}: {target:?}");
    }
    for (container, _) in lives.iter().filter(|(_, life)| **life == Life::Ready) {
        let target = doors.get(&Door::of(&ports[container][0])).map(|target| &target.container);
        let target = target.unwrap_or_else(|| panic!("seed {seed}: the door of {container} is shut"));
        assert_eq!(target.instance, container.instance, "seed {seed}");
        assert_eq!(lives[target], Life::Ready, "seed {seed}: {target} is chosen beside {container}, which is ready");
    }
}
