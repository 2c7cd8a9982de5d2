//! The packet filter's rules: tables `ip coord` and `ip6 coord`, ours alone; no other table is read or changed.
//!
//! The whole text follows from settings and doors, and replaces what is there in one step of the kernel. Whether it still is there is
//! told by the kernel's generation of rules, a number that grows with every change anybody makes: as long as it is the one after our
//! own change, nothing needs to be read. What the rules say:
//!
//! - A door leads to a container: for packets that come in and for those of the host itself. Who asked stays visible.
//! - Only what looks to the container as if it came from nowhere that it could answer gets the bridge's address: connections from the
//!   host's 127.0.0.1, and those of a container to a door that leads back to the containers' own network.
//! - Containers get out with the host's address.
//! - From outside, a container is reached through its doors only. 127.0.0.1 of the host is reached by the host only.

use crate::netlink::{Family, Message, Socket, attribute};
use crate::{HostPort, NetworkError, Protocol, Settings};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A thousand doors take 30 ms; a host under heavy load a hundred times that.
const NFT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of what it says, which is one line or the mistake of each of a thousand.
const PROBLEM_MAX_BYTES: u64 = 500;
/// Where the program is, if not in `PATH`.
const PROGRAMS: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];

// include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h
const NFTA_GEN_ID: u16 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFT_MSG_GETTABLE: i32 = 1;

/// Where a door leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Option<Ipv6Addr>,
    pub(crate) port: u16,
}

/// Which door leads where.
pub(crate) type Doors = BTreeMap<HostPort, Target>;

/// One address family's words.
struct Words {
    table: &'static str,
    address: &'static str,
    pool: String,
    loopback: &'static str,
}

/// All rules, as one transaction that replaces what was there.
pub(crate) fn rules(settings: &Settings, doors: &Doors) -> String {
    let mut text = String::new();
    let ip = Words {
        table: "ip",
        address: "ipv4_addr",
        pool: format!("{}/{}", settings.pool.0, settings.pool.1),
        loopback: "127.0.0.0/8",
    };
    family(&mut text, settings, &ip, doors, |target| Some(target.ipv4.into()));
    if let Some((pool, prefix)) = settings.pool6 {
        let ip6 = Words { table: "ip6", address: "ipv6_addr", pool: format!("{pool}/{prefix}"), loopback: "::1" };
        family(&mut text, settings, &ip6, doors, |target| target.ipv6.map(IpAddr::from));
    }
    text
}

fn family(text: &mut String, settings: &Settings, words: &Words, doors: &Doors, own: impl Fn(&Target) -> Option<IpAddr>) {
    let (bridge, Words { table: ip, address, pool, loopback }) = (&settings.bridge, words);
    let (mut here, mut everywhere) = (Vec::new(), Vec::new());
    for (door, target) in doors {
        let Some(container) = own(target) else { continue };
        let port = format!("{} . {} : {container} . {}", door.protocol.word(), door.port, target.port);
        match door.ip {
            None => everywhere.push(port),
            Some(at) if at.is_ipv4() != container.is_ipv4() => {}
            Some(at) if at.is_unspecified() => everywhere.push(port),
            Some(at) => here.push(format!("{at} . {port}")),
        }
    }
    everywhere.dedup();
    let (here, everywhere) = (elements(&here), elements(&everywhere));
    let rules = format!(
        "add table {ip} coord
delete table {ip} coord
table {ip} coord {{
 map here {{
  type {address} . inet_proto . inet_service : {address} . inet_service
{here} }}
 map everywhere {{
  type inet_proto . inet_service : {address} . inet_service
{everywhere} }}
 chain doors {{
  dnat {ip} to {ip} daddr . meta l4proto . th dport map @here
  fib daddr type local dnat {ip} to meta l4proto . th dport map @everywhere
 }}
 chain guard {{
  type filter hook prerouting priority -300; policy accept;
  iifname \"{bridge}\" {ip} daddr {loopback} drop
 }}
 chain prerouting {{
  type nat hook prerouting priority -100; policy accept;
  iifname != \"lo\" {ip} daddr {loopback} return
  jump doors
 }}
 chain output {{
  type nat hook output priority -100; policy accept;
{skip}  jump doors
 }}
 chain postrouting {{
  type nat hook postrouting priority 100; policy accept;
  oifname \"{bridge}\" {ip} saddr {loopback} masquerade
  oifname \"{bridge}\" {ip} saddr {pool} ct status dnat masquerade
  oifname != \"{bridge}\" {ip} saddr {pool} masquerade
 }}
 chain forward {{
  type filter hook forward priority 0; policy accept;
  iifname \"{bridge}\" accept
  oifname != \"{bridge}\" accept
  ct status dnat accept
  ct state established,related accept
  drop
 }}
}}
",
        // The kernel has no way to answer from ::1 what comes in elsewhere (there is no route_localnet in IPv6).
        skip = if *ip == "ip6" { "  ip6 daddr ::1 return\n" } else { "" },
    );
    text.push_str(&rules);
}

fn elements(elements: &[String]) -> String {
    let mut text = String::new();
    if !elements.is_empty() {
        let _ = writeln!(text, "  elements = {{ {} }}", elements.join(",\n   "));
    }
    text
}

impl Protocol {
    fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// The kernel's generation of rules; `None` where it cannot be told.
pub(crate) fn generation() -> Option<u32> {
    let mut socket = Socket::open(Family::Netfilter).ok()?;
    let mut found = None;
    let asked = socket.ask(message(libc::NFT_MSG_GETGEN, libc::AF_UNSPEC), |_, body| {
        found = body.get(4..).and_then(|attributes| attribute(attributes, NFTA_GEN_ID)).and_then(|v| v.try_into().ok());
    });
    asked.ok().and(found).map(u32::from_be_bytes)
}

/// Whether our table is there.
pub(crate) fn is_there() -> bool {
    let Ok(mut socket) = Socket::open(Family::Netfilter) else { return false };
    socket.change(message(NFT_MSG_GETTABLE, libc::AF_INET).text(NFTA_TABLE_NAME, "coord")).is_ok()
}

/// A request to nftables. Its fixed part is `struct nfgenmsg`: family, version, resource.
fn message(kind: i32, family: i32) -> Message {
    let kind = u16::try_from((libc::NFNL_SUBSYS_NFTABLES << 8) | kind).unwrap_or_default();
    Message::new(kind, libc::NLM_F_ACK).fixed(&[u8::try_from(family).unwrap_or_default(), 0, 0, 0])
}

/// Has `nft` carry out `text`, all or nothing.
pub(crate) fn run(text: &str) -> Result<(), NetworkError> {
    let ran = start(text).and_then(|(mut child, said)| Ok((wait(&mut child)?, said)));
    let (status, said) = ran.map_err(|source| NetworkError::NoNft { source })?;
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(NetworkError::Nft { problem: problem(said, status) }),
        None => Err(NetworkError::Nft { problem: format!("no answer within {} s", NFT_TIMEOUT.as_secs()) }),
    }
}

/// Its input and what it says are files in memory, so that neither waits for the other.
fn start(text: &str) -> io::Result<(Child, File)> {
    let mut input = File::from(memfd_create("rules", MemfdFlags::CLOEXEC)?);
    input.write_all(text.as_bytes())?;
    seek(&input, SeekFrom::Start(0))?;
    let said = File::from(memfd_create("said", MemfdFlags::CLOEXEC)?);
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for program in PROGRAMS {
        let mut command = Command::new(program);
        command.args(["-f", "-"]).stdin(input.try_clone()?).stdout(Stdio::null()).stderr(said.try_clone()?);
        match command.spawn() {
            Ok(child) => return Ok((child, said)),
            Err(error) => failed = error,
        }
        if failed.kind() != io::ErrorKind::NotFound {
            break;
        }
    }
    Err(failed)
}

/// How it ended; `None` if it had to be killed.
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let timeout = rustix::time::Timespec { tv_sec: NFT_TIMEOUT.as_secs().cast_signed(), tv_nsec: 0 };
    let ended = loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            polled => break polled? > 0,
        }
    };
    if !ended {
        child.kill()?;
    }
    child.wait().map(|status| ended.then_some(status))
}

fn problem(mut said: File, status: ExitStatus) -> String {
    let mut text = Vec::new();
    let read = seek(&said, SeekFrom::Start(0)).is_ok() && (&mut said).take(PROBLEM_MAX_BYTES).read_to_end(&mut text).is_ok();
    let text = String::from_utf8_lossy(&text);
    match text.lines().next() {
        Some(line) if read && !line.is_empty() => line.to_owned(),
        Some(_) | None => status.to_string(),
    }
}
