//! The packet filter's table: when it is written, and that nobody else's is touched.

use super::*;

#[test]
fn a_host_without_such_containers_is_left_as_it_is() {
    let host = Host::new();
    host.apply(&wanted(&["web"], &[]));
    assert_eq!(run("nft list ruleset"), "");
    assert!(!run("ip -o link").contains("coord0"));
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a parameter"), "0\n");
}

#[test]
fn a_table_that_was_flushed_or_deleted_comes_back() {
    let host = Host::new();
    let (web, _) = host.container("web");
    serve(&web, "0.0.0.0:80", "web");
    run("nft add table inet theirs");
    let wanted = wanted(&["web"], &["tcp 80 web 80"]);
    host.apply(&wanted);
    let good = run("nft list ruleset");
    assert_eq!(host.outside.inside(|| ask("192.0.2.1:80")), "web 192.0.2.2");
    for damage in
        ["nft flush table ip coord", "nft delete table ip coord", "nft flush map ip coord everywhere", "nft flush ruleset"]
    {
        run(damage);
        assert_ne!(host.outside.inside(|| knock("192.0.2.1:80")), "web 192.0.2.2", "{damage}");
        host.apply(&wanted);
        assert_eq!(host.outside.inside(|| ask("192.0.2.1:80")), "web 192.0.2.2", "{damage}");
        if damage != "nft flush ruleset" {
            assert_eq!(run("nft list ruleset").len(), good.len(), "{damage}");
        }
    }
}

#[test]
fn rules_that_are_as_they_should_be_are_not_written_again() {
    let host = Host::new();
    let (_web, _) = host.container("web");
    let wanted = wanted(&["web"], &["tcp 80 web 80"]);
    host.apply(&wanted);
    let generation = nft::generation();
    host.apply(&wanted);
    assert_eq!(nft::generation(), generation);
    run("nft add table inet theirs");
    host.apply(&wanted);
    assert_ne!(nft::generation(), generation);
}

#[test]
fn doors_are_told_by_address_and_family() {
    let target =
        |ipv6: bool| nft::Target { ipv4: Ipv4Addr::new(10, 207, 0, 2), ipv6: ipv6.then_some(Ipv6Addr::LOCALHOST), port: 80 };
    let check = |ip: Option<&str>, ipv6: bool, expect: &[&str]| {
        let door = HostPort { ip: ip.map(|ip| ip.parse().expect("an address")), port: 8080, protocol: Protocol::Tcp };
        let rules = nft::rules(&Settings::default(), &BTreeMap::from([(door, target(ipv6))]));
        let said: Vec<&str> =
            rules.lines().filter_map(|line| line.trim().strip_prefix("elements = { ")?.strip_suffix(" }")).collect();
        assert_eq!(said, expect);
    };
    check(None, true, &["tcp . 8080 : 10.207.0.2 . 80", "tcp . 8080 : ::1 . 80"]);
    check(None, false, &["tcp . 8080 : 10.207.0.2 . 80"]);
    check(Some("0.0.0.0"), true, &["tcp . 8080 : 10.207.0.2 . 80"]);
    check(Some("::"), true, &["tcp . 8080 : ::1 . 80"]);
    check(Some("127.0.0.1"), true, &["127.0.0.1 . tcp . 8080 : 10.207.0.2 . 80"]);
    check(Some("2001:db8::1"), true, &["2001:db8::1 . tcp . 8080 : ::1 . 80"]);
}
