//! The container's root file system: an overlay of the image's layers and a folder of its own.
//!
//! Mounted in the shim's own mount namespace, so that the host never sees it and nothing is left to unmount: the mount
//! ends with the last process of the container. It lies in memory at a path that every user may walk, because root of a
//! user namespace is one of them; the host's own folders stay closed.
//!
//! With users of its own, the layers are seen through idmapped mounts (user 0 of the disk is user 0 of the container), and
//! the upper folder belongs to the container's root. Deliberately absent: an idmapped upper, which overlayfs refuses.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change, move_mount,
};

use crate::request::{Failure, FailureKind, Request, UserRange};
use crate::tree::Tree;

/// Folders that every system has and any user may walk. One of them is covered, in this process's mounts alone.
const PLACES: [&str; 4] = ["/mnt", "/srv", "/opt", "/tmp"];

/// Where the root, and what is to be mounted into it, is put together.
pub(crate) struct Workshop {
    place: &'static Path,
}

/// Makes this process's mounts its own. Changes of the host still come through, so that nothing is kept busy.
pub(crate) fn leave_host_mounts() -> Result<(), Failure> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(|error| Failure::new(FailureKind::Host, "making a mount namespace", &error))
}

/// The other half of [`leave_host_mounts`]: nothing that is mounted from now on gets out. What was cloned before it may.
pub(crate) fn close_to_host() -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|error| Failure::new(FailureKind::Host, "separating the mounts from the host's", &error))
}

/// The layers as the container's users are to see them. Fails when one of them lies on a file system that cannot.
pub(crate) fn map_layers(lowers: &[PathBuf], users: &File) -> Result<Vec<Tree>, (PathBuf, io::Error)> {
    let map = |lower: &PathBuf| {
        let tree = Tree::clone_of(lower, false).map_err(io::Error::from)?;
        tree.map_users(users)?;
        Ok(tree)
    };
    lowers.iter().map(|lower| map(lower).map_err(|error| (lower.clone(), error))).collect()
}

impl Workshop {
    /// Opens one where it hides nothing that is still needed.
    pub(crate) fn open(request: &Request) -> Result<Workshop, Failure> {
        let program = &request.monitor.program;
        let needed = |place: &Path| [&request.bundle, &request.run, program].iter().any(|path| path.starts_with(place));
        let usable = |place: &&Path| place.is_dir() && !needed(place);
        let place = PLACES.iter().map(Path::new).find(usable).ok_or_else(|| Failure {
            kind: FailureKind::Host,
            object: PLACES.join(", "),
            detail: "none of these folders is there to mount the container's root on".to_owned(),
        })?;
        let memory = || -> io::Result<()> {
            Tree::memory(None, 0o711, None, MountAttrFlags::MOUNT_ATTR_NOSUID)?.attach_at(place)?;
            fs::create_dir(place.join("root"))?;
            Ok(())
        };
        memory().map_err(|error| Failure::new(FailureKind::Host, place.to_string_lossy(), &error))?;
        Ok(Workshop { place })
    }

    /// Where the root is mounted.
    pub(crate) fn root(&self) -> PathBuf {
        self.place.join("root")
    }

    /// A name for something that is made there.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// A new file or folder to mount something on.
    pub(crate) fn spot(&self, name: &str, folder: bool) -> io::Result<PathBuf> {
        let path = self.place.join(name);
        if folder {
            fs::create_dir(&path)?
        } else {
            File::create_new(&path).map(drop)?
        }
        Ok(path)
    }

    /// Mounts the overlay of the layers: those in `mapped` if there are any, else the host's own.
    pub(crate) fn mount_root(&self, request: &Request, mapped: Option<(Vec<Tree>, UserRange)>) -> Result<(), Failure> {
        let (upper, target) = (request.bundle.join("upper"), self.root());
        let mount = || -> io::Result<()> {
            let mut lowers = request.lowers.clone();
            if let Some((trees, range)) = &mapped {
                for (number, (tree, lower)) in trees.iter().zip(&mut lowers).enumerate() {
                    *lower = self.spot(&number.to_string(), true)?;
                    tree.attach_at(lower)?;
                }
                give(&upper, *range)?;
            }
            Ok(overlay(request, &lowers, &target)?)
        };
        mount().map_err(|error| Failure::new(FailureKind::Root, target.to_string_lossy(), &error))
    }
}

/// Gives a folder that belongs to a user of the disk to the same user of the container.
fn give(folder: &Path, range: UserRange) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = folder.metadata()?;
    let mapped = |id: u32| range.host(id).unwrap_or(id);
    std::os::unix::fs::chown(folder, Some(mapped(metadata.uid())), Some(mapped(metadata.gid())))?;
    // A change of owner takes the setgid bit away.
    fs::set_permissions(folder, metadata.permissions())
}

fn overlay(request: &Request, lowers: &[PathBuf], target: &Path) -> rustix::io::Result<()> {
    if takes_layers_singly(&rustix::system::uname().release().to_string_lossy()) {
        overlay_by_layers(request, lowers, target)
    } else {
        overlay_by_mount(request, lowers, target)
    }
}

/// Whether overlayfs of a kernel of this release knows `lowerdir+`: from 6.8 on. Trying it out would leave a complaint in the
/// log of an older kernel at every start, and those before 6.5 refuse it only when all is put together.
fn takes_layers_singly(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 8)
}

/// Paths may be long and need no escapes.
fn overlay_by_layers(request: &Request, lowers: &[PathBuf], target: &Path) -> rustix::io::Result<()> {
    let (upper, work) = (request.bundle.join("upper"), request.bundle.join("work"));
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in lowers {
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
fn overlay_by_mount(request: &Request, lowers: &[PathBuf], target: &Path) -> rustix::io::Result<()> {
    let (common, names) = relative_to_common(lowers);
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
