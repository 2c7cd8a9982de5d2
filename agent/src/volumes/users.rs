//! Who uses which volume, as the kernel sees it: what is mounted in the namespace of each container's first process.
//!
//! So it holds for containers of an earlier agent and of an external runtime as well, whatever any file says.

use super::VolumesError;
use crate::containers::running;
use coord_shared::names::{ContainerId, VolumeName};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// The containers of each volume that has any.
pub(super) type Users = BTreeMap<VolumeName, BTreeSet<ContainerId>>;

/// A line of `/proc/PID/mountinfo` (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountLine {
    /// Of the file system.
    pub(super) device: String,
    /// What of the file system is mounted.
    pub(super) root: PathBuf,
    /// Where.
    pub(super) point: PathBuf,
}

pub(super) fn users(folder: &Path, state_dir: &Path, run_dir: &Path) -> Result<Users, VolumesError> {
    let mut users = Users::new();
    // Where there is no folder yet, nobody uses one.
    let Ok(folder) = folder.canonicalize() else { return Ok(users) };
    let Some(place) = place(&folder, &mounts("self")?) else { return Ok(users) };
    for (container, pid) in running(state_dir, run_dir).map_err(VolumesError::Containers)? {
        // One that has ended meanwhile uses nothing.
        let Ok(mounts) = mounts(&pid.to_string()) else { continue };
        for name in mounts.iter().filter_map(|mount| volume_of(mount, &place)) {
            users.entry(name).or_default().insert(container.clone());
        }
    }
    Ok(users)
}

/// A mount at or below `folder`, if there is one.
pub(super) fn mounted_within(folder: &Path) -> Result<Option<PathBuf>, VolumesError> {
    let folder =
        folder.canonicalize().map_err(|source| VolumesError::File { operation: "look at", path: folder.to_owned(), source })?;
    Ok(mounts("self")?.into_iter().map(|mount| mount.point).find(|point| point.starts_with(&folder)))
}

/// `folder` as its file system numbers and names it.
pub(super) fn place(folder: &Path, mounts: &[MountLine]) -> Option<(String, PathBuf)> {
    // The deepest mount holds it; of several at one place, the last one hides the others.
    let holder =
        mounts.iter().filter(|mount| folder.starts_with(&mount.point)).max_by_key(|mount| mount.point.as_os_str().len())?;
    let below = folder.strip_prefix(&holder.point).ok()?;
    Some((holder.device.clone(), holder.root.join(below)))
}

/// The volume of which `mount` shows something; `place` is where the volumes lie on their file system.
pub(super) fn volume_of(mount: &MountLine, place: &(String, PathBuf)) -> Option<VolumeName> {
    if mount.device != place.0 {
        return None;
    }
    let below = mount.root.strip_prefix(&place.1).ok()?;
    below.iter().next()?.to_str()?.parse().ok()
}

fn mounts(pid: &str) -> Result<Vec<MountLine>, VolumesError> {
    let path = PathBuf::from(format!("/proc/{pid}/mountinfo"));
    let text = std::fs::read(&path).map_err(|source| VolumesError::File { operation: "read", path, source })?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
pub(super) fn parse(line: &[u8]) -> Option<MountLine> {
    let mut fields = line.split(|byte| *byte == b' ').skip(2);
    let device = String::from_utf8(fields.next()?.to_vec()).ok()?;
    Some(MountLine { device, root: unescape(fields.next()?), point: unescape(fields.next()?) })
}

/// Space, tab, newline and backslash are written as `\040` and so on.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            Some(_) | None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}
