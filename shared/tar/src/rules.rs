//! What names and attributes an archive may have: the same for layers that are pulled and for archives that become one.

use crate::{Limits, TarError};

/// Files whose name begins so say what of lower layers is hidden (OCI image spec, layer.md, "Whiteouts").
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Longest path and longest target of a link that the kernel takes, without its final NUL.
pub const PATH_MAX_BYTES: usize = 4095;
/// Longest name in a folder (NAME_MAX).
pub const NAME_MAX_BYTES: usize = 255;

/// Whether an image may have an extended attribute of this name.
pub fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && name.len() > 5 && !name.starts_with(b"user.overlay."))
}

/// Puts the path `raw` into `clean`: relative to the root, without empty or `.` parts. Absolute ones mean the same, as a container sees
/// them. `entry` is the name for messages.
///
/// # Errors
/// It leads out by `..`, is longer or deeper than can be, or lies below a whiteout.
pub fn clean(raw: &[u8], entry: &[u8], limits: &Limits, clean: &mut Vec<u8>) -> Result<(), TarError> {
    clean.clear();
    if raw.contains(&0) {
        return Err(TarError::entry(entry, "has a NUL in its name"));
    }
    let mut depth = 0;
    let mut below_whiteout = false;
    for part in raw.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
        if part == b".." {
            return Err(TarError::entry(entry, "has \"..\" in its path"));
        }
        if part.len() > NAME_MAX_BYTES {
            return Err(TarError::entry(entry, "has a name of more than 255 bytes"));
        }
        // A whiteout has nothing below it: only the last part may be one.
        if below_whiteout {
            return Err(TarError::entry(entry, "lies below a whiteout"));
        }
        below_whiteout = part.starts_with(WHITEOUT_PREFIX);
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(part);
        depth += 1;
    }
    if depth > limits.depth_max {
        return Err(TarError::Limit { limit: format!("{} folders within folders", limits.depth_max) });
    }
    if clean.len() > PATH_MAX_BYTES {
        return Err(TarError::entry(entry, "has a path of more than 4095 bytes"));
    }
    Ok(())
}
