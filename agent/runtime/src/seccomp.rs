//! The default seccomp profile, compiled to BPF once per set of capabilities and handed to the shims as a file.
//!
//! The selection of calls is the one of moby's default profile for the capabilities that a container has. Two programs: the
//! first allows what is listed and answers EPERM to the rest; the second one only answers ENOSYS to `clone3`, whose flags
//! a filter cannot see, so that C libraries fall back to `clone`, whose flags the first one checks. Calls of 32-bit programs
//! on 64-bit hosts are answered by ENOSYS.
//! Deliberately absent: 32-bit programs (their calls have other numbers), profiles of one's own.

pub(super) mod json;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    sock_filter,
};

use super::error::RuntimeError;
use super::spec::Capabilities;
use super::{ContainerSpec, spec};

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

/// Calls of 32-bit programs come from this architecture (linux/audit.h).
#[cfg(target_arch = "x86_64")]
const NARROW_ARCHITECTURE: u32 = 0x4000_0003;
#[cfg(target_arch = "aarch64")]
const NARROW_ARCHITECTURE: u32 = 0x4000_0028;

/// Calls that come with a capability, on every architecture.
#[rustfmt::skip]
const WITH: [(&str, &[i64]); 13] = [
    ("CAP_DAC_READ_SEARCH", &[libc::SYS_open_by_handle_at]),
    ("CAP_SYS_ADMIN", &[
        libc::SYS_bpf, libc::SYS_fanotify_init, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fsopen, libc::SYS_fspick,
        libc::SYS_lookup_dcookie, libc::SYS_mount, libc::SYS_mount_setattr, libc::SYS_move_mount, libc::SYS_open_tree,
        libc::SYS_perf_event_open, libc::SYS_quotactl, libc::SYS_quotactl_fd, libc::SYS_setdomainname, libc::SYS_sethostname,
        libc::SYS_setns, libc::SYS_syslog, libc::SYS_umount2, libc::SYS_unshare,
    ]),
    ("CAP_SYS_BOOT", &[libc::SYS_reboot]),
    ("CAP_SYS_CHROOT", &[libc::SYS_chroot]),
    ("CAP_SYS_MODULE", &[libc::SYS_delete_module, libc::SYS_init_module, libc::SYS_finit_module]),
    ("CAP_SYS_PACCT", &[libc::SYS_acct]),
    ("CAP_SYS_PTRACE", &[libc::SYS_kcmp, libc::SYS_pidfd_getfd, libc::SYS_process_madvise]),
    ("CAP_SYS_TIME", &[libc::SYS_settimeofday, libc::SYS_clock_settime]),
    ("CAP_SYS_TTY_CONFIG", &[libc::SYS_vhangup]),
    ("CAP_SYS_NICE", &[libc::SYS_get_mempolicy, libc::SYS_mbind, libc::SYS_set_mempolicy, libc::SYS_set_mempolicy_home_node]),
    ("CAP_SYSLOG", &[libc::SYS_syslog]),
    ("CAP_BPF", &[libc::SYS_bpf]),
    ("CAP_PERFMON", &[libc::SYS_perf_event_open]),
];

/// Calls of this architecture alone that come with a capability.
#[cfg(target_arch = "x86_64")]
const WITH_HERE: [(&str, &[i64]); 1] = [("CAP_SYS_RAWIO", &[libc::SYS_iopl, libc::SYS_ioperm])];
#[cfg(target_arch = "aarch64")]
const WITH_HERE: [(&str, &[i64]); 0] = [];

/// The usual profile's file.
const USUAL_FILE: &str = "seccomp.bpf";

/// A container's profile, in its run folder.
pub(super) const CONTAINERS_OWN: &str = "seccomp.bpf";

/// The compiled profiles, in a folder.
pub(super) struct Profiles {
    folder: PathBuf,
    /// Those that this agent has compiled: files of an earlier one may differ.
    compiled: Mutex<BTreeSet<Capabilities>>,
}

impl Profiles {
    /// Opens them, and compiles the usual one.
    pub(super) fn open(folder: &Path) -> Result<Profiles, RuntimeError> {
        let profiles = Profiles { folder: folder.to_owned(), compiled: Mutex::default() };
        profiles.file(USUAL)?;
        Ok(profiles)
    }

    /// The file with the filters for a container, in the format that the shim reads; `None` when it has no filter.
    pub(super) fn of(&self, spec: &ContainerSpec) -> Result<Option<PathBuf>, RuntimeError> {
        if spec.security.seccomp_unconfined || spec.security.privileged {
            return Ok(None);
        }
        self.file(Capabilities::of(spec)).map(Some)
    }

    /// What a container goes by that was started with [`CONTAINERS_OWN`]; one of an agent that knew one profile only has the usual.
    pub(super) fn of_container(&self, run: &Path) -> PathBuf {
        let own = run.join(CONTAINERS_OWN);
        if own.exists() { own } else { self.folder.join(USUAL_FILE) }
    }

    fn file(&self, capabilities: Capabilities) -> Result<PathBuf, RuntimeError> {
        let relevant = relevant(capabilities);
        let path = match relevant == self::relevant(USUAL) {
            true => self.folder.join(USUAL_FILE),
            false => self.folder.join(format!("seccomp-{:x}.bpf", relevant.0)),
        };
        // Compiled by one at a time; others wait for it rather than do it again.
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if !compiled.contains(&relevant) {
            write(relevant, &path).map_err(|source| RuntimeError::File { operation: "write", path: path.clone(), source })?;
            compiled.insert(relevant);
        }
        Ok(path)
    }
}

/// [`spec::CAPABILITIES`].
const USUAL: Capabilities = Capabilities(0x8004_05fb);

/// Those that make a difference here.
fn relevant(capabilities: Capabilities) -> Capabilities {
    let names = WITH.iter().chain(&WITH_HERE).map(|(name, _)| *name).filter(|name| capabilities.has(name));
    spec::capability_set(names)
}

fn write(capabilities: Capabilities, path: &Path) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    for program in compile(capabilities).map_err(std::io::Error::other)? {
        bytes.extend_from_slice(&u32::try_from(program.len()).map_err(std::io::Error::other)?.to_ne_bytes());
        for instruction in program {
            bytes.extend_from_slice(&instruction.code.to_ne_bytes());
            bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
            bytes.extend_from_slice(&instruction.k.to_ne_bytes());
        }
    }
    let temporary = path.with_extension(format!("bpf.{}", std::process::id()));
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path)
}

fn compile(capabilities: Capabilities) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let namespaces = capabilities.has("CAP_SYS_ADMIN");
    let denied = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let profile = SeccompFilter::new(rules(capabilities, namespaces)?, denied, SeccompAction::Allow, ARCHITECTURE)?;
    let mut programs = vec![for_all_architectures(profile.try_into()?)];
    if !namespaces {
        let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let unknown = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        let no_clone3 = SeccompFilter::new(clone3, SeccompAction::Allow, unknown, ARCHITECTURE)?;
        programs.push(for_all_architectures(no_clone3.try_into()?));
    }
    Ok(programs)
}

/// What is allowed, with the conditions of each call; none is: always.
fn rules(capabilities: Capabilities, namespaces: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules = BTreeMap::new();
    for line in ALLOWED.lines() {
        let number = line.split(' ').next().and_then(|number| number.parse().ok());
        if let Some(number) = number {
            rules.insert(number, Vec::new());
        }
    }
    rules.remove(&libc::SYS_chroot);
    for (_, calls) in WITH.iter().chain(&WITH_HERE).filter(|(name, _)| capabilities.has(name)) {
        rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    }
    let mut families = vec![condition(SeccompCmpOp::Lt, FAMILIES_BELOW)?];
    for family in &FAMILIES {
        families.push(condition(SeccompCmpOp::Eq, *family)?);
    }
    rules.insert(libc::SYS_socket, families);
    let personalities = PERSONALITIES.iter().map(|personality| condition(SeccompCmpOp::Eq, *personality));
    rules.insert(libc::SYS_personality, personalities.collect::<Result<_, _>>()?);
    rules.insert(
        libc::SYS_clone,
        match namespaces {
            true => Vec::new(),
            false => vec![condition(SeccompCmpOp::MaskedEq(NAMESPACE_FLAGS), 0)?],
        },
    );
    // Decided by the second program.
    rules.insert(libc::SYS_clone3, Vec::new());
    Ok(rules)
}

/// Answers calls of the narrow architecture, which the program would take for an attack, before it sees them.
fn for_all_architectures(program: BpfProgram) -> BpfProgram {
    /// Offset of `arch` in `struct seccomp_data`.
    const ARCH_OFFSET: u32 = 4;
    let instruction = |code: u32, jt, jf, k| sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k };
    let errno = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let mut all = vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, ARCH_OFFSET),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, NARROW_ARCHITECTURE),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, errno),
    ];
    all.extend(program);
    all
}

/// A rule on the first argument, which is 32 bits wide in all calls above except for `clone`, whose upper half is unused.
fn condition(operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value)?])
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, USUAL, compile, relevant, rules};
    use crate::spec::{CAPABILITIES, Capabilities, capability_set};

    /// The kernel takes no more instructions in one program.
    const KERNEL_MAX: usize = 4096;

    #[test]
    fn the_profile_compiles_and_lists_each_call_once() {
        for capabilities in [USUAL, Capabilities(0), Capabilities((1 << 41) - 1)] {
            let programs = compile(capabilities).expect("a profile that compiles");
            assert!(programs.iter().all(|program| program.len() <= KERNEL_MAX));
        }
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

    #[test]
    fn calls_come_with_their_capability() {
        let check = |names: &[&str], call: i64, expect: bool| {
            let capabilities = capability_set(names.iter().copied());
            let rules = rules(capabilities, capabilities.has("CAP_SYS_ADMIN")).expect("rules");
            assert_eq!(rules.contains_key(&call), expect, "{names:?}: {call}");
        };
        assert_eq!(capability_set(CAPABILITIES), USUAL);
        check(&CAPABILITIES, libc::SYS_chroot, true);
        check(&[], libc::SYS_chroot, false);
        check(&CAPABILITIES, libc::SYS_mount, false);
        check(&["CAP_SYS_ADMIN"], libc::SYS_mount, true);
        check(&["CAP_BPF"], libc::SYS_bpf, true);
        check(&["CAP_BPF"], libc::SYS_mount, false);
        check(&["CAP_SYS_ADMIN"], libc::SYS_keyctl, false);
        assert_eq!(relevant(capability_set(["CAP_CHOWN", "CAP_KILL"])), Capabilities(0));
        assert_eq!(relevant(USUAL), capability_set(["CAP_SYS_CHROOT"]));
    }
}
