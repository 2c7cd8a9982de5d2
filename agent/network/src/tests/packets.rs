//! Who reaches whom, and by which address.

use super::*;

#[test]
fn containers_talk_to_each_other_and_get_out() {
    let host = Host::new();
    let (a, _) = host.container("a");
    let (b, lease) = host.container("b");
    serve(&b, "[::]:80", "b");
    serve(&host.outside, "[::]:80", "outside");
    let (b4, b6) = (lease.ipv4, lease.ipv6.expect("IPv6"));
    assert_eq!(a.inside(|| ask(&format!("{b4}:80"))), format!("b ::ffff:{}", host.network.leased("a").expect("a lease").ipv4));
    assert!(a.inside(|| ask(&format!("[{b6}]:80"))).starts_with("b fd63:"));
    // Outside, the containers are their host.
    assert_eq!(a.inside(|| ask("192.0.2.2:80")), format!("outside ::ffff:{HOST}"));
    assert_eq!(a.inside(|| ask("[2001:db8::2]:80")), format!("outside {HOST6}"));
    // The host is reached by its gateway's address.
    assert_eq!(ask(&format!("{b4}:80")), format!("b ::ffff:{}", lease.gateway));
}

#[test]
fn a_published_port_shows_who_asks() {
    let host = Host::new();
    let (web, _) = host.container("web");
    let (other, _) = host.container("other");
    serve(&web, "[::]:8080", "web");
    host.apply(&wanted(&["web", "other"], &["tcp 80 web 8080", "tcp 192.0.2.1 81 web 8080", "tcp 127.0.0.1 82 web 8080"]));
    let gateway = host.network.leased("web").expect("a lease").gateway;
    host.outside.inside(|| {
        assert_eq!(ask("192.0.2.1:80"), format!("web ::ffff:{OUTSIDE}"));
        assert_eq!(ask("[2001:db8::1]:80"), "web 2001:db8::2");
        assert_eq!(ask("192.0.2.1:81"), format!("web ::ffff:{OUTSIDE}"));
        assert_eq!(ask("192.0.2.1:82"), "connection refused");
    });
    // From the host itself, at each of its addresses.
    assert_eq!(ask("127.0.0.1:80"), format!("web ::ffff:{gateway}"));
    assert_eq!(ask("127.0.0.1:82"), format!("web ::ffff:{gateway}"));
    assert_eq!(ask("192.0.2.1:80"), "web ::ffff:192.0.2.1");
    assert!(ask("[2001:db8::1]:80").starts_with("web "));
    assert_eq!(ask("127.0.0.1:81"), "connection refused");
    // From another container and from itself, through the host's door.
    for from in [&other, &web] {
        from.inside(|| {
            assert_eq!(ask("192.0.2.1:80"), format!("web ::ffff:{gateway}"));
            assert_eq!(ask(&format!("{gateway}:80")), format!("web ::ffff:{gateway}"));
            assert!(ask("[2001:db8::1]:80").starts_with("web "));
        });
    }
}

#[test]
fn udp_doors_follow_their_target_at_once() {
    let host = Host::new();
    let (old, _) = host.container("old");
    let (new, _) = host.container("new");
    for (place, name) in [(&old, "old"), (&new, "new")] {
        serve_udp(place, "0.0.0.0:53", name);
    }
    let client = host.outside.inside(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
    host.apply(&wanted(&["old", "new"], &["udp 53 old 53"]));
    assert_eq!(ask_udp(&client, "192.0.2.1:53"), format!("old {OUTSIDE}"));
    // The same client, which never pauses, is served by the new one.
    host.apply(&wanted(&["old", "new"], &["udp 53 new 53"]));
    assert_eq!(ask_udp(&client, "192.0.2.1:53"), format!("new {OUTSIDE}"));
    let own = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    assert!(ask_udp(&own, "127.0.0.1:53").starts_with("new "));
}

#[test]
fn connections_outlive_the_move_of_their_door() {
    use std::io::{Read as _, Write as _};
    let host = Host::new();
    let (old, _) = host.container("old");
    let (new, _) = host.container("new");
    serve(&new, "0.0.0.0:80", "new");
    let listener = old.inside(|| TcpListener::bind("0.0.0.0:80").expect("a socket"));
    host.apply(&wanted(&["old", "new"], &["tcp 80 old 80"]));
    let mut client = host.outside.inside(|| TcpStream::connect("192.0.2.1:80").expect("connected"));
    let (mut served, _) = listener.accept().expect("a connection");
    host.apply(&wanted(&["old", "new"], &["tcp 80 new 80"]));
    for _ in 0..10 {
        client.write_all(b"x").expect("sent");
        let mut byte = [0];
        served.read_exact(&mut byte).expect("arrived");
        host.apply(&wanted(&["old", "new"], &["tcp 80 new 80", "tcp 81 old 80"]));
        host.apply(&wanted(&["old", "new"], &["tcp 80 new 80"]));
    }
    assert_eq!(host.outside.inside(|| ask("192.0.2.1:80")), format!("new {OUTSIDE}"));
}

#[test]
fn nothing_is_reached_but_by_a_door() {
    let host = Host::new();
    let (web, lease) = host.container("web");
    serve(&web, "0.0.0.0:80", "web");
    let own = TcpListener::bind("127.0.0.1:9").expect("a socket of the host's own");
    host.apply(&wanted(&["web"], &["tcp 127.0.0.1 82 web 80"]));
    // A neighbour that knows the way, and one that claims that the host's 127.0.0.1 is out there.
    host.outside.inside(|| {
        run("ip route add 10.207.0.0/16 via 192.0.2.1");
        assert_eq!(knock(&format!("{}:80", lease.ipv4)), "timed out");
    });
    for neighbour in [&host.outside, &web] {
        neighbour.inside(|| {
            let link = if neighbour.0.as_fd().try_clone_to_owned().is_ok() && run("ip -o link").contains("far") {
                "far"
            } else {
                "eth0"
            };
            let router = if link == "far" { HOST.to_owned() } else { lease.gateway.to_string() };
            run("ip addr del 127.0.0.1/8 dev lo");
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{link}/route_localnet"), "1").expect("a kernel parameter");
            run(&format!("ip route add 127.0.0.0/8 via {router} dev {link}"));
            assert_eq!(knock("127.0.0.1:82"), "timed out");
            assert_eq!(knock("127.0.0.1:9"), "timed out");
        });
    }
    drop(own);
}
