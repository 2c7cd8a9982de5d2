//! Who is connected to a container: `/proc/PID/net/tcp` and `tcp6` of its first process (proc(5)), which show its network namespace.
//!
//! The host's connection tracking would know it too, of the whole host at once. Deliberately absent: UDP, which knows no connections.

use crate::listeners::address_of;
use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

/// States in which somebody may still be sent something (include/net/tcp_states.h): `ESTABLISHED`, `SYN_RECV`, `FIN_WAIT1`, `CLOSE_WAIT`,
/// `LAST_ACK`, `CLOSING`. In the others all of it has arrived.
const OPEN: [&str; 6] = ["01", "03", "04", "08", "09", "0B"];
/// `TCP_LISTEN`.
const LISTENS: &str = "0A";
/// Of one table. A line is 150 bytes; a server with more connections than fit here is busy, and need not be counted.
const TABLE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// How many TCP connections to these ports of a container are open, those from within left out. `None` where that cannot be told: the
/// table is too long, or nobody is to be seen who takes connections there, as in a sandbox that has a network of its own.
///
/// # Errors
/// The process is gone, or its table cannot be read.
pub fn connections(pid: u32, ports: &BTreeSet<u16>) -> io::Result<Option<u32>> {
    if ports.is_empty() {
        return Ok(Some(0));
    }
    let (mut open, mut somebody_listens) = (0, false);
    for table in ["tcp", "tcp6"] {
        let file = match std::fs::File::open(Path::new("/proc").join(pid.to_string()).join("net").join(table)) {
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table == "tcp6" => continue,
            opened => opened?,
        };
        let mut left_bytes = TABLE_MAX_BYTES;
        for line in BufReader::new(file).lines().skip(1) {
            let line = line?;
            let Some(left) = left_bytes.checked_sub(line.len()) else { return Ok(None) };
            left_bytes = left;
            match socket(&line, ports) {
                Some(Socket::Open) => open += 1,
                Some(Socket::Listens) => somebody_listens = true,
                None => {}
            }
        }
    }
    Ok((open > 0 || somebody_listens).then_some(open))
}

/// A socket that matters.
#[derive(Debug, PartialEq, Eq)]
enum Socket {
    Listens,
    Open,
}

/// `sl local_address rem_address st ...`
fn socket(line: &str, ports: &BTreeSet<u16>) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace();
    let (local, _remote, state) = (fields.nth(1)?, fields.next()?, fields.next()?);
    let (address, port) = local.split_once(':')?;
    let is_published = u16::from_str_radix(port, 16).is_ok_and(|port| ports.contains(&port));
    match state {
        _ if !is_published => None,
        LISTENS => Some(Socket::Listens),
        // Whoever asks from within, a health check for one, came through no door.
        state if OPEN.contains(&state) && !address_of(address)?.is_loopback() => Some(Socket::Open),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        let check = |local: &str, state: &str, expect: Option<Socket>| {
            let line = format!("   0: {local} 0100000A:C350 {state} 00000000:00000000 00:00000000 00000000     0        0 4711");
            assert_eq!(socket(&line, &BTreeSet::from([80, 8080])), expect, "{line}");
        };
        let any = "0".repeat(32);
        check("00000000:0050", "0A", Some(Socket::Listens));
        check(&format!("{any}:1F90"), "0A", Some(Socket::Listens));
        check("00000000:0051", "0A", None);
        check("0200CF0A:0050", "01", Some(Socket::Open));
        check("0000000000000000FFFF00000200CF0A:1F90", "01", Some(Socket::Open));
        check("0100007F:0050", "01", None);
        check("0000000000000000FFFF00000100007F:0050", "01", None);
        check("0200CF0A:8000", "01", None);
        for open in ["03", "04", "08", "09", "0B"] {
            check("0200CF0A:0050", open, Some(Socket::Open));
        }
        for over in ["05", "06", "07"] {
            check("0200CF0A:0050", over, None);
        }
        assert_eq!(socket("", &BTreeSet::from([80])), None);
    }

    #[test]
    fn whoever_cannot_be_seen_is_not_taken_for_nobody() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let port = listener.local_addr().expect("its address").port();
        let count = |port: u16| connections(std::process::id(), &BTreeSet::from([port])).expect("tables");
        assert_eq!(count(port), Some(0));
        let _within = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        assert_eq!(count(port), Some(0), "from within");
        drop(listener);
        assert_eq!(count(port), None);
        assert_eq!(connections(std::process::id(), &BTreeSet::new()).expect("nothing to look at"), Some(0));
    }
}
