//! A mounted root, through which all paths of the container are resolved.
//!
//! Whatever the image holds is hostile: every path is resolved inside the root (`pathrs`), and nothing of ours may be
//! mounted onto `/proc`, `/sys` or `/dev` by way of an image's symlink.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pathrs::flags::OpenFlags;
use pathrs::{Handle, Root};
use rustix::fs::CWD;

use crate::request::{Failure, FailureKind};

/// `/etc/passwd` and `/etc/group` are read up to here; more is refused. The largest seen in images are a few KiB.
const ACCOUNTS_MAX_BYTES: u64 = 1024 * 1024;

/// Mounts that belong to the kernel; nothing of the host may end up inside them.
const KERNEL_MOUNTS: [&str; 3] = ["proc", "sys", "dev"];

/// See the module's description.
pub(crate) struct ContainerRoot {
    root: Root,
    path: PathBuf,
}

impl ContainerRoot {
    pub(crate) fn open(path: PathBuf) -> Result<ContainerRoot, Failure> {
        let root = Root::open(&path).map_err(|error| Failure::new(FailureKind::Root, path.to_string_lossy(), &error))?;
        Ok(ContainerRoot { root, path })
    }

    /// The text of `/etc/passwd` or `/etc/group`; empty when the image has none.
    pub(crate) fn read_accounts(&self, file: &str) -> Result<String, Failure> {
        let failure = |error: &dyn std::error::Error| Failure::new(FailureKind::User, file, error);
        // Not to be blocked by a FIFO of this name.
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK | OpenFlags::O_CLOEXEC;
        let Ok(handle) = self.root.resolve(file) else {
            return Ok(String::new());
        };
        let opened = handle.reopen(flags).map_err(|error| failure(&error))?;
        read_text(opened, ACCOUNTS_MAX_BYTES).map_err(|error| failure(&error))
    }

    /// Makes the working directory when the image lacks it.
    pub(crate) fn make_working_directory(&self, folder: &Path) -> Result<(), Failure> {
        self.make_folder(folder).map_err(|error| Failure::new(FailureKind::WorkingDirectory, folder.to_string_lossy(), &error))
    }

    /// The place for a mount, made if the image lacks it: a folder or a plain file, not reached through a symlink that
    /// ends in a kernel mount.
    pub(crate) fn mount_target(&self, target: &Path, folder: bool) -> Result<Handle, Failure> {
        let failure = |error: &dyn std::error::Error| Failure::new(FailureKind::Mount, target.to_string_lossy(), error);
        let parent = if folder { target } else { target.parent().unwrap_or(Path::new("/")) };
        self.make_folder(parent).map_err(|error| failure(&error))?;
        self.refuse_kernel_mounts(parent).map_err(|error| failure(&error))?;
        if folder {
            return self.root.resolve(target).map_err(|error| failure(&error));
        }
        self.make_plain_file(target).map_err(|error| failure(&error))?;
        self.root.resolve_nofollow(target).map_err(|error| failure(&error))
    }

    /// What the image has at `path`, if that is a folder.
    pub(crate) fn folder(&self, path: &Path) -> Option<Handle> {
        self.root.resolve(path).ok().filter(is_folder)
    }

    fn make_folder(&self, folder: &Path) -> Result<(), pathrs::error::Error> {
        // One that exists may be reached through symlinks, which mkdir_all does not follow at its end.
        if self.root.resolve(folder).is_ok_and(|handle| is_folder(&handle)) {
            return Ok(());
        }
        self.root.mkdir_all(folder, &Permissions::from_mode(0o755)).map(drop)
    }

    fn refuse_kernel_mounts(&self, folder: &Path) -> io::Result<()> {
        let handle = self.root.resolve(folder).map_err(io::Error::other)?;
        let real = rustix::fs::readlinkat(CWD, format!("/proc/self/fd/{}", number(&handle)), Vec::new())?;
        let real = PathBuf::from(std::ffi::OsString::from(real.to_string_lossy().into_owned()));
        let inside = real.strip_prefix(&self.path).map_err(|_| io::Error::other("it lies outside of the root"))?;
        if KERNEL_MOUNTS.iter().any(|mount| inside.starts_with(mount)) {
            return Err(io::Error::other(format!("the image leads it to /{}", inside.display())));
        }
        Ok(())
    }

    /// Whatever else has this name (a dangling symlink, a device) is replaced: it would be hidden by the mount anyway.
    fn make_plain_file(&self, path: &Path) -> io::Result<()> {
        match self.root.resolve_nofollow(path) {
            Ok(handle) if is_plain_file(&handle) => return Ok(()),
            Ok(handle) if is_folder(&handle) => {
                return Err(io::Error::other("it is a folder in the image, and a file is mounted on it"));
            }
            Ok(_) => self.root.remove_all(path).map_err(io::Error::other)?,
            Err(_) => {}
        }
        let flags = OpenFlags::O_CREAT | OpenFlags::O_EXCL | OpenFlags::O_NOFOLLOW | OpenFlags::O_CLOEXEC;
        self.root.create_file(path, flags, &Permissions::from_mode(0o644)).map(drop).map_err(io::Error::other)
    }
}

fn number(handle: &Handle) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&handle.as_fd())
}

fn file_type(handle: &Handle) -> Option<rustix::fs::FileType> {
    rustix::fs::fstat(handle.as_fd()).ok().map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode))
}

fn is_folder(handle: &Handle) -> bool {
    file_type(handle) == Some(rustix::fs::FileType::Directory)
}

fn is_plain_file(handle: &Handle) -> bool {
    file_type(handle) == Some(rustix::fs::FileType::RegularFile)
}

fn read_text(file: File, max_bytes: u64) -> io::Result<String> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("larger than {max_bytes} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
