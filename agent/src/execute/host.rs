//! What a container gets of the host itself: devices, limits of its processes, the program that runs it.

use super::{Executor, cdi};
use coord_runtime::{Backend, DeviceFile, Mount};
use coord_shared::document::{self, Device, RuntimeName};
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// A folder of devices (`/dev/snd`, `/dev/dri`) holds some dozen.
const FOLDER_MAX: usize = 128;
/// How deep such a folder is searched.
const FOLDER_DEPTH_MAX: usize = 3;

/// Where programs are looked for when the agent was started without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What devices bring along.
#[derive(Debug, Default)]
pub(super) struct HostParts {
    pub(super) devices: Vec<DeviceFile>,
    /// Behind the document's own.
    pub(super) mounts: Vec<Mount>,
    /// Stronger than the document's, as their specification asks.
    pub(super) env: Vec<(String, String)>,
    /// Beside the document's.
    pub(super) groups: Vec<String>,
}

impl Executor {
    /// The error is in words for the operator.
    pub(super) fn devices(&self, asked: &document::Container) -> Result<HostParts, String> {
        devices_of(asked)
    }

    /// By the kernel's names.
    pub(super) fn rlimits(&self, asked: &document::Container) -> Vec<(String, u64, u64)> {
        rlimits_of(asked)
    }

    /// The error is in words for the operator.
    pub(super) fn backend(&self, asked: &document::Container) -> Result<Backend, String> {
        backend_of(asked, self.default_runtime)
    }
}

pub(super) fn devices_of(asked: &document::Container) -> Result<HostParts, String> {
    let folders = cdi::FOLDERS.map(PathBuf::from);
    devices(&asked.devices, &folders)
}

pub(super) fn rlimits_of(asked: &document::Container) -> Vec<(String, u64, u64)> {
    let unlimited = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    let named = |name: &String| format!("RLIMIT_{}", name.to_ascii_uppercase());
    asked.ulimits.iter().map(|(name, limit)| (named(name), unlimited(limit.soft), unlimited(limit.hard))).collect()
}

pub(super) fn backend_of(asked: &document::Container, default: RuntimeName) -> Result<Backend, String> {
    let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
    backend(asked.runtime, default, &path)
}

fn devices(asked: &[Device], cdi_folders: &[PathBuf]) -> Result<HostParts, String> {
    let mut parts = HostParts::default();
    for device in asked {
        match device {
            Device::File { source, target, read, write } => {
                let file = DeviceFile { source: source.into(), target: target.into(), read: *read, write: *write };
                add_files(file, 0, &mut parts.devices)?;
            }
            Device::Cdi(_) => {}
        }
    }
    let named = asked.iter().filter_map(|device| match device {
        Device::Cdi(name) => Some(name.as_str()),
        Device::File { .. } => None,
    });
    cdi::add(named, cdi_folders, &mut parts).map_err(|error| crate::chain(&error))?;
    Ok(parts)
}

/// A device file, or those in a folder of them.
fn add_files(device: DeviceFile, depth: usize, files: &mut Vec<DeviceFile>) -> Result<(), String> {
    let shown = device.source.display().to_string();
    let kind = match fs::metadata(&device.source) {
        Ok(metadata) => metadata.file_type(),
        Err(error) => return Err(format!("device {shown} cannot be given to the container: {error}")),
    };
    if kind.is_block_device() || kind.is_char_device() {
        files.push(device);
        return if files.len() > FOLDER_MAX { Err(format!("more than {FOLDER_MAX} devices, with {shown}")) } else { Ok(()) };
    }
    if depth == 0 && !kind.is_dir() {
        return Err(format!("{shown} is neither a device file nor a folder of them; name a device, or mount it instead"));
    }
    if !kind.is_dir() || depth >= FOLDER_DEPTH_MAX {
        return Ok(()); // a socket or a link among devices
    }
    let failed = |error: std::io::Error| format!("cannot read the devices in {shown}: {error}");
    for entry in fs::read_dir(&device.source).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let inner = DeviceFile { source: device.source.join(&name), target: device.target.join(&name), ..device.clone() };
        // One that has gone meanwhile, or a link that leads nowhere.
        if inner.source.exists() {
            add_files(inner, depth + 1, files)?;
        }
    }
    Ok(())
}

fn backend(asked: Option<RuntimeName>, default: RuntimeName, path: &str) -> Result<Backend, String> {
    let name = match asked.unwrap_or(default) {
        RuntimeName::Embedded => return Ok(Backend::Embedded),
        RuntimeName::Crun => "crun",
        RuntimeName::Runc => "runc",
        RuntimeName::Runsc => "runsc",
    };
    let program = find_program(name, path).ok_or_else(|| {
        format!("runtime = \"{name}\": there is no program of this name in {path}; install it, or leave the key out")
    })?;
    Ok(Backend::External(program))
}

/// The first executable of this name along `path`.
pub(crate) fn find_program(name: &str, path: &str) -> Option<PathBuf> {
    let candidates = path.split(':').filter(|folder| folder.starts_with('/')).map(|folder| Path::new(folder).join(name));
    let is_program = |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    candidates.into_iter().find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_files_are_found_and_checked() {
        let check = |source: &str, expect: Result<&[&str], &str>| {
            let asked = [Device::File { source: source.to_owned(), target: "/dev/x".to_owned(), read: true, write: false }];
            match (devices(&asked, &[]), expect) {
                (Ok(parts), Ok(targets)) => {
                    let found = parts.devices.iter().map(|device| device.target.display().to_string()).collect::<Vec<_>>();
                    assert_eq!(found, targets);
                    assert!(parts.devices.iter().all(|device| device.read && !device.write));
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, expect) => panic!("{source}: {found:?}, expected {expect:?}"),
            }
        };
        check("/dev/null", Ok(&["/dev/x"]));
        check("/dev/no-such", Err("device /dev/no-such cannot be given to the container: No such file"));
        check("/etc/passwd", Err("/etc/passwd is neither a device file nor a folder"));
        // A folder with a device and something else.
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("zero")).expect("a link");
        std::os::unix::fs::symlink("/no/where", folder.path().join("gone")).expect("a link");
        fs::write(folder.path().join("text"), "").expect("a file");
        check(&folder.path().display().to_string(), Ok(&["/dev/x/zero"]));
    }

    #[test]
    fn the_runtime_is_the_documents_or_the_hosts() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("crun");
        fs::copy("/bin/true", &program).expect("a program");
        fs::write(folder.path().join("runc"), "not executable").expect("a file");
        let path = format!("relative:/no/such:{}", folder.path().display());
        let check = |asked: Option<RuntimeName>, default: RuntimeName, expect: Result<Backend, &str>| match (
            backend(asked, default, &path),
            expect,
        ) {
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (found, expect) => assert_eq!(found.ok(), expect.ok(), "{asked:?} {default:?}"),
        };
        check(None, RuntimeName::Embedded, Ok(Backend::Embedded));
        check(None, RuntimeName::Crun, Ok(Backend::External(program.clone())));
        check(Some(RuntimeName::Embedded), RuntimeName::Crun, Ok(Backend::Embedded));
        check(Some(RuntimeName::Crun), RuntimeName::Embedded, Ok(Backend::External(program.clone())));
        check(Some(RuntimeName::Runc), RuntimeName::Embedded, Err("runtime = \"runc\": there is no program of this name"));
    }
}
