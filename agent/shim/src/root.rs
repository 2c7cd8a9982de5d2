//! The container's root file system: an overlay of the image's layers, and the few files that must exist in it.
//!
//! Mounted in the shim's own mount namespace, so that the host never sees it and nothing is left to unmount: the mount
//! ends with the last process of the container. Whatever the image holds is hostile: every path is resolved inside the
//! root (`pathrs`), and nothing of ours may be mounted onto `/proc`, `/sys` or `/dev` by way of an image's symlink.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use pathrs::Root;
use pathrs::flags::OpenFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change, move_mount,
};

use crate::request::{Failure, FailureKind, Request};

/// `/etc/passwd` and `/etc/group` are read up to here; more is refused. The largest seen in images are a few KiB.
const ACCOUNTS_MAX_BYTES: u64 = 1024 * 1024;

/// Mounts that belong to the kernel; nothing of the host may end up inside them.
const KERNEL_MOUNTS: [&str; 3] = ["proc", "sys", "dev"];

/// Makes this process's mounts its own (changes of the host still come through, so that nothing is kept busy) and
/// mounts the overlay at `rootfs/` of the bundle.
pub(crate) fn mount_root(request: &Request) -> Result<PathBuf, Failure> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(|error| Failure::new(FailureKind::Host, "making a mount namespace", &error))?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|error| Failure::new(FailureKind::Host, "separating the mounts from the host's", &error))?;
    let target = request.bundle.join("rootfs");
    overlay(request, &target)
        .map_err(|error| Failure::new(FailureKind::Root, target.to_string_lossy(), &io::Error::from(error)))?;
    Ok(target)
}

fn overlay(request: &Request, target: &Path) -> rustix::io::Result<()> {
    if takes_layers_singly(&rustix::system::uname().release().to_string_lossy()) {
        overlay_by_layers(request, target)
    } else {
        overlay_by_mount(request, target)
    }
}

/// Whether overlayfs of a kernel of this release knows `lowerdir+`: from 6.8 on. Trying it out would leave a complaint in the
/// log of an older kernel at every start, and those before 6.5 refuse it only when all is put together.
fn takes_layers_singly(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 8)
}

/// Paths may be long and need no escapes.
fn overlay_by_layers(request: &Request, target: &Path) -> rustix::io::Result<()> {
    let (upper, work) = (request.bundle.join("upper"), request.bundle.join("work"));
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in &request.lowers {
        fsconfig_set_string(context.as_fd(), "lowerdir+", lower)?;
    }
    fsconfig_set_string(context.as_fd(), "source", "overlay")?;
    fsconfig_set_string(context.as_fd(), "upperdir", &upper)?;
    fsconfig_set_string(context.as_fd(), "workdir", &work)?;
    for (option, value) in [("redirect_dir", "nofollow"), ("metacopy", "off")] {
        fsconfig_set_string(context.as_fd(), option, value)?;
    }
    // Nothing that a container writes into its own layer outlives a crash of the host, so syncing it buys nothing.
    fsconfig_set_flag(context.as_fd(), "volatile")?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(mounted.as_fd(), c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// The same for older kernels. All options share one page of 4096 bytes, hence the short paths: the layers are named
/// from their common folder.
fn overlay_by_mount(request: &Request, target: &Path) -> rustix::io::Result<()> {
    let (common, names) = relative_to_common(&request.lowers);
    let escape = |path: &Path| path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
    let lowers = names.iter().map(|name| escape(name)).collect::<Vec<_>>().join(":");
    let options = format!(
        "lowerdir={lowers},upperdir={},workdir={},redirect_dir=nofollow,metacopy=off,volatile",
        escape(&request.bundle.join("upper")),
        escape(&request.bundle.join("work")),
    );
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::process::chdir(&common)?;
    let result = mount("overlay", target, "overlay", MountFlags::NODEV, options.as_c_str());
    rustix::process::chdir("/")?;
    result
}

/// The longest folder that all `paths` lie in, and the paths from there.
fn relative_to_common(paths: &[PathBuf]) -> (PathBuf, Vec<PathBuf>) {
    let mut common = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("/")).to_owned();
    while !paths.iter().all(|path| path.starts_with(&common)) {
        if !common.pop() {
            break;
        }
    }
    let names = paths.iter().map(|path| path.strip_prefix(&common).unwrap_or(path).to_owned()).collect();
    (common, names)
}

/// A mounted root, through which all paths of the container are resolved.
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

    /// Prepares the places where `spec` binds something of ours: plain files, not reached through a symlink that ends in
    /// a kernel mount.
    pub(crate) fn prepare_bind_targets(&self, spec: &Spec) -> Result<(), Failure> {
        let mounts = spec.mounts().iter().flatten();
        for mount in mounts.filter(|mount| mount.typ().as_deref() == Some("bind")) {
            let target = mount.destination();
            let failure = |error: &dyn std::error::Error| Failure::new(FailureKind::Root, target.to_string_lossy(), error);
            let source = mount.source().as_deref().unwrap_or(Path::new("/"));
            let parent = if source.is_dir() { target } else { target.parent().unwrap_or(Path::new("/")) };
            self.make_folder(parent).map_err(|error| failure(&error))?;
            self.refuse_kernel_mounts(parent).map_err(|error| failure(&error))?;
            if !source.is_dir() {
                self.make_plain_file(target).map_err(|error| failure(&error))?;
            }
        }
        Ok(())
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
    fn make_plain_file(&self, path: &Path) -> Result<(), pathrs::error::Error> {
        match self.root.resolve_nofollow(path) {
            Ok(handle) if is_plain_file(&handle) => return Ok(()),
            Ok(_) => self.root.remove_all(path)?,
            Err(_) => {}
        }
        let flags = OpenFlags::O_CREAT | OpenFlags::O_EXCL | OpenFlags::O_NOFOLLOW | OpenFlags::O_CLOEXEC;
        self.root.create_file(path, flags, &Permissions::from_mode(0o644)).map(drop)
    }
}

fn number(handle: &pathrs::Handle) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&handle.as_fd())
}

fn file_type(handle: &pathrs::Handle) -> Option<rustix::fs::FileType> {
    rustix::fs::fstat(handle.as_fd()).ok().map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode))
}

fn is_folder(handle: &pathrs::Handle) -> bool {
    file_type(handle) == Some(rustix::fs::FileType::Directory)
}

fn is_plain_file(handle: &pathrs::Handle) -> bool {
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

#[cfg(test)]
mod tests {
    use super::{relative_to_common, takes_layers_singly};
    use std::path::{Path, PathBuf};

    #[test]
    fn old_kernels_take_all_layers_at_once() {
        let check = |release: &str, singly: bool| assert_eq!(takes_layers_singly(release), singly, "{release}");
        check("5.15.0-101-generic", false);
        check("6.1.0-56-cloud-amd64", false);
        check("6.5.13", false);
        check("6.8.0-31-generic", true);
        check("6.12.117+deb12", true);
        check("7.2", true);
        check("unheard of", false);
    }

    #[test]
    fn layers_are_named_from_their_common_folder() {
        let check = |paths: &[&str], common: &str, names: &[&str]| {
            let paths = paths.iter().map(PathBuf::from).collect::<Vec<_>>();
            let names = names.iter().map(PathBuf::from).collect::<Vec<_>>();
            assert_eq!(relative_to_common(&paths), (Path::new(common).to_owned(), names));
        };
        check(&["/l/a/diff", "/l/b/diff"], "/l", &["a/diff", "b/diff"]);
        check(&["/l/a"], "/l", &["a"]);
        check(&["/l/a", "/k/b"], "/", &["l/a", "k/b"]);
    }
}
