//! Extended attributes beside their inode: a header of 12 bytes, then each entry with its kind as a number instead of the beginning
//! of its name, padded to 4 bytes.

use super::invalid;
use std::io;

const HEADER_BYTES: usize = 12;
const HEADER_BYTES_U32: u32 = 12;
const ENTRY_BYTES: usize = 4;
/// The inode counts them in units of 4 bytes, in 16 bits, the header as one.
const MAX_BYTES: usize = HEADER_BYTES + 4 * (0xffff - 1);

/// Beginnings of names, and what stands for them. The first two are names as a whole.
const KINDS: [(&[u8], u8); 5] =
    [(b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3), (b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
const WHOLE_NAMES: usize = 2;

/// What `fill` will add for a list of attributes; 0 for none.
pub(super) fn size(list: &[u8]) -> io::Result<u32> {
    if list.is_empty() {
        return Ok(0);
    }
    let mut bytes = HEADER_BYTES;
    for pair in Pairs(list) {
        let Pair { rest, value, .. } = pair?;
        bytes += (ENTRY_BYTES + rest.len() + value.len()).next_multiple_of(4);
    }
    if bytes > MAX_BYTES {
        return Err(invalid(format!("a file has {bytes} bytes of extended attributes; at most {MAX_BYTES} are possible")));
    }
    Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// Bytes of attributes as the inode counts them.
pub(super) fn count(bytes: u32) -> u16 {
    if bytes == 0 { 0 } else { u16::try_from((bytes - HEADER_BYTES_U32) / 4 + 1).unwrap_or(u16::MAX) }
}

/// Adds a list of attributes that is not empty.
pub(super) fn fill(list: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&[0; HEADER_BYTES]);
    for pair in Pairs(list) {
        let Pair { kind, rest, value } = pair?;
        let value_len = u16::try_from(value.len()).map_err(|_| invalid("an extended attribute is too long"))?;
        let name_len = u8::try_from(rest.len()).map_err(|_| invalid("an extended attribute's name is too long"))?;
        out.extend_from_slice(&[name_len, kind]);
        out.extend_from_slice(&value_len.to_le_bytes());
        out.extend_from_slice(rest);
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    Ok(())
}

struct Pair<'a> {
    kind: u8,
    /// The name after what `kind` says of it.
    rest: &'a [u8],
    value: &'a [u8],
}

/// A list as trees have it: length of the name (1 byte), length of the value (2), name, value.
struct Pairs<'a>(&'a [u8]);

impl<'a> Iterator for Pairs<'a> {
    type Item = io::Result<Pair<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let ([name_len, low, high], rest) = match self.0.split_first_chunk() {
            Some(split) => split,
            None if self.0.is_empty() => return None,
            None => return Some(Err(self.cut())),
        };
        let split = rest.split_at_checked(usize::from(*name_len));
        let split = split.and_then(|(name, rest)| {
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
            Some((name, value, rest))
        });
        let Some((name, value, rest)) = split else { return Some(Err(self.cut())) };
        self.0 = rest;
        Some(kind_of(name).map(|(kind, rest)| Pair { kind, rest, value }))
    }
}

impl Pairs<'_> {
    fn cut(&mut self) -> io::Error {
        self.0 = b"";
        invalid("the tree has a list of extended attributes that ends too early")
    }
}

fn kind_of(name: &[u8]) -> io::Result<(u8, &[u8])> {
    for (index, (beginning, kind)) in KINDS.iter().enumerate() {
        match name.strip_prefix(*beginning) {
            Some(rest) if rest.is_empty() == (index < WHOLE_NAMES) => return Ok((*kind, rest)),
            Some(_) | None => {}
        }
    }
    Err(invalid(format!("the extended attribute {} is of a kind that EROFS does not have", name.escape_ascii())))
}
