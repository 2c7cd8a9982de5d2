//! What happens between fork and exec: rights are given up, and the folders of the work become visible. This crate's only unsafe code.
#![allow(unsafe_code, reason = "the one file of the crate that may")]

use crate::tools::User;
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::UnshareFlags;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use tokio::process::Command;

/// Where the folders of the work are seen, in the program's own mounts: every Linux has it, and every user may walk there, however closed
/// the folders above them are.
pub(crate) const STAGE: &CStr = c"/dev/shm";

/// What the child does before it becomes the program.
pub(crate) struct Child {
    /// Whom it becomes; absent: it stays who it is, and sees what is there.
    pub(crate) user: Option<User>,
    /// Folders of the host, and where below [`STAGE`] they are seen. Only with a user.
    pub(crate) folders: Vec<(CString, &'static CStr)>,
    /// Descriptors that the program inherits, under their numbers.
    pub(crate) inherited: Vec<OwnedFd>,
    /// Largest file that it may write, in bytes.
    pub(crate) file_max_bytes: u64,
}

/// Most folders of one program.
const FOLDERS_MAX: usize = 3;

/// Lets `command` start like that.
pub(crate) fn prepare(command: &mut Command, child: Child) {
    let act = move || child.become_program();
    // SAFETY: the closure makes system calls only. It takes no lock and no memory: everything that it needs lies in `child`, which was made
    // before the fork; its array of descriptors has a fixed size.
    unsafe { command.pre_exec(act) };
}

impl Child {
    fn become_program(&self) -> io::Result<()> {
        rustix::process::setsid()?;
        for fd in &self.inherited {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        }
        let limit = Some(self.file_max_bytes);
        rustix::process::setrlimit(Resource::Fsize, Rlimit { current: limit, maximum: limit })?;
        if let Some(user) = self.user {
            self.set_stage()?;
            rustix::thread::set_thread_groups(&[])?;
            let (uid, gid) = (user.raw_uid(), user.raw_gid());
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        }
        rustix::thread::set_no_new_privs(true)?;
        // Last: a change of user resets it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(())
    }

    /// Own mounts, in which the folders are below [`STAGE`].
    fn set_stage(&self) -> io::Result<()> {
        // SAFETY: the process has this one thread, and shares neither its files nor its working folder with another.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
        rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        let mut opened: [Option<OwnedFd>; FOLDERS_MAX] = [const { None }; FOLDERS_MAX];
        // Before anything is mounted: one of them may lie below the stage.
        for (slot, (path, _)) in opened.iter_mut().zip(&self.folders) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            *slot = Some(rustix::fs::open(path.as_c_str(), flags, Mode::empty())?);
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount(c"tmpfs", STAGE, c"tmpfs", flags, c"mode=0755,size=64k")?;
        for (folder, (_, seen)) in opened.iter().flatten().zip(&self.folders) {
            rustix::fs::mkdir(*seen, Mode::RUSR | Mode::XUSR)?;
            rustix::process::fchdir(folder)?;
            rustix::mount::mount_bind(c".", *seen)?;
        }
        rustix::process::chdir(c"/")?;
        Ok(())
    }
}
