//! Writing what was planned: tar, then zstd.

use super::plan::{Plan, Planned};
use super::walk::{What, fail, look};
use super::{PackError, PackLimits, Packed};
use crate::output::{Hashed, Pieces};
use coord_tar::{END_BYTES, Entry, Kind, padding, write_header};
use std::io::{self, Read as _, Write};

/// zstd's level: most of what higher ones reach, at a fifth of their time. Part of what makes the bytes, so not to be chosen.
const ZSTD_LEVEL: i32 = 3;
/// Bytes that are copied at a time.
const COPY_BYTES: usize = 128 * 1024;

pub(super) fn write(plan: Plan, out: impl Write, limits: &PackLimits) -> Result<Packed, PackError> {
    let fail = |source| PackError::Write { source };
    let mut encoder = zstd::stream::write::Encoder::new(Hashed::new(out), ZSTD_LEVEL).map_err(fail)?;
    encoder.include_checksum(true).map_err(fail)?;
    let mut tar = Pieces::new(encoder);
    let mut content_left = limits.content_max_bytes;
    let mut files = 0;
    for (name, planned) in &plan.entries {
        files += u64::from(planned.what != What::Directory);
        entry(&plan, name, planned, &mut content_left, &mut tar)?;
    }
    tar.write_all(&[0; END_BYTES]).map_err(fail)?;
    let (mut out, digest, bytes) = tar.finish().and_then(zstd::stream::write::Encoder::finish).map_err(fail)?.finish();
    out.flush().map_err(fail)?;
    Ok(Packed { digest, bytes, files })
}

fn entry(plan: &Plan, name: &[u8], planned: &Planned, content_left: &mut u64, tar: &mut impl Write) -> Result<(), PackError> {
    let written = |source| PackError::Write { source };
    let mut entry = Entry { path: name.to_vec(), mode: 0o755, ..Entry::default() };
    match &planned.what {
        What::Directory => {
            entry.kind = Kind::Directory;
            write_header(tar, &entry).map_err(written)
        }
        What::Symlink { target } => {
            entry.kind = Kind::Symlink;
            entry.mode = 0o777;
            entry.link.clone_from(target);
            write_header(tar, &entry).map_err(written)
        }
        What::File { .. } => {
            let source = planned.source.as_deref().unwrap_or_default();
            let file = plan.root.file(source)?;
            let changed = || PackError::Changed { path: String::from_utf8_lossy(source).into_owned() };
            // As it is now: what was seen when it was found may be seconds old.
            let (size, executable) = look(&file).ok_or_else(changed)?;
            let limit = || PackError::Limit { limit: "the limit of contents, because files grow meanwhile".to_owned() };
            *content_left = content_left.checked_sub(size).ok_or_else(limit)?;
            entry.mode = if executable { 0o755 } else { 0o644 };
            entry.size = size;
            write_header(tar, &entry).map_err(written)?;
            copy(file, size, source, tar)?;
            tar.write_all(&[0; 512][..padding(size)]).map_err(written)
        }
    }
}

/// Exactly `size` bytes.
fn copy(file: std::fs::File, size: u64, source: &[u8], tar: &mut impl Write) -> Result<(), PackError> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut file = file.take(size.saturating_add(1));
    let mut copied = 0;
    loop {
        let length = match file.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(fail("read", source, error)),
        };
        copied += length as u64;
        if (length == 0 && copied != size) || copied > size {
            return Err(PackError::Changed { path: String::from_utf8_lossy(source).into_owned() });
        }
        if length == 0 {
            return Ok(());
        }
        tar.write_all(&buffer[..length]).map_err(|source| PackError::Write { source })?;
    }
}
