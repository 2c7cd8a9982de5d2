//! The places where safe wrappers fall short. The runtime's only unsafe code.
#![allow(unsafe_code, reason = "the one file of the runtime that may")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Sends a signal to the process behind a pidfd: any signal, where rustix knows only those that have a name.
pub(super) fn send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: plain numbers and a null pointer, which stands for the usual information.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, no_info, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Registers a descriptor for waiting until it can be read.
pub(super) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open as long as it lives, always names the same descriptor, and is given away here.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// One instruction of eBPF, as the kernel lays it out (`struct bpf_insn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct BpfInstruction {
    /// What to do.
    pub(super) code: u8,
    /// With which registers: the one that changes in the lower half.
    pub(super) registers: u8,
    /// How far to jump, or where to read.
    pub(super) offset: i16,
    /// The kernel takes it for signed, which makes no difference to what 32-bit operations do.
    pub(super) value: u32,
}

impl BpfInstruction {
    /// An instruction that changes register `to`.
    pub(super) const fn new(code: u8, to: u8, from: u8, offset: i16, value: u32) -> BpfInstruction {
        // The kernel's bit fields are allocated from the other end on big endian machines, which we do not run on.
        BpfInstruction { code, registers: from << 4 | to, offset, value }
    }
}

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest for zero.
#[repr(C)]
struct BpfLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The beginning of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct BpfAttach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Numbers of linux/bpf.h.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Programs of other groups on the way to the root count as well.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Has the kernel check a program that decides about the use of devices.
pub(super) fn load_device_program(program: &[BpfInstruction]) -> io::Result<OwnedFd> {
    let load = BpfLoad {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: program.as_ptr().expose_provenance() as u64,
        license: c"Apache-2.0".as_ptr().expose_provenance() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: `load` is as large as is said, and what it points at (the instructions, as many as it says, and a text that ends
    // with a zero byte) outlives the call; the kernel copies and never writes them.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<BpfLoad>()) };
    let number = i32::try_from(result).map_err(|_| io::ErrorKind::InvalidData)?;
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else knows. The kernel sets close-on-exec on it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets a program decide for all processes in the cgroup v2 folder `group`, until the group is removed.
pub(super) fn attach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attach = BpfAttach {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: `attach` is as large as is said and is only read.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attach, size_of::<BpfAttach>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// `struct pidfd_info` of <linux/pidfd.h>, as large as its first published version.
#[repr(C)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    numbers: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`: asked for, and answered when the process has been reaped.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`, for 64 bytes.
const PIDFD_GET_INFO: u64 = (3 << 30) | ((size_of::<PidfdInfo>() as u64) << 16) | (0xFF << 8) | 11;

/// How somebody else's child has ended, once that has reaped it; `None` before that, and before Linux 6.15.
pub(super) fn exit_status(process: BorrowedFd<'_>) -> Option<Status> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, cgroup_id: 0, numbers: [0; 11], exit_code: 0 };
    // SAFETY: `info` has the size that the request's number says, and is valid for reading and writing.
    let result = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) };
    if result != 0 || info.mask & PIDFD_INFO_EXIT == 0 {
        return None;
    }
    let (code, signal) = (info.exit_code >> 8 & 0xFF, info.exit_code & 0x7F);
    Some(if signal == 0 { Status::Code(code) } else { Status::Signal(signal) })
}
