//! Makes UDP follow its doors. The kernel remembers where a client's packets go for as long as they come, and UDP has no end of a
//! connection: a client that never pauses would be sent to a container that is gone. What it remembers of doors that changed, and what
//! no longer fits, is dropped here. TCP is left alone: old connections drain.

use crate::netlink::{Family, Message, Socket, attribute, to_address, u16_at};
use crate::nft::{Doors, Target};
use crate::pool::overlap;
use crate::{HostPort, Protocol, Settings};
use std::io;
use std::net::IpAddr;

// include/uapi/linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_common.h
const IPCTNL_MSG_CT_GET: i32 = 1;
const IPCTNL_MSG_CT_DELETE: i32 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const IPS_SEEN_REPLY: u32 = 2;
/// `struct nfgenmsg`.
const FIXED_BYTES: usize = 4;

/// Drops what the kernel remembers wrongly of the UDP doors that differ between `before`, if that is known, and `now`.
pub(crate) fn forget(settings: &Settings, before: Option<&Doors>, now: &Doors) -> io::Result<()> {
    let none = Doors::new();
    let before = before.unwrap_or(&none);
    let is_udp = |(door, _): &(&HostPort, &Target)| door.protocol == Protocol::Udp;
    let changed =
        now.iter().filter(is_udp).filter(|(door, target)| before.get(door) != Some(target)).map(|(d, t)| (*d, Some(*t)));
    let gone = before.iter().filter(is_udp).filter(|(door, _)| !now.contains_key(door)).map(|(d, _)| (*d, None));
    let doors: Vec<(HostPort, Option<Target>)> = changed.chain(gone).collect();
    if doors.is_empty() {
        return Ok(());
    }
    let mut socket = Socket::open(Family::Netfilter)?;
    let families = if settings.pool6.is_some() { &[libc::AF_INET, libc::AF_INET6][..] } else { &[libc::AF_INET] };
    for family in families {
        let mut stale = Vec::new();
        socket.ask(message(IPCTNL_MSG_CT_GET, *family, libc::NLM_F_DUMP), |_, body| {
            let Some(attributes) = body.get(FIXED_BYTES..) else { return };
            if entry(attributes).is_some_and(|entry| doors.iter().any(|(door, target)| entry.is_stale(settings, door, *target))) {
                stale.extend(removal(attributes, *family));
            }
        })?;
        for removal in stale {
            match socket.change(removal) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// Packets of one client, as the kernel remembers them.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where the client sends them.
    asked: (IpAddr, u16),
    /// From where the answers come.
    answers: (IpAddr, u16),
    has_answered: bool,
}

impl Entry {
    /// Whether it is of this door, and does not lead to where that leads now.
    fn is_stale(self, settings: &Settings, door: &HostPort, target: Option<Target>) -> bool {
        let is_ours = |ip: IpAddr| {
            let pool6 = settings.pool6.is_some_and(|(pool, prefix)| overlap((pool.into(), prefix), (ip, 128)));
            pool6 || overlap((settings.pool.0.into(), settings.pool.1), (ip, 32))
        };
        let is_of_door = door.port == self.asked.1 && door.ip.is_none_or(|ip| ip.is_unspecified() || ip == self.asked.0);
        if !is_of_door || is_ours(self.asked.0) {
            return false;
        }
        let leads_there = target.is_some_and(|target| {
            let ip = if self.asked.0.is_ipv4() { Some(target.ipv4.into()) } else { target.ipv6.map(IpAddr::from) };
            ip == Some(self.answers.0) && target.port == self.answers.1
        });
        // Asked before there was a door: nobody has answered.
        let was_too_early = self.asked == self.answers && !self.has_answered;
        !leads_there && (is_ours(self.answers.0) || was_too_early)
    }
}

fn entry(attributes: &[u8]) -> Option<Entry> {
    let (asked, answered) = (attribute(attributes, CTA_TUPLE_ORIG)?, attribute(attributes, CTA_TUPLE_REPLY)?);
    let protocol = attribute(asked, CTA_TUPLE_PROTO).and_then(|proto| attribute(proto, CTA_PROTO_NUM)?.first().copied())?;
    if i32::from(protocol) != libc::IPPROTO_UDP {
        return None;
    }
    let status = attribute(attributes, CTA_STATUS).and_then(|value| value.try_into().ok()).map_or(0, u32::from_be_bytes);
    Some(Entry {
        asked: end(asked, [2, 4], CTA_PROTO_DST_PORT)?,
        answers: end(answered, [1, 3], CTA_PROTO_SRC_PORT)?,
        has_answered: status & IPS_SEEN_REPLY != 0,
    })
}

/// One end of a tuple: the address by its type in IPv4 or IPv6, and the port.
fn end(tuple: &[u8], addresses: [u16; 2], port: u16) -> Option<(IpAddr, u16)> {
    let ip = attribute(tuple, CTA_TUPLE_IP)?;
    let address = addresses.iter().find_map(|kind| attribute(ip, *kind)).and_then(to_address)?;
    let port = u16_at(attribute(attribute(tuple, CTA_TUPLE_PROTO)?, port)?, 0)?;
    Some((address, u16::from_be(port)))
}

/// The request that drops exactly this entry.
fn removal(attributes: &[u8], family: i32) -> Option<Message> {
    let tuple = attribute(attributes, CTA_TUPLE_ORIG)?;
    let mut request = message(IPCTNL_MSG_CT_DELETE, family, libc::NLM_F_ACK).nested(CTA_TUPLE_ORIG, |to| to.fixed(tuple));
    for kind in [CTA_ID, CTA_ZONE] {
        if let Some(value) = attribute(attributes, kind) {
            request = request.bytes(kind, value);
        }
    }
    Some(request)
}

fn message(kind: i32, family: i32, flags: i32) -> Message {
    let kind = u16::try_from((libc::NFNL_SUBSYS_CTNETLINK << 8) | kind).unwrap_or_default();
    Message::new(kind, flags).fixed(&[u8::try_from(family).unwrap_or_default(), 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leads_elsewhere_is_stale() {
        let end = |text: &str| text.parse::<std::net::SocketAddr>().map(|a| (a.ip(), a.port())).expect("an address");
        let target = Target { ipv4: [10, 207, 0, 2].into(), ipv6: None, port: 5353 };
        let check = |asked: &str, answers: &str, has_answered, target, expect| {
            let entry = Entry { asked: end(asked), answers: end(answers), has_answered };
            let door = HostPort { ip: None, port: 53, protocol: Protocol::Udp };
            assert_eq!(entry.is_stale(&Settings::default(), &door, target), expect, "{entry:?}");
        };
        check("192.0.2.1:53", "10.207.0.2:5353", true, Some(target), false);
        check("192.0.2.1:53", "10.207.0.9:5353", true, Some(target), true);
        check("192.0.2.1:53", "10.207.0.2:5353", true, None, true);
        check("192.0.2.1:54", "10.207.0.9:5353", true, Some(target), false);
        // A container that asks another one, and one that asks a server outside.
        check("10.207.0.9:53", "10.207.0.9:53", true, Some(target), false);
        check("198.51.100.1:53", "198.51.100.1:53", true, Some(target), false);
        check("192.0.2.1:53", "192.0.2.1:53", false, Some(target), true);
    }
}
