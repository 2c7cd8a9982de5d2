//! What the operator mounts into a container: volumes, files and folders of the host, memory, devices, folders of its parent.
//!
//! Everything is opened on the host's side first, before anything is covered, and put to its place when the root is there.
//! Below `/dev`, which is made by whoever runs the container, it is laid aside and named in `config.json` instead.
//! Deliberately absent: targets in `/proc` and `/sys`, which the agent refuses.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, chmodat, chownat, makedev, mknodat};
use rustix::mount::MountAttrFlags;

use crate::container_root::ContainerRoot;
use crate::copy_up;
use crate::parent::ParentContainer;
use crate::request::{BindPropagation, DeviceNode, Failure, FailureKind, MountFrom, MountRequest, UserRange};
use crate::root::Workshop;
use crate::tree::{NO_RIGHTS, Tree};

/// Folders there are the runtime's to make.
const DEVICES: &str = "/dev";

/// A mount whose source is open. Memory is made when it is put to its place.
pub(crate) struct Source<'a> {
    request: &'a MountRequest,
    tree: Option<Tree>,
}

/// Why sources cannot be opened.
pub(crate) enum OpenError {
    /// The file system of one cannot show other owners.
    CannotMap(PathBuf, io::Error),
    /// Another reason.
    Failed(Failure),
}

/// Something that is mounted by whoever runs the container.
pub(crate) struct Aside {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) options: Vec<String>,
}

/// Opens the sources of all mounts, as the users of `users` are to see them.
pub(crate) fn open<'a>(
    requests: &'a [MountRequest],
    users: Option<&File>,
    parent: Option<&ParentContainer>,
) -> Result<Vec<Source<'a>>, OpenError> {
    requests.iter().map(|request| open_one(request, users, parent)).collect()
}

fn open_one<'a>(
    request: &'a MountRequest,
    users: Option<&File>,
    parent: Option<&ParentContainer>,
) -> Result<Source<'a>, OpenError> {
    let (path, tree, propagation) = match &request.source {
        MountFrom::Tmpfs { .. } => return Ok(Source { request, tree: None }),
        MountFrom::Parents { path } => return open_parents(request, path, parent).map_err(OpenError::Failed),
        MountFrom::Volume { path, .. } => (path, Tree::clone_of(path, true), BindPropagation::Private),
        MountFrom::Bind { path, propagation } => (path, Tree::clone_exactly(path), *propagation),
    };
    let failed = |error: io::Error| OpenError::Failed(failure(request, format!("{}: {error}", path.display())));
    let tree = tree.map_err(|error| failed(error.into()))?;
    if let Some(users) = users {
        tree.map_users(users).map_err(|error| OpenError::CannotMap(path.clone(), error))?;
    }
    restrict(request, &tree, propagation).map_err(failed)?;
    Ok(Source { request, tree: Some(tree) })
}

/// A folder of the parent. Its owners are shown as they are to be already: the users are the same.
fn open_parents<'a>(request: &'a MountRequest, path: &Path, parent: Option<&ParentContainer>) -> Result<Source<'a>, Failure> {
    let failed = |what: String| failure(request, format!("{}: {what}", path.display()));
    let parent = parent.ok_or_else(|| failed("it has no parent".to_owned()))?;
    let tree = parent.clone_tree(path).map_err(failed)?;
    restrict(request, &tree, BindPropagation::Private).map_err(|error| failed(error.to_string()))?;
    Ok(Source { request, tree: Some(tree) })
}

fn restrict(request: &MountRequest, tree: &Tree, propagation: BindPropagation) -> io::Result<()> {
    let read_only = if request.read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
    tree.restrict(NO_RIGHTS | read_only)?;
    tree.propagate(propagation)
}

/// Fills the volumes that are to be filled from the image.
pub(crate) fn fill(requests: &[MountRequest], root: &ContainerRoot, users: Option<UserRange>) -> Result<(), Failure> {
    for request in requests {
        if let MountFrom::Volume { path, copy_up: true } = &request.source
            && let Some(folder) = root.folder(&request.target)
        {
            copy_up::fill(path, folder.as_fd(), users).map_err(|error| failure(request, format!("filling it: {error}")))?;
        }
    }
    Ok(())
}

/// Puts everything to its place. Returns what is left to whoever runs the container.
pub(crate) fn attach(
    sources: Vec<Source<'_>>,
    root: &ContainerRoot,
    workshop: &Workshop,
    users: Option<UserRange>,
) -> Result<Vec<Aside>, Failure> {
    let mut aside = Vec::new();
    for (number, Source { request, tree }) in sources.into_iter().enumerate() {
        let failed = |error: io::Error| failure(request, error.to_string());
        let tree = match (tree, &request.source) {
            (Some(tree), _) => tree,
            (None, MountFrom::Tmpfs { size_bytes, mode }) => memory(*size_bytes, *mode, request, users).map_err(failed)?,
            (None, MountFrom::Volume { .. } | MountFrom::Bind { .. } | MountFrom::Parents { .. }) => continue,
        };
        let folder = tree.is_folder().map_err(|error| failed(error.into()))?;
        if request.target.starts_with(DEVICES) {
            let source = workshop.spot(&format!("aside-{number}"), folder).map_err(failed)?;
            tree.attach_at(&source).map_err(|error| failed(error.into()))?;
            let options = ["rbind", "nosuid", "nodev", if request.read_only { "ro" } else { "rw" }].map(str::to_owned).to_vec();
            aside.push(Aside { source, target: request.target.clone(), options });
        } else {
            let target = root.mount_target(&request.target, folder)?;
            tree.attach(target.as_fd()).map_err(|error| failed(error.into()))?;
        }
    }
    Ok(aside)
}

fn memory(size_bytes: Option<u64>, mode: u32, request: &MountRequest, users: Option<UserRange>) -> io::Result<Tree> {
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, request.read_only);
    let tree = Tree::memory(size_bytes, mode, users, attributes)?;
    tree.propagate(BindPropagation::Private)?;
    Ok(tree)
}

/// Makes device files, owned by the same users of the container as they are of the host.
pub(crate) fn make_devices(devices: &[DeviceNode], workshop: &Workshop, users: Option<UserRange>) -> Result<Vec<Aside>, Failure> {
    let make = |(number, device): (usize, &DeviceNode)| {
        let make = || -> io::Result<PathBuf> {
            let path = workshop.path(&format!("device-{number}"));
            let kind = if device.block { FileType::BlockDevice } else { FileType::CharacterDevice };
            mknodat(CWD, &path, kind, Mode::empty(), makedev(device.major, device.minor))?;
            let mapped = |id: u32| users.map_or(id, |range| range.host(id).unwrap_or(range.first));
            let owner = (Uid::from_raw(mapped(device.uid)), Gid::from_raw(mapped(device.gid)));
            chownat(CWD, &path, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
            chmodat(CWD, &path, Mode::from_raw_mode(device.mode), AtFlags::empty())?;
            Ok(path)
        };
        let source = make().map_err(|error| Failure::new(FailureKind::Mount, device.target.to_string_lossy(), &error))?;
        let options = ["bind", "nosuid", "noexec"].map(str::to_owned).to_vec();
        Ok(Aside { source, target: device.target.clone(), options })
    };
    devices.iter().enumerate().map(make).collect()
}

/// The host's `/sys`, read-only and without what is mounted in it: for a container that has users of its own and the host's
/// network, and therefore may not mount one.
pub(crate) fn host_sysfs(workshop: &Workshop) -> Result<Aside, Failure> {
    let make = || -> io::Result<PathBuf> {
        let tree = Tree::clone_of(Path::new("/sys"), false)?;
        tree.restrict(NO_RIGHTS | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC)?;
        let source = workshop.spot("sys", true)?;
        tree.attach_at(&source)?;
        Ok(source)
    };
    let source = make().map_err(|error| Failure::new(FailureKind::Mount, "/sys", &error))?;
    let options = ["bind", "ro", "nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
    Ok(Aside { source, target: PathBuf::from("/sys"), options })
}

fn failure(request: &MountRequest, detail: String) -> Failure {
    Failure { kind: FailureKind::Mount, object: request.target.to_string_lossy().into_owned(), detail }
}
