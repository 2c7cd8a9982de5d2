//! The two helper programs: the shim as a sealed file in memory, the monitor by its path.
//!
//! A container's first process is, until it executes its command, a copy of the shim, and reachable from inside through
//! `/proc/self/exe`. Were that a file on the host's disk, a container could overwrite it and have its own code run as
//! root at the next start. A sealed memory file cannot be written by anybody, and one serves all starts.
//! The monitor is never visible inside a container, but as the init of those that have one: then it is sealed as well.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use super::error::RuntimeError;
use super::exec_request::EXEC_ARGUMENT;
use super::request::{MonitorConfig, ProcessId};

/// See the module's description.
pub(super) struct Helpers {
    shim: OwnedFd,
    monitor: PathBuf,
    /// The monitor, sealed: made for the first container that has it for its init.
    init: OnceLock<OwnedFd>,
}

impl Helpers {
    /// Finds both in `folder`, and seals a copy of the shim.
    pub(super) fn open(folder: &Path) -> Result<Helpers, RuntimeError> {
        let (shim, monitor) = (folder.join("coord-shim"), folder.join("coord-monitor"));
        let sealed = seal(&shim).map_err(|source| RuntimeError::Helper { path: shim, source })?;
        if let Err(source) = rustix::fs::access(&monitor, rustix::fs::Access::EXEC_OK) {
            return Err(RuntimeError::Helper { path: monitor, source: source.into() });
        }
        Ok(Helpers { shim: sealed, monitor, init: OnceLock::new() })
    }

    /// The program `coord-monitor`.
    pub(super) fn monitor(&self) -> &Path {
        &self.monitor
    }

    /// A path at which a shim can open the sealed monitor: inside a container, as its init, it must be no file of the host.
    pub(super) fn init(&self) -> io::Result<PathBuf> {
        let init = match self.init.get() {
            Some(init) => init,
            None => {
                let sealed = seal(&self.monitor)?;
                self.init.get_or_init(|| sealed)
            }
        };
        Ok(PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), init.as_raw_fd())))
    }

    /// Starts a shim that reads its request from `socket` and leaves its complaints in `stderr`.
    pub(super) fn spawn_shim(&self, socket: UnixStream, stderr: File) -> io::Result<Child> {
        Command::new(format!("/proc/self/fd/{}", self.shim.as_raw_fd()))
            .arg0("coord-shim")
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(socket))
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
    }

    /// Starts a shim that reads from `socket` which program to run in which container. What it has to complain of, it says there.
    pub(super) fn spawn_exec(&self, socket: UnixStream) -> io::Result<Child> {
        Command::new(format!("/proc/self/fd/{}", self.shim.as_raw_fd()))
            .arg0("coord-shim")
            .arg(EXEC_ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }

    /// Starts a monitor for a container that has lost its own.
    pub(super) fn spawn_monitor(&self, config: &MonitorConfig, run: &Path, init: ProcessId) -> io::Result<Child> {
        // Not the program by which it was started: that release may be gone.
        Command::new(&self.monitor)
            .arg0("coord-monitor")
            .args(config.arguments(run, init))
            .env_clear()
            .current_dir("/")
            // Of its own, so that a Ctrl-C in the agent's terminal does not reach it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }
}

fn seal(program: &Path) -> io::Result<OwnedFd> {
    let mut source = File::open(program)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = match memfd_create("coord-shim", flags | MemfdFlags::EXEC) {
        // Kernels before 6.3 do not know EXEC, and need not be asked.
        Err(Errno::INVAL) => memfd_create("coord-shim", flags)?,
        other => other?,
    };
    let mut copy = File::from(memory);
    io::copy(&mut source, &mut copy)?;
    fcntl_add_seals(copy.as_fd(), SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    // Executing a file that is open for writing fails with "text file busy".
    File::open(format!("/proc/self/fd/{}", copy.as_raw_fd())).map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::{AsFd, AsRawFd};
    use std::process::Command;

    use rustix::fs::{SealFlags, fcntl_get_seals};

    use super::seal;

    /// What a container would try that has the helper's binary as `/proc/self/exe`.
    #[test]
    fn a_sealed_program_runs_and_cannot_be_changed() {
        let program = seal("/bin/true".as_ref()).expect("a sealed copy");
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        let changed = File::options().write(true).open(&path).and_then(|mut file| file.write_all(b"hacked"));
        assert!(changed.is_err());
        let seals = fcntl_get_seals(program.as_fd()).expect("seals");
        assert!(seals.contains(SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE), "{seals:?}");
        assert!(Command::new(&path).status().expect("to be run").success());
    }
}
