//! The texts of `/etc/hosts` and `/etc/resolv.conf`, as Docker's users know them. Pure.
//!
//! A name server on the host's loopback interface is not there for a container with a network of its own: then those that the host's
//! resolver itself asks are named. Where none is known, the file names none: a name server that the operator never chose would be told
//! every name that is looked up.

use coord_network::Lease;
use coord_shared::document::{Container, Dns, HostAddress, Network};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved names the servers that it asks (systemd-resolved.service(8)).
pub(super) const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

const LOCAL_NAMES: &str = "127.0.0.1\tlocalhost\n\
                           ::1\tlocalhost ip6-localhost ip6-loopback\n\
                           fe00::\tip6-localnet\n\
                           ff00::\tip6-mcastprefix\n\
                           ff02::1\tip6-allnodes\n\
                           ff02::2\tip6-allrouters\n";

/// The text of `/etc/hosts`. `of_host` is the host's own.
pub(super) fn hosts(asked: &Container, hostname: &str, lease: Option<&Lease>, of_host: &str) -> String {
    let mut text = match asked.network {
        Network::Host if !of_host.is_empty() => with_newline(of_host),
        Network::Host | Network::Bridge | Network::None => LOCAL_NAMES.to_owned(),
    };
    for (name, addresses) in &asked.extra_hosts {
        for address in addresses {
            let address = match address {
                HostAddress::Ip(address) => *address,
                HostAddress::HostGateway => lease.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |lease| lease.gateway.into()),
            };
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    let is_known = text.lines().any(|line| line.split_whitespace().skip(1).any(|name| name == hostname));
    let own = match lease {
        Some(lease) => vec![Some(IpAddr::from(lease.ipv4)), lease.ipv6.map(IpAddr::from)],
        // As Debian does for a host without an address of its own.
        None if !is_known => vec![Some(IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1)))],
        None => Vec::new(),
    };
    for address in own.into_iter().flatten() {
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    text
}

/// The text of `/etc/resolv.conf` of a container that has no part in the host's loopback interface; `of_host` is the host's own. What
/// the document says takes the place of what the host says, kind by kind. `of_resolver` gives the text that names the servers which the
/// host's own resolver asks.
pub(super) fn resolv_conf(dns: &Dns, of_host: &str, of_resolver: impl FnOnce() -> String) -> String {
    let reachable = |text: &str| -> Vec<String> { servers(text).into_iter().filter(|server| is_reachable(server)).collect() };
    let mut known = reachable(of_host);
    if known.is_empty() && dns.servers.is_empty() {
        known = reachable(&of_resolver());
    }
    let text = write(dns, of_host, &known);
    if known.is_empty() && dns.servers.is_empty() {
        tracing::warn!("the host's name servers are on its loopback interface, where containers cannot ask them; set dns");
        return format!("# The host's name servers listen on its loopback interface only; set dns in the document.\n{text}");
    }
    text
}

fn write(dns: &Dns, of_host: &str, servers: &[String]) -> String {
    let mut text = String::new();
    let own: Vec<String> = dns.servers.iter().map(IpAddr::to_string).collect();
    for server in if own.is_empty() { servers } else { &own } {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (key, own) in [("search", &dns.search), ("options", &dns.options)] {
        let value = if own.is_empty() { last(of_host, key) } else { own.join(" ") };
        // Docker's way to say "none at all".
        if !value.is_empty() && value != "." {
            let _ = writeln!(text, "{key} {value}");
        }
    }
    text
}

/// In resolv.conf(5) the last line of a kind counts, and `domain` is an older name for a `search` of one.
fn last(text: &str, key: &str) -> String {
    let is_key = |word: &str| word == key || (key == "search" && word == "domain");
    let mut lines = text.lines().rev().filter_map(|line| line.trim().split_once(char::is_whitespace));
    lines.find(|(word, _)| is_key(word)).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn servers(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    lines.filter(|(word, _)| *word == "nameserver").map(|(_, value)| value.trim().to_owned()).collect()
}

/// One with a zone is the neighbour of the host's link.
fn is_reachable(server: &str) -> bool {
    server.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback())
}

fn with_newline(text: &str) -> String {
    if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn lease() -> Lease {
        Lease {
            container: "web.0-r1-1".to_owned(),
            ipv4: [10, 207, 0, 2].into(),
            ipv6: Some(Ipv6Addr::new(0xfd63, 0, 0, 0, 0, 0, 0, 2)),
            gateway: [10, 207, 0, 1].into(),
            gateway6: None,
        }
    }

    #[test]
    fn hosts_as_dockers_users_expect() {
        let check = |network: Network, lease: Option<Lease>, of_host: &str, expect: &str| {
            let asked = Container {
                network,
                extra_hosts: [
                    ("db".to_owned(), vec![HostAddress::Ip([192, 0, 2, 7].into())]),
                    ("host.docker.internal".to_owned(), vec![HostAddress::HostGateway]),
                ]
                .into(),
                ..Container::default()
            };
            assert_eq!(hosts(&asked, "web-0", lease.as_ref(), of_host), expect.replace("LOCAL\n", LOCAL_NAMES));
        };
        check(
            Network::Bridge,
            Some(lease()),
            "192.0.2.1 host\n",
            "LOCAL\n192.0.2.7\tdb\n10.207.0.1\thost.docker.internal\n10.207.0.2\tweb-0\nfd63::2\tweb-0\n",
        );
        check(Network::None, None, "", "LOCAL\n192.0.2.7\tdb\n127.0.0.1\thost.docker.internal\n127.0.1.1\tweb-0\n");
        check(
            Network::Host,
            None,
            "127.0.0.1 localhost\n192.0.2.1 web-0",
            "127.0.0.1 localhost\n192.0.2.1 web-0\n192.0.2.7\tdb\n127.0.0.1\thost.docker.internal\n",
        );
    }

    #[test]
    fn name_servers_that_a_container_can_ask() {
        let stub = "# stub\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n";
        let check = |dns: &Dns, of_host: &str, of_resolver: &str, expect: &str| {
            assert_eq!(resolv_conf(dns, of_host, || of_resolver.to_owned()), expect);
        };
        let none = Dns::default();
        check(&none, "nameserver 192.0.2.53\ndomain a\nsearch b c\n", "", "nameserver 192.0.2.53\nsearch b c\n");
        check(&none, stub, "nameserver 192.0.2.53\n", "nameserver 192.0.2.53\nsearch lan\noptions edns0 trust-ad\n");
        check(
            &none,
            "nameserver ::1\nnameserver fe80::1%eth0\n",
            "",
            "# The host's name servers listen on its loopback interface only; set dns in the document.\n",
        );
        let own = Dns { servers: vec![[9, 9, 9, 9].into()], search: vec![".".to_owned()], options: vec!["ndots:1".to_owned()] };
        check(&own, stub, "", "nameserver 9.9.9.9\noptions ndots:1\n");
    }
}
