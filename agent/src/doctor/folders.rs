//! Where things lie: the file systems of `state_dir` and `run_dir`, and their room.

use super::Check;
use crate::config::Config;
use coord_shared::quantity::ByteSize;
use rustix::fs::{StatVfsMountFlags, XattrFlags};
use std::path::{Path, PathBuf};

/// Below this share of its inodes a file system is nearly full, whatever its bytes say.
const INODES_MIN_PERCENT: u64 = 5;
/// File systems by their number (linux/magic.h), with what an agent should know of them.
const KINDS: [(u64, &str); 9] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (TMPFS, "tmpfs"),
    (OVERLAY, "overlay"),
    (NFS, "nfs"),
    (0x0102_1997, "9p"),
];
const TMPFS: u64 = 0x0102_1994;
const OVERLAY: u64 = 0x794c_7630;
const NFS: u64 = 0x6969;

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let mut checks = Vec::new();
    let (state, run) = (existing(&config.state_dir), existing(&config.run_dir));
    checks.push(state_kind(config, &state));
    checks.extend(attributes(config, &state));
    checks.extend(room(config, &state));
    checks.push(run_kind(config, &run));
    checks
}

/// The folder itself, or the nearest one above it that is there: that is where it will be made.
pub(super) fn existing(folder: &Path) -> PathBuf {
    folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn state_kind(config: &Config, at: &Path) -> Check {
    let what = format!("state_dir {}", config.state_dir.display());
    let Some((magic, name)) = kind(at) else {
        return Check::problem(what, "cannot be looked at", "the agent does not start").cure("choose another state_dir");
    };
    let flags = rustix::fs::statvfs(at).map_or(StatVfsMountFlags::empty(), |stat| stat.f_flag);
    let needs_a_disk = "put state_dir onto a disk of this host (ext4, xfs)";
    if flags.contains(StatVfsMountFlags::RDONLY) {
        return Check::problem(what, format!("{name}, mounted read-only"), "the agent does not start").cure("mount it writable");
    }
    if flags.contains(StatVfsMountFlags::NOEXEC) {
        return Check::problem(what, format!("{name}, mounted noexec"), "no program of an image can be run")
            .cure("mount it without noexec");
    }
    match magic {
        OVERLAY => Check::problem(what, name, "an overlay cannot be stacked on an overlay: no container starts").cure(needs_a_disk),
        NFS => Check::problem(what, name, "overlayfs takes no upper layer there: no container starts").cure(needs_a_disk),
        TMPFS => Check::note(what, name, "images and what containers write take memory, and are gone after a reboot; without a coordinator, so is what should run")
            .cure(needs_a_disk),
        _ if flags.contains(StatVfsMountFlags::NOSUID) => {
            Check::note(what, format!("{name}, mounted nosuid"), "programs like sudo do not work in containers").cure("mount it without nosuid")
        }
        _ => Check::ok(what, name),
    }
}

/// A file's capabilities and overlayfs's own notes are extended attributes. Tried on a file without a name.
fn attributes(config: &Config, at: &Path) -> Option<Check> {
    let file = tempfile::tempfile_in(at).ok()?;
    let error = rustix::fs::fsetxattr(&file, "trusted.coord", b"1", XattrFlags::empty()).err()?;
    let what = format!("state_dir {}", config.state_dir.display());
    let cost = "overlayfs cannot keep its notes: files that a container removes may come back";
    Some(Check::problem(what, format!("takes no extended attributes: {error}"), cost).cure("use ext4 or xfs, as root"))
}

fn room(config: &Config, at: &Path) -> Option<Check> {
    let stat = rustix::fs::statvfs(at).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let (free, used) = (bytes(stat.f_bavail), bytes(stat.f_blocks.saturating_sub(stat.f_bfree)));
    let percent = used.saturating_mul(100).checked_div(used.saturating_add(free)).unwrap_or(0);
    let images = &config.images;
    let marks = format!("removes unused images above {} %", images.high_water_percent);
    let reserve = ByteSize(images.reserve_bytes).human();
    let found = format!("{} free, {percent} % used; {marks}, keeps {reserve} in reserve", ByteSize(free).human());
    let what = "room for images";
    let few_inodes = stat.f_files > 0 && stat.f_favail.saturating_mul(100) / stat.f_files < INODES_MIN_PERCENT;
    Some(if free <= images.reserve_bytes {
        Check::problem(what, found, "no image can be pulled; what runs goes on")
            .cure("make room, `coord-agent image prune --all`, or lower images.reserve in agent.toml")
    } else if few_inodes {
        Check::problem(what, format!("{found}; {} inodes left", stat.f_favail), "files can hardly be created any more")
            .cure("remove files that are not needed; layers that are kept as directories take one inode for each file")
    } else if percent >= u64::from(images.high_water_percent) {
        Check::note(what, found, "images go as soon as nothing uses them, so that a rollback has to pull again")
            .cure("make room, or raise images.high_water in agent.toml")
    } else {
        Check::ok(what, found)
    })
}

fn run_kind(config: &Config, at: &Path) -> Check {
    let what = format!("run_dir {}", config.run_dir.display());
    match kind(at) {
        Some((TMPFS, name)) => Check::ok(what, name),
        Some((_, name)) => Check::note(what, name, "each change of a container's state is written to a disk")
            .cure("choose a run_dir in memory: /run, where that is a tmpfs"),
        None => Check::problem(what, "cannot be looked at", "the agent does not start").cure("choose another run_dir"),
    }
}

fn kind(at: &Path) -> Option<(u64, String)> {
    // The kernel's number, in whichever width this machine's C library has it.
    let magic = u64::try_from(rustix::fs::statfs(at).ok()?.f_type).ok()? & 0xffff_ffff;
    let name = KINDS.iter().find(|(known, _)| *known == magic).map(|(_, name)| (*name).to_owned());
    Some((magic, name.unwrap_or_else(|| format!("a file system with the number {magic:#x}"))))
}
