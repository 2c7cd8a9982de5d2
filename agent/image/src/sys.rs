//! The system calls that no library wraps: loop devices. The only file of this crate with `unsafe`.

#![allow(unsafe_code, reason = "the one file of this crate that may")]

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{self, Opcode};
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Between being told of a free device and taking it, another process may take it.
const TRIES: usize = 64;

const LOOP_CTL_GET_FREE: Opcode = 0x4c82;
const LOOP_CONFIGURE: Opcode = 0x4c0a;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;
const BLOCK_BYTES: u32 = 512;

/// A block device whose content is a file. It goes away with its last user.
pub(crate) struct LoopDevice {
    /// `/dev/loopN`.
    pub(crate) path: PathBuf,
    /// Keeps it until something else does, such as a mount.
    pub(crate) device: OwnedFd,
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// `struct loop_info64` of the same.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// A read-only loop device for a file, with 512-byte blocks. The kernel reads the file around the page cache where it can.
///
/// # Errors
/// When there are no loop devices here, none is free, or the kernel is older than 5.8.
pub(crate) fn loop_device(path: &Path) -> io::Result<LoopDevice> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let control = rustix::fs::open("/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for _ in 0..TRIES {
        // SAFETY: the call takes no argument, touches no memory, and returns a number.
        let number = unsafe { ioctl::ioctl(&control, GetFree) }?;
        let device_path = PathBuf::from(format!("/dev/loop{number}"));
        let device = rustix::fs::open(&device_path, flags, Mode::empty())?;
        let mut config = LoopConfig {
            fd: u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?,
            block_size: BLOCK_BYTES,
            info: LoopInfo::read_only(path),
            reserved: [0; 8],
        };
        match configure(&device, &mut config) {
            Ok(()) => return Ok(LoopDevice { path: device_path, device }),
            Err(rustix::io::Errno::BUSY) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(rustix::io::Errno::BUSY.into())
}

fn configure(device: impl AsFd, config: &mut LoopConfig) -> rustix::io::Result<()> {
    // SAFETY: the call reads one `struct loop_config`, whose layout `LoopConfig` has, and keeps no pointer to it.
    unsafe { ioctl::ioctl(device, ioctl::Updater::<LOOP_CONFIGURE, LoopConfig>::new(config)) }
}

impl LoopInfo {
    fn read_only(path: &Path) -> LoopInfo {
        // For people who list the devices; the end of a long path says more than its beginning.
        let name = path.as_os_str().as_bytes();
        let name = &name[name.len().saturating_sub(63)..];
        let mut file_name = [0; 64];
        file_name[..name.len()].copy_from_slice(name);
        LoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
            file_name,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// Asks for the number of a device that nobody uses.
struct GetFree;

// SAFETY: the opcode takes no argument, and its result is a number.
unsafe impl ioctl::Ioctl for GetFree {
    type Output = i32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: ioctl::IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(out)
    }
}
