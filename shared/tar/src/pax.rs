//! PAX extended headers: records of the form `LENGTH KEY=VALUE\n`, LENGTH counting itself.

use super::sparse::SparseRecords;
use crate::error::TarError;
use std::collections::BTreeMap;

/// Extended attributes of one entry, names and values together: what Linux lists at once (XATTR_LIST_MAX), and more than ext4 keeps.
const XATTRS_MAX_BYTES: usize = 64 * 1024 - 1;
/// Linux, include/uapi/linux/limits.h: XATTR_NAME_MAX.
const XATTR_NAME_MAX_BYTES: usize = 255;

/// What extended headers say of an entry. What they do not say, the header does.
#[derive(Debug, Clone, Default)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: Option<SparseRecords>,
}

impl Extensions {
    /// Takes in a header's records; later ones win.
    pub(super) fn apply(&mut self, mut records: &[u8]) -> Result<(), TarError> {
        while !records.is_empty() {
            let bad = || TarError::tar("has a malformed extended header");
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length = decimal(&records[..space]).and_then(|length| usize::try_from(length).ok()).ok_or_else(bad)?;
            let record = records.get(space + 1..length).ok_or_else(bad)?.strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            self.apply_record(&record[..equals], &record[equals + 1..])?;
            records = &records[length..];
        }
        Ok(())
    }

    /// A name, a size or a map that holds for all entries to come is either a mistake or a trick.
    pub(super) fn check_global(&self) -> Result<(), TarError> {
        if self.path.is_some() || self.link.is_some() || self.size.is_some() || self.sparse.is_some() {
            return Err(TarError::tar("names or measures all entries at once in a global header"));
        }
        Ok(())
    }

    /// An empty value takes back what was said before.
    fn apply_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        let bad = || {
            TarError::tar(format!(
                "has the {} {:?} in an extended header, which cannot be",
                key.escape_ascii(),
                shorten(value).escape_ascii().to_string()
            ))
        };
        match key {
            b"path" => self.path = Some(value.to_vec()).filter(|path| !path.is_empty()),
            b"linkpath" => self.link = Some(value.to_vec()).filter(|link| !link.is_empty()),
            b"size" => {
                self.size = optional(value, |text| decimal(text).filter(|size| i64::try_from(*size).is_ok())).ok_or_else(bad)?
            }
            b"uid" => self.uid = optional(value, signed).ok_or_else(bad)?,
            b"gid" => self.gid = optional(value, signed).ok_or_else(bad)?,
            b"mtime" => self.mtime = optional(value, parse_time).ok_or_else(bad)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.set_xattr(name, value)?;
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.get_or_insert_default().apply(name, value).ok_or_else(bad)??;
                }
            }
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), TarError> {
        if name.is_empty() || name.len() > XATTR_NAME_MAX_BYTES || name.contains(&0) {
            let name = shorten(name).escape_ascii().to_string();
            return Err(TarError::tar(format!("has an extended attribute {name:?}, which cannot be")));
        }
        self.xattrs.insert(name.to_vec(), value.to_vec());
        if self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > XATTRS_MAX_BYTES {
            return Err(TarError::tar("has an entry with more than 64 KiB of extended attributes"));
        }
        Ok(())
    }
}

/// None inside where the value is empty; none outside where it is wrong.
#[expect(clippy::option_option, reason = "the caller tells 'said nothing' from 'said nonsense'")]
fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { parse(value).map(Some) }
}

/// For messages.
fn shorten(text: &[u8]) -> &[u8] {
    &text[..text.len().min(40)]
}

/// A decimal number without a sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => decimal(digits).and_then(|number| 0_i64.checked_sub_unsigned(number)),
        None => decimal(text).and_then(|number| i64::try_from(number).ok()),
    }
}

/// `-12.345`: seconds with a fraction, of which nanoseconds are kept.
fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let dot = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let seconds = signed(&text[..dot])?;
    let fraction = text.get(dot + 1..).unwrap_or(&[]);
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanos = digits.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    // Time runs forward from the second before.
    if text[0] == b'-' && nanos > 0 { Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)) } else { Some((seconds, nanos)) }
}
