//! Folders of the container itself that are to be published: can another container see them as they are, or is a copy to be made?

use super::words::refusal;
use coord_shared::wire::ErrorBody;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// How a folder is published.
pub(super) enum Published {
    /// As it is.
    Live,
    /// As a copy, and why; in words.
    Copy(String),
    /// The same, of what the kernel shows as files: read without rights, because it would tell the agent what it tells no container.
    CopyOfKernels(String),
}

/// File systems that hold no files, but the kernel's interfaces; by their magic numbers (`linux/magic.h`).
const KERNELS: [(u32, &str); 18] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x1cd1, "devpts"),
    (0x1980_0202, "mqueue"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0xf97c_ff8c, "selinuxfs"),
    (0xcafe_4a11, "bpf"),
    (0x6165_676c, "pstore"),
    (0xde5e_81e4, "efivarfs"),
    (0x6573_5546, "fusectl"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x6265_6570, "configfs"),
    (0x6e73_6673, "nsfs"),
    (0x0187, "autofs"),
];
/// What every container has there is the runtime's.
const DEVICES: &str = "/dev";
/// The way to the agent.
const DOOR: &str = "/run/coord";

/// The folder `path`, as whoever has the root folder `root` sees it: links lead nowhere out of it.
pub(super) fn open(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, ErrorBody> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(
        |error| {
            let name = |code: &str, message: String, hint: &str| refusal(code, message, Some(hint.to_owned()));
            match error {
                rustix::io::Errno::NOENT => {
                    name("no_such_folder", format!("there is no folder {path} in this container"), "make it first")
                }
                rustix::io::Errno::NOTDIR => name(
                    "not_a_folder",
                    format!("{path} is no folder"),
                    "publish the folder that it is in, or put it into a cache",
                ),
                other => name(
                    "invalid_request",
                    format!("the folder {path} cannot be opened: {}", io::Error::from(other)),
                    "publish another one, or put files into a cache",
                ),
            }
        },
    )
}

/// How the open folder `folder`, asked for as `path`, is published. `obstacle` is what the runtime says.
pub(super) fn judge(root: BorrowedFd<'_>, folder: BorrowedFd<'_>, path: &str, obstacle: Option<String>) -> io::Result<Published> {
    if let Some(kind) = kernels(folder)? {
        return Ok(Published::CopyOfKernels(format!("{path} is the kernel's ({kind}): what it shows is a copy")));
    }
    for special in [DEVICES, DOOR] {
        if is_in(root, folder, special)? {
            return Ok(Published::CopyOfKernels(format!(
                "{path} lies in {special}, which other containers do not see: they see a copy"
            )));
        }
    }
    Ok(match obstacle {
        Some(obstacle) => Published::Copy(format!("{path} {obstacle}: what it shows is a copy, without what is mounted in it")),
        None => Published::Live,
    })
}

/// Which of the kernel's file systems a folder is on, if any.
pub(super) fn kernels(folder: BorrowedFd<'_>) -> io::Result<Option<&'static str>> {
    let magic = rustix::fs::fstatfs(folder)?.f_type;
    Ok(KERNELS.into_iter().find(|(known, _)| i64::from(*known) == magic).map(|(_, name)| name))
}

/// Whether an open folder is `place`, or below it: up from folder to folder, as no link can hide.
fn is_in(root: BorrowedFd<'_>, folder: BorrowedFd<'_>, place: &str) -> io::Result<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(place) = rustix::fs::openat2(root, place, flags, Mode::empty(), resolve) else { return Ok(false) };
    let identity = |folder: BorrowedFd<'_>| rustix::fs::fstat(folder).map(|stat| (stat.st_dev, stat.st_ino));
    let (place, top) = (identity(place.as_fd())?, identity(root)?);
    let mut here = rustix::fs::openat(folder, ".", flags, Mode::empty())?;
    for _ in 0..coord_cache::DEPTH_MAX {
        let this = identity(here.as_fd())?;
        if this == place {
            return Ok(true);
        }
        if this == top {
            return Ok(false);
        }
        here = rustix::fs::openat(&here, "..", flags, Mode::empty())?;
    }
    Ok(false)
}
