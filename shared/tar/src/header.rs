//! One block of a header: fields at fixed places, numbers as octal text or, as GNU writes them, in binary.

use super::{Kind, until_nul};
use crate::error::TarError;

pub(super) const BLOCK_BYTES: usize = 512;
/// What a device number has room for in Linux (`MKDEV`, include/linux/kdev_t.h).
const MAJOR_MAX: i64 = (1 << 12) - 1;
const MINOR_MAX: i64 = (1 << 20) - 1;

/// A block. Numbers are none where they are no numbers or do not fit.
pub(super) struct Header(pub(super) [u8; BLOCK_BYTES]);

impl Header {
    pub(super) fn is_zero(&self) -> bool {
        self.0 == [0; BLOCK_BYTES]
    }

    /// Whether the checksum is right. Sums were once made of signed bytes; both are accepted, as everywhere.
    pub(super) fn is_sealed(&self) -> bool {
        let Some(expected) = number(&self.0[148..156]) else { return false };
        // The sum is made with blanks in its own place.
        let blanks = 8 * i64::from(b' ');
        // Sums of 512 bytes fit, and narrow numbers are added many at a time.
        let unsigned = |bytes: &[u8]| i64::from(bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>());
        if blanks + unsigned(&self.0[..148]) + unsigned(&self.0[156..]) == expected {
            return true;
        }
        let signed = |bytes: &[u8]| i64::from(bytes.iter().map(|byte| i32::from(byte.cast_signed())).sum::<i32>());
        blanks + signed(&self.0[..148]) + signed(&self.0[156..]) == expected
    }

    pub(super) fn flag(&self) -> u8 {
        self.0[156]
    }

    /// Bytes that follow.
    pub(super) fn size(&self) -> Option<u64> {
        number(&self.0[124..136]).and_then(|size| u64::try_from(size).ok())
    }

    pub(super) fn mode(&self) -> Option<u16> {
        number(&self.0[100..108]).and_then(|mode| u16::try_from(mode & 0o7777).ok())
    }

    pub(super) fn uid(&self) -> Option<i64> {
        number(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Option<i64> {
        number(&self.0[116..124])
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        number(&self.0[136..148])
    }

    pub(super) fn link(&self) -> &[u8] {
        until_nul(&self.0[157..257])
    }

    /// ustar splits long names in two; GNU uses the second field for something else.
    pub(super) fn path_into(&self, path: &mut Vec<u8>) {
        let prefix = if &self.0[257..263] == b"ustar\0" { until_nul(&self.0[345..500]) } else { &[] };
        path.clear();
        if !prefix.is_empty() {
            path.extend_from_slice(prefix);
            path.push(b'/');
        }
        path.extend_from_slice(until_nul(&self.0[..100]));
    }

    /// What an entry of this path is.
    pub(super) fn kind(&self, path: &[u8]) -> Result<Kind, TarError> {
        match self.flag() {
            // Before ustar, a final slash was what made a directory.
            0 | b'0' if path.ends_with(b"/") => Ok(Kind::Directory),
            // '7' was meant for files that lie in one piece on the disk; 'S' is GNU's older way of sparse files.
            0 | b'0' | b'7' | b'S' => Ok(Kind::File),
            b'1' => Ok(Kind::HardLink),
            b'2' => Ok(Kind::Symlink),
            b'3' => self.device(path).map(|(major, minor)| Kind::CharDevice { major, minor }),
            b'4' => self.device(path).map(|(major, minor)| Kind::BlockDevice { major, minor }),
            b'5' => Ok(Kind::Directory),
            b'6' => Ok(Kind::Fifo),
            other => Err(TarError::entry(path, format!("is of the unknown type '{}'", [other].escape_ascii()))),
        }
    }

    fn device(&self, path: &[u8]) -> Result<(u32, u32), TarError> {
        let part = |field: &[u8], max| {
            number(field)
                .filter(|number| (0..=max).contains(number))
                .and_then(|number| u32::try_from(number).ok())
                .ok_or_else(|| TarError::entry(path, "is a device of a number that Linux does not have"))
        };
        Ok((part(&self.0[329..337], MAJOR_MAX)?, part(&self.0[337..345], MINOR_MAX)?))
    }
}

/// A numeric field: octal text, or big-endian two's complement with the top bit set (GNU). None if it is neither or beyond 64 bits.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 == 0 {
        let text = until_nul(field).trim_ascii();
        let is_octal = text.iter().all(|byte| matches!(byte, b'0'..=b'7'));
        return is_octal.then(|| text.iter().fold(0, |value, digit| value << 3 | i64::from(digit - b'0')));
    }
    // The bit below the mark is the sign.
    let is_negative = field[0] & 0x40 != 0;
    let first = if is_negative { field[0] } else { field[0] & 0x7f };
    let mut value = if is_negative { -1_i128 } else { 0 };
    for byte in std::iter::once(first).chain(field[1..].iter().copied()) {
        value = value << 8 | i128::from(byte);
    }
    i64::try_from(value).ok()
}
