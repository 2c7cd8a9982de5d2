//! Links, leases, and what is left of them.

use super::*;

fn ours() -> Vec<String> {
    let links = run("ip -o link");
    links
        .lines()
        .filter_map(|line| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned()))
        .filter(|n| n.starts_with("cv"))
        .collect()
}

#[test]
fn a_container_gets_links_addresses_and_routes() {
    let host = Host::new();
    run("ip link set out mtu 1400");
    let (a, lease) = host.container("a");
    a.inside(|| {
        let addresses = run("ip -o addr show eth0");
        for part in [format!("inet {}/16", lease.ipv4), format!("inet6 {}/64", lease.ipv6.expect("IPv6"))] {
            assert!(addresses.contains(&part), "{addresses}");
        }
        assert!(!run("ip -o addr show eth0 scope global").contains("tentative"));
        assert!(run("ip route").starts_with(&format!("default via {} dev eth0", lease.gateway)));
        assert!(run("ip -6 route").contains("default via fd63:6f6f:7264::1 dev eth0"));
        assert!(run("ip link show eth0").contains("mtu 1400"));
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/accept_ra").expect("a parameter"), "0\n");
    });
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a parameter"), "1\n");
    assert_eq!(host.network.leased("a"), Some(lease));
    host.release("a");
    host.release("a");
    assert!(ours().is_empty() && host.network.leased("a").is_none());
}

#[test]
fn a_namespace_of_another_user_namespace_is_attached() {
    let host = Host::new();
    let namespace = std::thread::spawn(|| {
        let mut child = Command::new("unshare").args(["-U", "-r", "-n", "sleep", "20"]).spawn().expect("unshare");
        let path = format!("/proc/{}/ns/net", child.id());
        let own = std::fs::read_link("/proc/thread-self/ns/net").expect("a link");
        let in_time = (0..10_000).find(|_| {
            std::thread::sleep(Duration::from_millis(1));
            std::fs::read_link(&path).is_ok_and(|its| its != own)
        });
        in_time.expect("it has left our namespace");
        let namespace = std::fs::File::open(path).expect("its namespace");
        child.kill().and_then(|()| child.wait()).expect("ended");
        Namespace(namespace.into())
    });
    let namespace = namespace.join().expect("a namespace");
    let lease = host.network.lease("a").expect("a lease");
    host.attach(&lease, &namespace).expect("attached");
    namespace.inside(|| assert!(run("ip -o addr show eth0").contains(&lease.ipv4.to_string())));
}

#[test]
fn what_nobody_wants_goes_and_what_is_wanted_comes_back() {
    let mut host = Host::new();
    let (_a, a) = host.container("a");
    let (_b, b) = host.container("b");
    host.apply(&wanted(&[], &[]));
    assert_eq!(ours().len(), 2, "nobody has had the time to want them");
    // Its agent was killed after the link was made, and the next one does not want it.
    host.reopen();
    host.apply(&wanted(&["a"], &[]));
    assert_eq!(ours(), [a.link()]);
    assert!(host.network.leased("b").is_none());
    // Killed between the book and the link: a lease without link, and a link without lease.
    std::fs::write(host.folder.path().join("leases.json"), r#"{"last": 9, "leases": {}}"#).expect("written");
    host.reopen();
    host.apply(&wanted(&["a"], &[]));
    assert!(ours().is_empty());
    let (c, lease) = host.container("c");
    assert_ne!(lease.ipv4, b.ipv4);
    serve(&c, "0.0.0.0:80", "c");
    // Somebody deletes the bridge.
    run("ip link del coord0");
    host.apply(&wanted(&["c"], &["tcp 80 c 80"]));
    assert_eq!(host.outside.inside(|| ask("192.0.2.1:80")), "c 192.0.2.2");
}

#[test]
fn what_others_take_from_the_bridge_is_given_back() {
    let host = Host::new();
    let (a, lease) = host.container("a");
    host.apply(&wanted(&["a"], &[]));
    run("ip addr flush dev coord0");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("a kernel parameter");
    run("ip link set coord0 down");
    host.apply(&wanted(&["a"], &[]));
    serve(&host.outside, "0.0.0.0:80", "outside");
    assert_eq!(a.inside(|| ask("192.0.2.2:80")), "outside 192.0.2.1");
    assert!(run("ip -o addr show coord0").contains(&lease.gateway.to_string()));
}

#[test]
fn an_attempt_that_was_interrupted_is_repeated() {
    let host = Host::new();
    let lease = host.network.lease("a").expect("a lease");
    for _ in 0..2 {
        let namespace = Namespace::new();
        host.attach(&lease, &namespace).expect("attached");
        namespace.inside(|| assert!(run("ip -o addr show eth0").contains(&lease.ipv4.to_string())));
    }
}

#[test]
fn a_pool_that_is_full_or_taken_is_said_in_words() {
    let small = Settings { pool: (Ipv4Addr::new(10, 9, 8, 0), 29), ..Settings::default() };
    let host = Host::with(small);
    for name in ["a", "b", "c", "d", "e"] {
        host.network.lease(name).expect("a lease");
    }
    let error = host.network.lease("f").expect_err("none is left").to_string();
    assert_eq!(error, "no address is free in network.pool 10.9.8.0/29: 5 are in use; choose a larger pool in agent.toml");
    run("ip route add 10.9.0.0/16 dev out");
    let namespace = Namespace::new();
    let lease = host.network.lease("a").expect("a lease");
    let error = host.attach(&lease, &namespace).expect_err("taken").to_string();
    assert_eq!(
        error,
        "network.pool = \"10.9.8.0/29\" overlaps the host's route to 10.9.0.0/16 on out; choose another pool in agent.toml"
    );
    run("ip route del 10.9.0.0/16 dev out");
    run("ip route add 10.0.0.0/8 via 192.0.2.2");
    host.attach(&lease, &namespace).expect("a wide route to a router is no obstacle");
}

#[test]
fn two_hundred_containers() {
    let host = Host::new();
    host.container("first");
    let containers: Vec<(Namespace, Lease)> = (0..200).map(|n| host.container(&format!("c{n}"))).collect();
    let names: Vec<String> = (0..200).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    host.apply(&wanted(&names, &["tcp 80 c7 80"]));
    serve(&containers[7].0, "0.0.0.0:80", "c7");
    assert_eq!(host.outside.inside(|| ask("192.0.2.1:80")), "c7 192.0.2.2");
    assert_eq!(ours().len(), 200);
}

#[test]
fn nothing_is_left_of_it_in_the_end() {
    let host = Host::new();
    let _containers = [host.container("a"), host.container("b")];
    host.apply(&wanted(&["a", "b"], &["tcp 80 a 80"]));
    host.runtime.block_on(host.network.remove_all()).expect("removed");
    assert!(ours().is_empty() && !run("ip -o link").contains("coord0"));
    assert_eq!(run("nft list ruleset"), "");
}
