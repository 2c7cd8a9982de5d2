//! Devices by name, as their vendors describe them in files on the host: the Container Device Interface
//! (github.com/cncf-tags/container-device-interface, SPEC.md, versions 0.3 to 1.0).
//!
//! `vendor.com/class=name` is looked up in `/etc/cdi`, then in `/var/run/cdi`, whose files are the stronger ones. What a file
//! says is merged into the container: device files, mounts, environment, groups. Files are read at each start that needs one:
//! vendors' tools rewrite them whenever hardware comes and goes. A file that cannot be used spoils only its own devices.
//! Deliberately absent: hooks (programs of the host, run as root at a start), RDT, network devices. A device that needs one of
//! these is refused in words.

mod yaml;

use super::host::HostParts;
use coord_runtime::{DeviceFile, Mount, MountSource, Propagation};
use serde::Deserialize;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Where files lie, the stronger folder last.
pub(super) const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// A file for a host with sixteen GPUs has some 100 KiB.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Of a folder. There is one for each vendor and class.
const FILES_MAX: usize = 256;
/// Of a container.
const EDITS_MAX: usize = 4096;
/// The version that the specification began with, and the one that changed what its files mean.
const VERSION_FIRST: (u32, u32) = (0, 3);
const VERSION_END: (u32, u32) = (2, 0);

/// Why a device cannot be given.
#[derive(Debug, thiserror::Error)]
pub(super) enum CdiError {
    #[error("device {name:?} is in none of the files in {folders}{unusable}; is its vendor's tool installed?")]
    NotFound { name: String, folders: String, unusable: String },
    #[error("device {name:?} is in {first} and {second}; remove one of them", first = .first.display(), second = .second.display())]
    Twice { name: String, first: PathBuf, second: PathBuf },
    #[error("device {name:?} of {file}: {what}", file = .file.display())]
    Refused { name: String, file: PathBuf, what: String },
    #[error("cannot read {path}", path = .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A file; what is unknown in it is passed over, as its specification asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CdiFile {
    cdi_version: String,
    /// `vendor.com/class`.
    kind: String,
    #[serde(default)]
    devices: Vec<CdiDevice>,
    /// For every device of the file.
    #[serde(default)]
    container_edits: Edits,
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CdiDevice {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// What is changed in a container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    mounts: Vec<CdiMount>,
    additional_gids: Vec<u32>,
    hooks: Vec<serde_json::Value>,
    intel_rdt: Option<serde_json::Value>,
    net_devices: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceNode {
    path: String,
    host_path: Option<String>,
    permissions: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CdiMount {
    host_path: String,
    container_path: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    options: Vec<String>,
}

/// Adds what the devices `names` bring along to `parts`.
pub(super) fn add<'a>(
    names: impl IntoIterator<Item = &'a str>,
    folders: &[PathBuf],
    parts: &mut HostParts,
) -> Result<(), CdiError> {
    let mut read = None;
    let mut used: Vec<PathBuf> = Vec::new();
    for name in names {
        let (files, unusable) = match &read {
            Some(read) => read,
            None => read.insert(read_all(folders)?),
        };
        let (file, device) = find(name, files, folders, unusable)?;
        let refused = |what: String| CdiError::Refused { name: name.to_owned(), file: file.path.clone(), what };
        // Once, however many of its devices are asked for.
        if !used.contains(&file.path) {
            file.container_edits.add_to(parts).map_err(refused)?;
            used.push(file.path.clone());
        }
        device.container_edits.add_to(parts).map_err(refused)?;
        if parts.devices.len() + parts.mounts.len() + parts.env.len() > EDITS_MAX {
            return Err(refused(format!("more than {EDITS_MAX} devices, mounts and variables")));
        }
    }
    Ok(())
}

/// The device of this name in the strongest folder that has it.
fn find<'a>(
    name: &str,
    files: &'a [Vec<CdiFile>],
    folders: &[PathBuf],
    unusable: &[String],
) -> Result<(&'a CdiFile, &'a CdiDevice), CdiError> {
    let (kind, device) = name.split_once('=').unwrap_or((name, ""));
    for folder in files.iter().rev() {
        let mut found = folder.iter().filter(|file| file.kind == kind).filter_map(|file| {
            let device = file.devices.iter().find(|known| known.name == device)?;
            Some((file, device))
        });
        match (found.next(), found.next()) {
            (None, _) => {}
            (Some(found), None) => return Ok(found),
            (Some((first, _)), Some((second, _))) => {
                let (first, second) = (first.path.clone(), second.path.clone());
                return Err(CdiError::Twice { name: name.to_owned(), first, second });
            }
        }
    }
    let folders = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(" and ");
    let unusable = unusable.iter().map(|file| format!("; {file}")).collect();
    Err(CdiError::NotFound { name: name.to_owned(), folders, unusable })
}

/// The files of each folder, and in words those that cannot be used.
type ReadFiles = (Vec<Vec<CdiFile>>, Vec<String>);

fn read_all(folders: &[PathBuf]) -> Result<ReadFiles, CdiError> {
    let (mut all, mut unusable) = (Vec::new(), Vec::new());
    for folder in folders {
        let mut files = Vec::new();
        for path in list(folder)? {
            match read(&path) {
                Ok(file) => files.push(file),
                Err(what) => {
                    tracing::warn!(file = %path.display(), what, "passing over a file of devices");
                    unusable.push(format!("{} cannot be used: {what}", path.display()));
                }
            }
        }
        all.push(files);
    }
    Ok((all, unusable))
}

/// The files of a folder that have one of the endings, in order; none where there is no such folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>, CdiError> {
    let failed = |source| CdiError::Read { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "json" || ending == "yaml") {
            paths.push(path);
        }
        if paths.len() > FILES_MAX {
            return Err(failed(io::Error::other(format!("it has more than {FILES_MAX} files"))));
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<CdiFile, String> {
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(format!("it is larger than {FILE_MAX_BYTES} bytes"));
    }
    let is_json = path.extension().is_some_and(|ending| ending == "json");
    let parsed = if is_json { serde_json::from_str(&text) } else { serde_json::from_value(yaml::parse(&text)?) };
    let mut file: CdiFile = parsed.map_err(|error| error.to_string())?;
    let mut numbers = file.cdi_version.split('.').map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < VERSION_FIRST || version >= VERSION_END {
        return Err(format!("its cdiVersion {:?} is not one from 0.3 to 1.x", file.cdi_version));
    }
    file.path = path.to_owned();
    Ok(file)
}

impl Edits {
    fn add_to(&self, parts: &mut HostParts) -> Result<(), String> {
        for (is_asked, what) in [
            (!self.hooks.is_empty(), "hooks, which are programs of the host"),
            (self.intel_rdt.is_some(), "Intel RDT"),
            (!self.net_devices.is_empty(), "network devices"),
        ] {
            if is_asked {
                return Err(format!(
                    "it needs {what}, and these are not run here; choose runtime = \"crun\" and another tool, or a file without them"
                ));
            }
        }
        for node in &self.device_nodes {
            parts.devices.push(node.device_file()?);
        }
        for mount in &self.mounts {
            parts.mounts.push(mount.mount()?);
        }
        for variable in &self.env {
            let (name, value) = variable.split_once('=').ok_or_else(|| format!("its variable {variable:?} is not NAME=VALUE"))?;
            parts.env.push((name.to_owned(), value.to_owned()));
        }
        parts.groups.extend(self.additional_gids.iter().filter(|gid| **gid != 0).map(u32::to_string));
        Ok(())
    }
}

impl DeviceNode {
    fn device_file(&self) -> Result<DeviceFile, String> {
        let may = |letter| self.permissions.as_deref().unwrap_or("rwm").contains(letter);
        let source = self.host_path.as_ref().filter(|path| !path.is_empty()).unwrap_or(&self.path);
        Ok(DeviceFile { source: absolute(source)?.into(), target: absolute(&self.path)?.into(), read: may('r'), write: may('w') })
    }
}

impl CdiMount {
    fn mount(&self) -> Result<Mount, String> {
        let has = |words: &[&str]| self.options.iter().any(|option| words.contains(&option.as_str()));
        let source = match self.kind.as_deref() {
            None | Some("" | "bind" | "none" | "rbind") => {
                let propagation = if has(&["shared", "rshared"]) {
                    Propagation::Shared
                } else if has(&["slave", "rslave"]) {
                    Propagation::Slave
                } else {
                    Propagation::Private
                };
                MountSource::Bind { path: absolute(&self.host_path)?.into(), propagation }
            }
            Some("tmpfs") => MountSource::Tmpfs { size_bytes: None, mode: 0o1777 },
            Some(other) => return Err(format!("it needs a mount of type {other:?} at {}", self.container_path)),
        };
        Ok(Mount { target: absolute(&self.container_path)?.to_owned(), source, read_only: has(&["ro"]) })
    }
}

fn absolute(path: &str) -> Result<&str, String> {
    if path.starts_with('/') && !path.split('/').any(|part| part == "..") {
        Ok(path)
    } else {
        Err(format!("its path {path:?} is not an absolute one"))
    }
}

#[cfg(test)]
mod tests;
