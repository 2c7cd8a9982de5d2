//! Links, addresses and routes of one network namespace, by netlink: each function is one thing asked of the kernel (rtnetlink(7)).

use crate::netlink::{Family, Message, Socket, attribute, text, to_address, u32_at, u32_of};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

// include/uapi/linux/{if_link,veth,rtnetlink}.h
const VETH_INFO_PEER: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFINFO_BYTES: usize = 16;
const ROUTE_BYTES: usize = 12;
const UP: u32 = libc::IFF_UP.cast_unsigned();
const CREATE: i32 = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) is_up: bool,
    pub(crate) mtu: u32,
    /// The bridge that it is a port of.
    pub(crate) master: Option<u32>,
    /// What kind of virtual link it is: `bridge`, `veth`.
    pub(crate) kind: String,
}

/// A route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: (IpAddr, u8),
    pub(crate) has_gateway: bool,
    pub(crate) link: u32,
}

/// A new pair of links.
pub(crate) struct Pair<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    /// Where the other end goes.
    pub(crate) namespace: BorrowedFd<'a>,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_hardware: [u8; 6],
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Links(Socket);

impl Links {
    /// Speaks to the kernel of the calling thread's network namespace.
    pub(crate) fn open() -> io::Result<Links> {
        Socket::open(Family::Route).map(Links)
    }

    /// The link of this name.
    pub(crate) fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        let request = Message::new(libc::RTM_GETLINK, libc::NLM_F_ACK).fixed(&ifinfo(0, 0));
        self.one_link(request.u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS).text(libc::IFLA_IFNAME, name))
    }

    /// The link of this number.
    pub(crate) fn get(&mut self, index: u32) -> io::Result<Option<Link>> {
        let request = Message::new(libc::RTM_GETLINK, libc::NLM_F_ACK).fixed(&ifinfo(index, 0));
        self.one_link(request.u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS))
    }

    fn one_link(&mut self, request: Message) -> io::Result<Option<Link>> {
        let mut found = None;
        match self.0.ask(request, |_, body| found = found.take().or_else(|| link(body))) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(found),
        }
    }

    /// All links of one end in this namespace and one in another.
    pub(crate) fn pairs(&mut self) -> io::Result<Vec<Link>> {
        let request = Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP)
            .fixed(&ifinfo(0, 0))
            .u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
            .nested(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "veth"));
        let mut found = Vec::new();
        self.0.ask(request, |_, body| found.extend(link(body).filter(|link| link.kind == "veth")))?;
        Ok(found)
    }

    /// Makes a bridge that is up.
    pub(crate) fn add_bridge(&mut self, name: &str, hardware: [u8; 6]) -> io::Result<()> {
        let request = Message::new(libc::RTM_NEWLINK, CREATE)
            .fixed(&ifinfo(0, 0))
            .text(libc::IFLA_IFNAME, name)
            .bytes(libc::IFLA_ADDRESS, &hardware)
            .nested(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "bridge"));
        self.0.change(request)
    }

    /// Makes a pair of links: one end a port of the bridge and up, the other in the namespace and down.
    pub(crate) fn add_pair(&mut self, pair: &Pair<'_>) -> io::Result<()> {
        let namespace = pair.namespace.as_raw_fd().cast_unsigned();
        let request = Message::new(libc::RTM_NEWLINK, CREATE)
            .fixed(&ifinfo(0, UP))
            .text(libc::IFLA_IFNAME, pair.host_name)
            .u32(libc::IFLA_MTU, pair.mtu)
            .u32(libc::IFLA_MASTER, pair.bridge)
            .nested(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth").nested(libc::IFLA_INFO_DATA, |data| {
                    data.nested(VETH_INFO_PEER, |peer| {
                        peer.fixed(&ifinfo(0, 0))
                            .text(libc::IFLA_IFNAME, pair.peer_name)
                            .u32(libc::IFLA_MTU, pair.mtu)
                            .bytes(libc::IFLA_ADDRESS, &pair.peer_hardware)
                            .u32(libc::IFLA_NET_NS_FD, namespace)
                    })
                })
            });
        self.0.change(request)
    }

    /// Lets a port of a bridge send back where it came from what the bridge translates to lead there: a container that asks for itself
    /// by its host's door. Needed where bridged packets pass the packet filter (`net.bridge.bridge-nf-call-iptables`).
    pub(crate) fn let_back(&mut self, index: u32) -> io::Result<()> {
        let request = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK).fixed(&ifinfo(index, 0));
        self.0.change(request.nested(libc::IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_SLAVE_KIND, "bridge").nested(IFLA_INFO_SLAVE_DATA, |data| data.u8(IFLA_BRPORT_MODE, 1))
        }))
    }

    /// Sets a link up.
    pub(crate) fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.0.change(Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK).fixed(&ifinfo(index, UP)))
    }

    /// Makes a link a port of a bridge, and sets it up.
    pub(crate) fn set_master(&mut self, index: u32, bridge: u32) -> io::Result<()> {
        let request = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK).fixed(&ifinfo(index, UP));
        self.0.change(request.u32(libc::IFLA_MASTER, bridge))
    }

    /// Removes a link, and with it its other end. One that is gone is fine.
    pub(crate) fn remove(&mut self, name: &str) -> io::Result<()> {
        let request = Message::new(libc::RTM_DELLINK, libc::NLM_F_ACK).fixed(&ifinfo(0, 0));
        match self.0.change(request.text(libc::IFLA_IFNAME, name)) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    /// Gives a link an address, at once usable. One that it has is fine.
    pub(crate) fn add_address(&mut self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut fixed = vec![family(address), prefix, 0, libc::RT_SCOPE_UNIVERSE];
        fixed.extend_from_slice(&index.to_ne_bytes());
        // Addresses are ours to give, so nobody needs to be asked whether another has it; the kernel would wait a second for that.
        let request = Message::new(libc::RTM_NEWADDR, CREATE)
            .fixed(&fixed)
            .address(libc::IFA_LOCAL, address)
            .address(libc::IFA_ADDRESS, address)
            .u32(libc::IFA_FLAGS, libc::IFA_F_NODAD);
        fine_if_there(self.0.change(request))
    }

    /// Sends everything that goes elsewhere to `gateway`. A route that is there is fine.
    pub(crate) fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut fixed = route_fixed(gateway, 0, libc::RT_SCOPE_UNIVERSE);
        fixed[5] = libc::RTPROT_BOOT;
        let request = Message::new(libc::RTM_NEWROUTE, CREATE).fixed(&fixed);
        fine_if_there(self.0.change(request.address(libc::RTA_GATEWAY, gateway).u32(libc::RTA_OIF, index)))
    }

    /// The link through which packets to `destination` would leave.
    pub(crate) fn link_towards(&mut self, destination: IpAddr) -> Option<u32> {
        let length = if destination.is_ipv4() { 32 } else { 128 };
        let request =
            Message::new(libc::RTM_GETROUTE, libc::NLM_F_ACK).fixed(&route_fixed(destination, length, libc::RT_SCOPE_UNIVERSE));
        let mut found = None;
        let asked = self.0.ask(request.address(libc::RTA_DST, destination), |_, body| {
            found = body.get(ROUTE_BYTES..).and_then(|attributes| u32_of(attributes, libc::RTA_OIF));
        });
        // Nowhere to go is no link.
        asked.ok().and(found)
    }

    /// The routes of the main table but the default ones.
    pub(crate) fn routes(&mut self, like: IpAddr) -> io::Result<Vec<Route>> {
        let request = Message::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP).fixed(&route_fixed(like, 0, libc::RT_SCOPE_UNIVERSE));
        let mut found = Vec::new();
        self.0.ask(request, |_, body| found.extend(route(body)))?;
        Ok(found)
    }
}

fn ifinfo(index: u32, flags: u32) -> [u8; IFINFO_BYTES] {
    let mut fixed = [0; IFINFO_BYTES];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    // Which flags are to be changed.
    fixed[12..16].copy_from_slice(&flags.to_ne_bytes());
    fixed
}

fn route_fixed(like: IpAddr, length: u8, scope: u8) -> [u8; ROUTE_BYTES] {
    let mut fixed = [0; ROUTE_BYTES];
    (fixed[0], fixed[1], fixed[4], fixed[6], fixed[7]) = (family(like), length, libc::RT_TABLE_MAIN, scope, libc::RTN_UNICAST);
    fixed
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or_default()
}

fn link(body: &[u8]) -> Option<Link> {
    let attributes = body.get(IFINFO_BYTES..)?;
    let info = attribute(attributes, libc::IFLA_LINKINFO).unwrap_or_default();
    Some(Link {
        index: u32_at(body, 4)?,
        name: text(attributes, libc::IFLA_IFNAME)?,
        is_up: u32_at(body, 8)? & UP != 0,
        mtu: u32_of(attributes, libc::IFLA_MTU).unwrap_or_default(),
        master: u32_of(attributes, libc::IFLA_MASTER),
        kind: text(info, libc::IFLA_INFO_KIND).unwrap_or_default(),
    })
}

fn route(body: &[u8]) -> Option<Route> {
    let attributes = body.get(ROUTE_BYTES..)?;
    if body[4] != libc::RT_TABLE_MAIN || body[7] != libc::RTN_UNICAST {
        return None;
    }
    Some(Route {
        // The default routes have none.
        destination: (to_address(attribute(attributes, libc::RTA_DST)?)?, body[1]),
        has_gateway: attribute(attributes, libc::RTA_GATEWAY).is_some(),
        link: u32_of(attributes, libc::RTA_OIF)?,
    })
}

fn fine_if_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
