//! Where programs of the host listen, and who they are: `/proc/thread-self/net` and `/proc/PID` (proc(5)).
//!
//! A TCP socket that listens counts, and a UDP socket that takes packets from everybody.

use crate::{HostPort, Protocol};
use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// `TCP_LISTEN`, and `TCP_CLOSE`, which is what an unconnected UDP socket is in (include/net/tcp_states.h).
const LISTENS: &str = "0A";
const UNCONNECTED: &str = "07";
const TABLES: [(&str, Protocol, &str); 4] = [
    ("tcp", Protocol::Tcp, LISTENS),
    ("tcp6", Protocol::Tcp, LISTENS),
    ("udp", Protocol::Udp, UNCONNECTED),
    ("udp6", Protocol::Udp, UNCONNECTED),
];

/// A program that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its process.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
    /// Its parent, its parent's parent, and so on.
    pub ancestors: Vec<u32>,
}

/// See [`crate::Network::listeners`].
pub(crate) fn listeners() -> io::Result<BTreeSet<HostPort>> {
    sockets().map(|sockets| sockets.into_iter().map(|(door, _)| door).collect())
}

/// Who listens at exactly this door; `None` if nobody does any more, or it cannot be told. Looks through all processes: for the moment
/// in which it matters.
pub fn owner(door: HostPort) -> Option<Owner> {
    let inodes: BTreeSet<u64> = sockets().ok()?.into_iter().filter(|(found, _)| *found == door).map(|(_, inode)| inode).collect();
    let processes = std::fs::read_dir("/proc").ok()?;
    let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| !inodes.is_empty() && holds(*pid, &inodes))?;
    let (name, _) = stat(pid)?;
    let ancestors = std::iter::successors(stat(pid), |(_, parent)| stat(*parent)).map(|(_, parent)| parent);
    Some(Owner { pid, name, ancestors: ancestors.take_while(|parent| *parent > 1).collect() })
}

fn sockets() -> io::Result<Vec<(HostPort, u64)>> {
    let mut found = Vec::new();
    for (table, protocol, state) in TABLES {
        let file = match std::fs::File::open(Path::new("/proc/thread-self/net").join(table)) {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        for line in BufReader::new(file).lines().skip(1) {
            found.extend(socket(&line?, protocol, state));
        }
    }
    Ok(found)
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...`
fn socket(line: &str, protocol: Protocol, wanted: &str) -> Option<(HostPort, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (local, _remote, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
    if state != wanted {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok().filter(|port| *port != 0)?;
    let ip = Some(address_of(address)?).filter(|ip| *ip != IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    Some((HostPort { ip, port, protocol }, inode))
}

/// Words of 32 bits in the machine's own order, each as eight digits.
pub(crate) fn address_of(digits: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(digits.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match digits.len() {
        8 => word(0).map(Ipv4Addr::from).map(IpAddr::from),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            let address = Ipv6Addr::from(bytes);
            Some(address.to_ipv4_mapped().map_or(IpAddr::from(address), IpAddr::from))
        }
        _ => None,
    }
}

fn holds(pid: u32, inodes: &BTreeSet<u64>) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| {
        let target = std::fs::read_link(file.path()).ok();
        let inode =
            target.as_deref().and_then(Path::to_str).and_then(|to| to.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        inode.is_some_and(|inode| inodes.contains(&inode))
    })
}

/// Name and parent of a process. The name is in brackets and may hold anything.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    Some((name.to_owned(), rest.split_ascii_whitespace().nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        let check = |line: &str, protocol, state, expect: Option<(&str, u16)>| {
            let found = socket(line, protocol, state).map(|(door, inode)| {
                assert_eq!(inode, 4711);
                (door.ip.map(|ip| ip.to_string()).unwrap_or_default(), door.port)
            });
            assert_eq!(found.as_ref().map(|(ip, port)| (ip.as_str(), *port)), expect);
        };
        let rest = "00000000:00000000 00:00000000 00000000     0        0 4711 1 0000 100 0 0 10 0";
        check(&format!("0: 0100007F:1F90 00000000:0000 0A {rest}"), Protocol::Tcp, LISTENS, Some(("127.0.0.1", 8080)));
        check(&format!("0: 0100007F:1F90 0200007F:1234 01 {rest}"), Protocol::Tcp, LISTENS, None);
        check(&format!("0: 00000000:0035 00000000:0000 07 {rest}"), Protocol::Udp, UNCONNECTED, Some(("0.0.0.0", 53)));
        let (any, mapped) = ("0".repeat(32), "0000000000000000FFFF00000100007F");
        check(&format!("0: {any}:0050 {any}:0000 0A {rest}"), Protocol::Tcp, LISTENS, Some(("", 80)));
        check(&format!("0: {mapped}:0050 {any}:0000 0A {rest}"), Protocol::Tcp, LISTENS, Some(("127.0.0.1", 80)));
        check("", Protocol::Tcp, LISTENS, None);
    }

    #[test]
    fn whoever_listens_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("its address");
        let door = HostPort { ip: Some(address.ip()), port: address.port(), protocol: Protocol::Tcp };
        assert!(listeners().expect("listeners").contains(&door));
        let found = owner(door).expect("an owner");
        assert_eq!(found.pid, std::process::id());
        assert!(!found.name.is_empty());
        drop(listener);
        assert!(!listeners().expect("listeners").contains(&door));
    }
}
