//! The bytes of netlink: messages to the kernel are built here, and what it answers is taken apart (netlink(7), rtnetlink(7)).
//!
//! Only what this crate needs: a header, one fixed part, attributes within attributes. All numbers are in the machine's own order but
//! where netfilter says otherwise.

use std::net::IpAddr;

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// Flags in an attribute's type: nested, in network order.
const TYPE_MASK: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

/// One request to the kernel, while it is being built.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of this type and with these flags, besides `NLM_F_REQUEST`.
    pub(crate) fn new(kind: u16, flags: i32) -> Message {
        let mut bytes = vec![0; HEADER_BYTES];
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST).unwrap_or_default();
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Message { bytes }
    }

    /// Appends a part of fixed shape.
    pub(crate) fn fixed(mut self, part: &[u8]) -> Message {
        self.bytes.extend_from_slice(part);
        self.pad();
        self
    }

    /// Appends an attribute.
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Message {
        let length = u16::try_from(ATTRIBUTE_HEADER_BYTES + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    pub(crate) fn u8(self, kind: u16, value: u8) -> Message {
        self.bytes(kind, &[value])
    }

    pub(crate) fn u32(self, kind: u16, value: u32) -> Message {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Appends text, which the kernel wants with a zero at its end.
    pub(crate) fn text(self, kind: u16, value: &str) -> Message {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(crate) fn address(self, kind: u16, value: IpAddr) -> Message {
        self.bytes(kind, &octets(value))
    }

    /// Appends an attribute made of what `fill` appends.
    pub(crate) fn nested(mut self, kind: u16, fill: impl FnOnce(Message) -> Message) -> Message {
        let start = self.bytes.len();
        self = fill(self.bytes((kind) | NESTED, &[]));
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// The message as it is sent.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The bytes of an address, in network order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The address that these bytes are.
pub(crate) fn to_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// The attributes in `bytes`, as (type, value); stops at the first that is cut short.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & TYPE_MASK;
        let value = rest.get(ATTRIBUTE_HEADER_BYTES..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this type.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// The text of the first attribute of this type.
pub(crate) fn text(bytes: &[u8], kind: u16) -> Option<String> {
    let value = attribute(bytes, kind)?;
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    Some(String::from_utf8_lossy(value).into_owned())
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// The 32-bit number of the first attribute of this type.
pub(crate) fn u32_of(bytes: &[u8], kind: u16) -> Option<u32> {
    u32_at(attribute(bytes, kind)?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_can_be_taken_apart() {
        let built = Message::new(16, 0)
            .fixed(&[1, 2, 3])
            .text(3, "eth0")
            .nested(18, |info| info.text(1, "veth").u32(2, 7))
            .address(4, IpAddr::from([10, 0, 0, 1]))
            .finish(9);
        assert_eq!(u32_at(&built, 0), u32::try_from(built.len()).ok());
        assert_eq!((u16_at(&built, 4), u32_at(&built, 8)), (Some(16), Some(9)));
        let body = &built[HEADER_BYTES + 4..];
        assert_eq!(text(body, 3).as_deref(), Some("eth0"));
        let info = attribute(body, 18).expect("nested");
        assert_eq!((text(info, 1).as_deref(), u32_of(info, 2)), (Some("veth"), Some(7)));
        assert_eq!(attribute(body, 4).and_then(to_address), Some(IpAddr::from([10, 0, 0, 1])));
    }

    #[test]
    fn what_is_cut_short_ends_the_walk() {
        let whole = Message::new(16, 0).u32(1, 5).u32(2, 6).finish(1);
        for end in HEADER_BYTES..whole.len() {
            let walked = attributes(&whole[HEADER_BYTES..end]).count();
            assert_eq!(walked, usize::from(end >= HEADER_BYTES + 8), "{end}");
        }
        assert_eq!(attributes(&[0; 64]).count(), 0, "an attribute of no length is none");
    }
}
