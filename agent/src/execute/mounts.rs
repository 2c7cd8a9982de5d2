//! A container's mounts: volumes, files and folders of the host, memory. The document's own, and the volumes that its image declares.

use super::Executor;
use crate::volumes::{Origin, Volumes, own_name};
use coord_image::Image;
use coord_runtime::{Mount, MountSource, Propagation};
use coord_shared::document;
use coord_shared::names::{ContainerId, VolumeName};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Permissions of a tmpfs whose document says none (Docker's and Compose's default).
const TMPFS_MODE: u32 = 0o1777;

impl Executor {
    /// What is mounted into `container`, what lies within another mount behind it. Volumes that are not there yet are made. The error is
    /// in words for the operator.
    pub(super) async fn mounts(
        &self,
        container: &ContainerId,
        asked: &document::Container,
        image: &Image,
    ) -> Result<Vec<Mount>, String> {
        let declared = image.config.config().as_ref().and_then(|config| config.volumes().clone()).unwrap_or_default();
        let wanted = wanted(&asked.mounts, &declared);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let (volumes, container, labels) = (self.volumes.clone(), container.clone(), asked.labels.clone());
        let made = tokio::task::spawn_blocking(move || make(volumes, &wanted, &container, labels));
        made.await.map_err(|_| "volumes cannot be mounted: the agent is ending".to_owned())?
    }
}

/// What these mounts are made of on this host. Blocks.
pub(super) fn make(
    volumes: Volumes,
    wanted: &[document::Mount],
    container: &ContainerId,
    labels: BTreeMap<String, String>,
) -> Result<Vec<Mount>, String> {
    let origin = Origin { instance: container.instance.clone(), anonymous: false, labels };
    let host = Host { volumes };
    wanted.iter().map(|mount| host.mount(mount, container, &origin)).collect()
}

/// The document's mounts, and one for each volume that the image declares where the document mounts nothing; sorted by target.
fn wanted(asked: &[document::Mount], declared: &[String]) -> Vec<document::Mount> {
    let mut wanted = asked.to_vec();
    for target in declared {
        // An image's mistake is not its operator's: what cannot be a volume stays a folder of the image.
        let Ok(target) = document::mount_target(target) else { continue };
        if wanted.iter().all(|mount| mount.target != target) {
            wanted.push(document::Mount { target, source: document::MountSource::Anonymous, read_only: false });
        }
    }
    wanted.sort_by(|a, b| a.target.cmp(&b.target));
    wanted
}

/// What mounts are made of.
struct Host {
    volumes: Volumes,
}

impl Host {
    fn mount(&self, wanted: &document::Mount, container: &ContainerId, origin: &Origin) -> Result<Mount, String> {
        let volume = |name: &VolumeName, no_copy: bool, anonymous: bool| {
            let origin = Origin { anonymous, ..origin.clone() };
            let path = self.volumes.claim(name, container, &origin).map_err(|error| crate::chain(&error))?;
            Ok::<_, String>(MountSource::Volume { path, copy_up: !no_copy })
        };
        let source = match &wanted.source {
            document::MountSource::Volume { name, no_copy } => volume(name, *no_copy, false)?,
            document::MountSource::Anonymous => {
                let name = own_name(&container.instance, &wanted.target).map_err(|error| crate::chain(&error))?;
                volume(&name, false, true)?
            }
            document::MountSource::Bind { path, propagation } => {
                MountSource::Bind { path: self.bind_source(Path::new(path))?, propagation: propagation_of(*propagation) }
            }
            document::MountSource::Tmpfs { size, mode } => {
                MountSource::Tmpfs { size_bytes: size.map(|size| size.0), mode: mode.unwrap_or(TMPFS_MODE) }
            }
        };
        Ok(Mount { target: wanted.target.clone(), source, read_only: wanted.read_only })
    }

    /// The file or folder itself, behind all symbolic links.
    fn bind_source(&self, path: &Path) -> Result<PathBuf, String> {
        let real = path.canonicalize().map_err(|error| missing(path, &error))?;
        let named = if real == path { path.display().to_string() } else { format!("{} ({})", path.display(), real.display()) };
        for own in self.volumes.own_folders() {
            // One that is not there holds nothing.
            let Ok(own) = own.canonicalize() else { continue };
            let is_volumes =
                self.volumes.folder().canonicalize().is_ok_and(|volumes| real != volumes && real.starts_with(volumes));
            if real.starts_with(&own) && !is_volumes {
                return Err(format!("{named} lies in the agent's own folder {}; mount something else", own.display()));
            }
        }
        Ok(real)
    }
}

fn missing(path: &Path, error: &io::Error) -> String {
    let (kind, is_link, path) = (error.kind(), path.is_symlink(), path.display());
    if kind == io::ErrorKind::NotFound && is_link {
        format!("{path} is a symbolic link to what is not there; mend it, or mount something else")
    } else if kind == io::ErrorKind::NotFound {
        format!("{path} is not on this host; make it, or mount a volume with a name, which is made by itself")
    } else if kind == io::ErrorKind::NotADirectory {
        format!("{path} is not on this host: a part of it is a file; mend the path")
    } else {
        format!("{path} cannot be mounted: {error}")
    }
}

fn propagation_of(asked: document::Propagation) -> Propagation {
    match asked {
        document::Propagation::Rprivate => Propagation::Private,
        document::Propagation::Rslave => Propagation::Slave,
        document::Propagation::Rshared => Propagation::Shared,
    }
}

#[cfg(test)]
mod tests;
