//! What is mounted, by `/proc/self/mountinfo` (see proc_pid_mountinfo(5)).

use crate::error::StoreError;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

const TABLE: &str = "/proc/self/mountinfo";

/// A mount that can be seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where it is.
    pub(super) place: PathBuf,
    /// Type of its file system.
    pub(super) kind: OsString,
    /// What it was mounted from.
    pub(super) source: OsString,
}

/// All mounts at folders in `folder`, in the order in which they were made: of two at one place, the later hides the earlier.
pub(super) fn mounts_in(folder: &Path) -> Result<Vec<Mount>, StoreError> {
    let folder = folder.canonicalize().map_err(|e| StoreError::io("find", folder, e))?;
    let table = std::fs::read(TABLE).map_err(|e| StoreError::io("read", TABLE, e))?;
    let mut mounts: Vec<Mount> = table.split(|byte| *byte == b'\n').filter_map(parse).collect();
    mounts.retain(|mount| mount.place.parent() == Some(&folder));
    Ok(mounts)
}

/// `36 35 98:0 /root /place options optional... - kind source options`
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let place = fields.nth(4)?;
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, source) = (fields.next()?, fields.next()?);
    Some(Mount { place: unescape(place).into(), kind: unescape(kind), source: unescape(source) })
}

/// Spaces, line ends and backslashes are written as three octal digits.
fn unescape(text: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let digits =
            after.first_chunk::<3>().filter(|digits| *byte == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|text| u8::from_str_radix(text, 8).ok());
        out.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(out)
}

/// Whether a source is one that mounts of this store have: a file of the store, by its name or by an open file, or a loop device.
pub(super) fn is_ours(mount: &Mount, store: &Path) -> bool {
    let source = Path::new(&mount.source);
    let is_loop = source.as_os_str().as_bytes().starts_with(b"/dev/loop");
    mount.kind == "erofs" && (is_loop || source.starts_with(store) || source.starts_with("/proc/self/fd"))
}

#[cfg(test)]
mod tests {
    use super::{Mount, parse};

    #[test]
    fn lines_of_the_table() {
        let check = |line: &str, expect: Option<[&str; 3]>| {
            let mount =
                expect.map(|[place, kind, source]| Mount { place: place.into(), kind: kind.into(), source: source.into() });
            assert_eq!(parse(line.as_bytes()), mount, "{line}");
        };
        check("36 35 98:0 / /mnt ro,noatime - erofs /a/meta ro", Some(["/mnt", "erofs", "/a/meta"]));
        check("36 35 98:0 / /mnt rw shared:1 master:2 - ext4 /dev/a rw", Some(["/mnt", "ext4", "/dev/a"]));
        check(r"36 35 98:0 / /a\040b\134c\012 rw - tmpfs a\0 rw", Some(["/a b\\c\n", "tmpfs", r"a\0"]));
        check("36 35 98:0 / /mnt rw - fuse.x  rw", Some(["/mnt", "fuse.x", ""]));
        check("36 35 98:0 / /mnt rw", None);
        check("", None);
    }
}
