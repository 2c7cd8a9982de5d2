//! The default seccomp profile, compiled to BPF once per agent and handed to the shims as a file.
//!
//! The selection of calls is the one of moby's default profile for the capabilities that we grant. Two programs: the
//! first allows what is listed and answers EPERM to the rest; the second one only answers ENOSYS to `clone3`, whose flags
//! a filter cannot see, so that C libraries fall back to `clone`, whose flags the first one checks.
//! Deliberately absent: 32-bit programs on 64-bit hosts (their calls end the process), profiles of one's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::error::RuntimeError;

#[cfg(target_arch = "x86_64")]
const ALLOWED: &str = include_str!("seccomp/x86_64.txt");
#[cfg(target_arch = "aarch64")]
const ALLOWED: &str = include_str!("seccomp/aarch64.txt");
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

/// Flags of `clone` that make namespaces: mount, cgroup, uts, ipc, user, pid, net.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;

/// `personality`: the usual ones of Linux, and the question for the current one.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x20000, 0x20008, 0xFFFF_FFFF];

/// Address families below this are allowed.
const FAMILIES_BELOW: u64 = 12;

/// Address families allowed besides: neither AF_ALG (38) nor AF_VSOCK (40), nor those that are obsolete or for hardware
/// which no container has.
const FAMILIES: [u64; 25] = [13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45];

/// Compiles the profile and writes it to `folder`. Returns the file, in the format that the shim reads.
pub(super) fn write_profile(folder: &Path) -> Result<PathBuf, RuntimeError> {
    let path = folder.join("seccomp.bpf");
    let write = || -> std::io::Result<()> {
        let mut bytes = Vec::new();
        for program in compile().map_err(std::io::Error::other)? {
            bytes.extend_from_slice(&u32::try_from(program.len()).map_err(std::io::Error::other)?.to_ne_bytes());
            for instruction in program {
                bytes.extend_from_slice(&instruction.code.to_ne_bytes());
                bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
                bytes.extend_from_slice(&instruction.k.to_ne_bytes());
            }
        }
        let temporary = folder.join(format!("seccomp.bpf.{}", std::process::id()));
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, &path)
    };
    write().map_err(|source| RuntimeError::File { operation: "write", path: path.clone(), source })?;
    Ok(path)
}

fn compile() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let mut rules = BTreeMap::new();
    for line in ALLOWED.lines() {
        let number = line.split(' ').next().and_then(|number| number.parse().ok());
        if let Some(number) = number {
            rules.insert(number, Vec::new());
        }
    }
    let mut families = vec![condition(SeccompCmpOp::Lt, FAMILIES_BELOW)?];
    for family in &FAMILIES {
        families.push(condition(SeccompCmpOp::Eq, *family)?);
    }
    rules.insert(libc::SYS_socket, families);
    let personalities = PERSONALITIES.iter().map(|personality| condition(SeccompCmpOp::Eq, *personality));
    rules.insert(libc::SYS_personality, personalities.collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_clone, vec![condition(SeccompCmpOp::MaskedEq(NAMESPACE_FLAGS), 0)?]);
    // Decided by the second program.
    rules.insert(libc::SYS_clone3, Vec::new());
    let denied = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let profile = SeccompFilter::new(rules, denied, SeccompAction::Allow, ARCHITECTURE)?;

    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let unknown = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let no_clone3 = SeccompFilter::new(clone3, SeccompAction::Allow, unknown, ARCHITECTURE)?;
    Ok([profile.try_into()?, no_clone3.try_into()?])
}

/// A rule on the first argument, which is 32 bits wide in all calls above except for `clone`, whose upper half is unused.
fn condition(operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)?])
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, compile};

    /// The kernel takes no more instructions in one program.
    const KERNEL_MAX: usize = 4096;

    #[test]
    fn the_profile_compiles_and_lists_each_call_once() {
        let programs = compile().expect("a profile that compiles");
        assert!(programs.iter().all(|program| program.len() <= KERNEL_MAX));
        let names = ALLOWED.lines().filter_map(|line| line.split_once(' ')).filter(|(number, _)| number.parse::<u32>().is_ok());
        let mut names = names.map(|(_, name)| name).collect::<Vec<_>>();
        for conditional in ["socket", "clone", "clone3", "personality"] {
            assert!(!names.contains(&conditional), "{conditional} is allowed with conditions only");
        }
        for forbidden in ["mount", "bpf", "keyctl", "unshare", "setns", "kexec_load", "io_uring_setup", "userfaultfd"] {
            assert!(!names.contains(&forbidden), "{forbidden}");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
