//! Which addresses there are, and which one comes next. Pure.
//!
//! A container has a slot; both its addresses, its link's name and its hardware address follow from it. Slot 0 is the network, 1 the
//! bridge, the last one the broadcast address.

use crate::{Lease, NetworkError, Settings};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The bridge's own slot.
const GATEWAY_SLOT: u32 = 1;
/// A pool of fewer addresses serves nobody; one of more than 2^24 is a mistake.
const PREFIXES: std::ops::RangeInclusive<u8> = 8..=29;
/// Each IPv4 slot must have its place in the IPv6 pool.
const PREFIX6_MAX: u8 = 96;
/// `IFNAMSIZ` without the zero at the end.
const LINK_NAME_MAX_BYTES: usize = 15;
/// What IPv4 allows at least, and what the kernel takes at most.
const MTUS: std::ops::RangeInclusive<u32> = 576..=65535;
/// What IPv6 needs at least (RFC 8200, section 5).
pub(crate) const MTU6_MIN: u32 = 1280;

impl Settings {
    /// Checks what can be checked without looking at the host. The error names the key.
    pub fn check(&self) -> Result<(), NetworkError> {
        let wrong = |key, problem: String| Err(NetworkError::Setting { key, problem });
        let (address, prefix) = self.pool;
        if !PREFIXES.contains(&prefix) {
            return wrong("pool", format!("= \"{address}/{prefix}\" must have a length from /8 to /29"));
        }
        if u32::from(address) & host_mask(prefix) != 0 {
            let network = Ipv4Addr::from(u32::from(address) & !host_mask(prefix));
            return wrong("pool", format!("= \"{address}/{prefix}\" has bits beyond its length; write \"{network}/{prefix}\""));
        }
        if !address.is_private() && !is_shared(address) {
            let problem = "is not a private range; choose one of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10";
            return wrong("pool", format!("= \"{address}/{prefix}\" {problem}"));
        }
        if let Some((address6, prefix6)) = self.pool6 {
            if prefix6 > PREFIX6_MAX || u128::from(address6) & !(u128::MAX << (128 - u32::from(prefix6))) != 0 || prefix6 < 8 {
                return wrong("pool6", format!("= \"{address6}/{prefix6}\" must be a network with a length from /8 to /96"));
            }
            if !address6.is_unique_local() {
                return wrong("pool6", format!("= \"{address6}/{prefix6}\" is not of fc00::/7; choose a unique local prefix"));
            }
        }
        let name_is_fine = !self.bridge.is_empty()
            && self.bridge.len() <= LINK_NAME_MAX_BYTES
            && self.bridge.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && self.bridge.starts_with(|c: char| c.is_ascii_alphabetic());
        if !name_is_fine {
            return wrong("bridge", format!("= {:?} must be a letter and up to 14 letters, digits, -, _ or .", self.bridge));
        }
        match self.mtu {
            Some(mtu) if !MTUS.contains(&mtu) => wrong("mtu", format!("= {mtu} must be between 576 and 65535")),
            Some(mtu) if mtu < MTU6_MIN && self.pool6.is_some() => {
                wrong("mtu", format!("= {mtu} is less than IPv6 needs (1280); raise it, or set pool6 = \"none\""))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The bridge's addresses, with the lengths of their networks.
    pub(crate) fn gateways(&self) -> Vec<(IpAddr, u8)> {
        let mut gateways = vec![(self.ipv4(GATEWAY_SLOT).into(), self.pool.1)];
        gateways.extend(self.pool6.map(|pool6| (self.ipv6(GATEWAY_SLOT, pool6).into(), pool6.1)));
        gateways
    }

    /// The lease of the next free slot after `last`, and that slot.
    pub(crate) fn next_lease(&self, container: &str, used: &BTreeSet<Ipv4Addr>, last: u32) -> Option<(Lease, u32)> {
        let (first, end) = (GATEWAY_SLOT + 1, host_mask(self.pool.1));
        let start = if (first..end).contains(&(last + 1)) { last + 1 } else { first };
        let slot = (start..end).chain(first..start).find(|slot| !used.contains(&self.ipv4(*slot)))?;
        let lease = Lease {
            container: container.to_owned(),
            ipv4: self.ipv4(slot),
            ipv6: self.pool6.map(|pool6| self.ipv6(slot, pool6)),
            gateway: self.ipv4(GATEWAY_SLOT),
            gateway6: self.pool6.map(|pool6| self.ipv6(GATEWAY_SLOT, pool6)),
        };
        Some((lease, slot))
    }

    fn ipv4(&self, slot: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.pool.0) | slot)
    }

    fn ipv6(&self, slot: u32, pool6: (Ipv6Addr, u8)) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(pool6.0) | u128::from(slot))
    }
}

impl Lease {
    /// The name of the link's end on the host.
    pub(crate) fn link(&self) -> String {
        format!("{LINK_PREFIX}{:08x}", u32::from(self.ipv4))
    }

    /// The hardware address of the container's end: an address that is used again is found under the same one, so nobody remembers a
    /// wrong one (locally administered, as the second bit says; "co" for this program).
    pub(crate) fn hardware(&self) -> [u8; 6] {
        hardware_of(self.ipv4)
    }
}

/// What the names of our links begin with.
pub(crate) const LINK_PREFIX: &str = "cv";

/// The hardware address that goes with an address of the pool.
pub(crate) fn hardware_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0xc0, a, b, c, d]
}

/// Whether two networks have an address in common.
pub(crate) fn overlap(a: (IpAddr, u8), b: (IpAddr, u8)) -> bool {
    match (a.0, b.0) {
        (IpAddr::V4(x), IpAddr::V4(y)) => {
            let mask = host_mask(a.1.min(b.1));
            u32::from(x) & !mask == u32::from(y) & !mask
        }
        (IpAddr::V6(x), IpAddr::V6(y)) => {
            let shift = 128 - u32::from(a.1.min(b.1));
            u128::from(x).checked_shr(shift).unwrap_or(0) == u128::from(y).checked_shr(shift).unwrap_or(0)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn host_mask(prefix: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0)
}

/// 100.64.0.0/10 (RFC 6598).
fn is_shared(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [100, 64..=127, _, _])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pool: &str, prefix: u8) -> Settings {
        Settings { pool: (pool.parse().expect("an address"), prefix), ..Settings::default() }
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let check = |settings: Settings, expect: &str| {
            let said = settings.check().err().map_or_else(String::new, |error| error.to_string());
            assert!(said.contains(expect) && said.is_empty() == expect.is_empty(), "{said:?}");
        };
        check(Settings::default(), "");
        check(settings("10.1.2.0", 24), "");
        check(settings("10.1.2.3", 24), "write \"10.1.2.0/24\"");
        check(settings("10.0.0.0", 30), "from /8 to /29");
        check(settings("8.8.8.0", 24), "not a private range");
        check(Settings { bridge: "a-name-that-is-too-long".to_owned(), ..Settings::default() }, "network.bridge");
        check(Settings { bridge: "a b".to_owned(), ..Settings::default() }, "network.bridge");
        check(Settings { mtu: Some(100), ..Settings::default() }, "network.mtu");
        check(Settings { mtu: Some(1000), ..Settings::default() }, "1280");
        check(Settings { pool6: Some(("2001:db8::".parse().expect("an address"), 64)), ..Settings::default() }, "unique local");
        check(Settings { pool6: Some(("fd00::1".parse().expect("an address"), 64)), ..Settings::default() }, "network.pool6");
    }

    #[test]
    fn an_address_is_not_given_again_before_all_others_were() {
        let settings = settings("10.1.2.0", 29);
        let (mut used, mut last, mut given) = (BTreeSet::new(), 0, Vec::new());
        while let Some((lease, slot)) = settings.next_lease("c", &used, last) {
            used.insert(lease.ipv4);
            given.push(lease.ipv4.octets()[3]);
            last = slot;
        }
        assert_eq!(given, [2, 3, 4, 5, 6]);
        for (freed, expect) in [(3, 3), (6, 6), (2, 2)] {
            used.remove(&Ipv4Addr::new(10, 1, 2, freed));
            let (lease, slot) = settings.next_lease("c", &used, last).expect("one is free");
            assert_eq!(lease.ipv4.octets()[3], expect);
            used.insert(lease.ipv4);
            last = slot;
        }
        used.remove(&Ipv4Addr::new(10, 1, 2, 2));
        used.remove(&Ipv4Addr::new(10, 1, 2, 3));
        let (lease, _) = settings.next_lease("c", &used, 2).expect("two are free");
        assert_eq!(lease.ipv4.octets()[3], 3, "the one freed last is not the next");
    }

    #[test]
    fn networks_overlap_in_both_directions() {
        let check = |a: &str, a_prefix, b: &str, b_prefix, expect| {
            let (a, b) = (a.parse().expect("an address"), b.parse().expect("an address"));
            assert_eq!(overlap((a, a_prefix), (b, b_prefix)), expect);
            assert_eq!(overlap((b, b_prefix), (a, a_prefix)), expect);
        };
        check("10.0.0.0", 8, "10.88.0.0", 16, true);
        check("10.87.0.0", 16, "10.88.0.0", 16, false);
        check("fd00::", 8, "fd63:6f6f::", 64, true);
        check("fd00::", 64, "fd63:6f6f::", 64, false);
        check("10.0.0.0", 8, "fd00::", 8, false);
    }
}
