//! System calls that reach beyond a container. Arguments are nonsense wherever the right is judged before them, so that a call
//! that is let through changes nothing.

use crate::line::{Finding, Line, USUAL_LIMIT};
use crate::sys::{self, at, call, of, text};

const fn line(name: &'static str, what: &'static str, probe: fn() -> Finding) -> Line {
    Line { name, chapter: "System calls", what, probe, limit: USUAL_LIMIT }
}

/// Where the container may write.
const SCRATCH: &str = "/tmp";
/// clone(2): a namespace for users.
const NEW_USER: usize = 0x1000_0000;

pub(crate) const LINES: &[Line] = &[
    line("mount", "mount a tmpfs", || Finding::of_call(mount("none", SCRATCH, "tmpfs", 0))),
    line("mount-bind", "bind /proc elsewhere", || Finding::of_call(mount("/proc", SCRATCH, "", libc::MS_BIND))),
    line("mount-proc", "mount a new /proc", || Finding::of_call(mount("proc", SCRATCH, "proc", 0))),
    line("mount-cgroup", "mount the cgroups", || Finding::of_call(mount("cgroup", SCRATCH, "cgroup2", 0))),
    line("remount", "make /proc/sys writable again", || {
        Finding::of_call(mount("", "/proc/sys", "", libc::MS_REMOUNT | libc::MS_BIND))
    }),
    line("umount", "take the mask of /proc/kcore away", || with_path("/proc/kcore", |path| call(libc::SYS_umount2, &[path, 2]))),
    line("fsopen", "the new mount interface: fsopen", || with_path("tmpfs", |name| call(libc::SYS_fsopen, &[name, 0]))),
    line("open-tree", "the new mount interface: open_tree", || {
        with_path("/", |path| call(libc::SYS_open_tree, &[libc::AT_FDCWD as usize, path, 1]))
    }),
    line("pivot-root", "pivot_root", || with_path(SCRATCH, |path| call(libc::SYS_pivot_root, &[path, path]))),
    line("keyctl", "keyctl: the keys of other containers", || Finding::of_call(call(libc::SYS_keyctl, &[0, usize::MAX, 1]))),
    line("add-key", "add_key", add_key),
    line("request-key", "request_key", || {
        let (kind, description) = (text("user"), text("probe"));
        Finding::of_call(call(libc::SYS_request_key, &[at(&kind), at(&description), 0, 0]))
    }),
    line("bpf", "load a BPF program", || {
        let mut attributes = [0_u64; 16];
        Finding::of_call(call(libc::SYS_bpf, &[5, of(&mut attributes), 128]))
    }),
    line("perf-event", "perf_event_open", || {
        let mut attributes = [0_u64; 16];
        attributes[0] = 1 | (128 << 32);
        Finding::of_call(call(libc::SYS_perf_event_open, &[of(&mut attributes), 0, usize::MAX, usize::MAX, 0]))
    }),
    line("userfaultfd", "userfaultfd", || Finding::of_call(call(libc::SYS_userfaultfd, &[0]))),
    line("io-uring", "io_uring_setup", || {
        let mut parameters = [0_u64; 32];
        Finding::of_call(call(libc::SYS_io_uring_setup, &[1, of(&mut parameters)]))
    }),
    line("unshare-user", "unshare: a user namespace", || Finding::of_call(call(libc::SYS_unshare, &[NEW_USER]))),
    line("unshare-net", "unshare: a network namespace", || Finding::of_call(call(libc::SYS_unshare, &[0x4000_0000]))),
    line("unshare-mount", "unshare: a mount namespace", || Finding::of_call(call(libc::SYS_unshare, &[0x0002_0000]))),
    line("clone-user", "clone: a user namespace", || cloned(call(libc::SYS_clone, &[NEW_USER | libc::SIGCHLD as usize]))),
    line("clone3-user", "clone3: a user namespace", || {
        let mut arguments = [0_u64; 11];
        arguments[0] = NEW_USER as u64;
        arguments[4] = libc::SIGCHLD as u64;
        cloned(call(libc::SYS_clone3, &[of(&mut arguments), 88]))
    }),
    line("setns", "setns", || Finding::of_call(call(libc::SYS_setns, &[usize::MAX, 0]))),
    line("kexec", "kexec_load", || Finding::of_call(call(libc::SYS_kexec_load, &[0, 0, 0, usize::MAX]))),
    line("init-module", "init_module", || Finding::of_call(call(libc::SYS_init_module, &[0, 0, 0]))),
    line("finit-module", "finit_module", || Finding::of_call(call(libc::SYS_finit_module, &[usize::MAX, 0, 0]))),
    line("delete-module", "delete_module", || with_path("no-such-module", |name| call(libc::SYS_delete_module, &[name, 0]))),
    line("handle", "open_by_handle_at: files of the host by number", by_handle),
    line("fanotify", "fanotify_init: files that others open", || Finding::of_call(call(libc::SYS_fanotify_init, &[4, 0]))),
    line("clock", "set the clock: adjtimex", || {
        let mut request = [0_u64; 26];
        // ADJ_TICK with a tick that no kernel takes.
        request[0] = 0x4000;
        request[11] = 1;
        Finding::of_call(call(libc::SYS_adjtimex, &[of(&mut request)]))
    }),
    line("clock-set", "set the clock: clock_settime", || {
        let mut nonsense = [0_u64, u64::MAX];
        Finding::of_call(call(libc::SYS_clock_settime, &[0, of(&mut nonsense)]))
    }),
    line("reboot", "reboot", || Finding::of_call(call(libc::SYS_reboot, &[1, 2, 3, 0]))),
    line("swapon", "swapon", || with_path("/no/such/file", |path| call(libc::SYS_swapon, &[path, 0]))),
    line("acct", "acct", || with_path("/no/such/file", |path| call(libc::SYS_acct, &[path]))),
    line("quotactl", "quotactl: switch quotas on", || {
        let device = text("/dev/null");
        Finding::of_call(call(libc::SYS_quotactl, &[0x80_0002 << 8, at(&device), 0, 0]))
    }),
    line("syslog", "read the kernel's log", || {
        let mut buffer = [0_u8; 64];
        Finding::of_call(call(libc::SYS_syslog, &[3, of(&mut buffer), 64]))
    }),
    line("sethostname", "sethostname", || {
        let mut host = *b"probe";
        Finding::of_call(call(libc::SYS_sethostname, &[of(&mut host), 5]))
    }),
    line("iopl", "iopl: the ports of the hardware", || Finding::of_call(call(libc::SYS_iopl, &[3]))),
    line("vhangup", "vhangup", || Finding::of_call(call(libc::SYS_vhangup, &[]))),
    line("move-pages", "move_pages of another process", || Finding::of_call(call(libc::SYS_move_pages, &[1, 0, 0, 0, 0, 0]))),
    line("kcmp", "kcmp: the insides of processes", || Finding::of_call(call(libc::SYS_kcmp, &[own_pid(), own_pid(), 0, 0, 0]))),
    line("personality", "personality: no address randomisation", || Finding::of_call(call(libc::SYS_personality, &[0x004_0000]))),
    line("nice", "a priority above others", || Finding::of_call(call(libc::SYS_setpriority, &[0, 0, (-20_isize) as usize]))),
    line("realtime", "real-time scheduling", || {
        let mut priority = [1_i32];
        Finding::of_call(call(libc::SYS_sched_setscheduler, &[0, 1, of(&mut priority)]))
    }),
    line("ptrace-init", "ptrace of process 1", || {
        if own_parent_is_first() {
            return on_other(|pid| call(libc::SYS_ptrace, &[16, pid, 0, 0]), "of a process of its own only");
        }
        Finding::of_call(call(libc::SYS_ptrace, &[16, 1, 0, 0]))
    }),
    line("vm-readv", "process_vm_readv of another process", || {
        on_other(|pid| call(libc::SYS_process_vm_readv, &[pid, 0, 0, 0, 0, 0]), "of a process of its own only")
    }),
];

fn mount(source: &str, target: &str, kind: &str, flags: u64) -> sys::Answer {
    let (source, target, kind) = (text(source), text(target), text(kind));
    call(libc::SYS_mount, &[at(&source), at(&target), at(&kind), flags as usize, 0])
}

fn with_path(path: &str, tried: impl FnOnce(usize) -> sys::Answer) -> Finding {
    let path = text(path);
    Finding::of_call(tried(at(&path)))
}

fn add_key() -> Finding {
    let (kind, description, payload) = (text("user"), text("coord-probe"), text("x"));
    Finding::of_call(call(libc::SYS_add_key, &[at(&kind), at(&description), at(&payload), 1, (-1_isize) as usize]))
}

/// The child of a clone that worked ends at once.
fn cloned(answer: sys::Answer) -> Finding {
    if answer == Ok(0) {
        std::process::exit(0);
    }
    Finding::of_call(answer)
}

/// The trick of 2014 ("shocker"): inode 2 is the root of the host's file system.
fn by_handle() -> Finding {
    let mut handle = [8_u32, 1, 2, 0];
    let root = text("/");
    let mount = call(libc::SYS_openat, &[libc::AT_FDCWD as usize, at(&root), libc::O_RDONLY as usize, 0]).unwrap_or(-1);
    Finding::of_call(call(libc::SYS_open_by_handle_at, &[mount as usize, of(&mut handle), 0]))
}

fn own_pid() -> usize {
    std::process::id() as usize
}

/// Whether this probe's parent is process 1: the container then holds nothing but the probe.
fn own_parent_is_first() -> bool {
    call(libc::SYS_getppid, &[]) == Ok(1)
}

/// Within the container, where engines allow it; counted as refused only if the kernel refuses.
fn on_other(tried: impl FnOnce(usize) -> sys::Answer, words: &str) -> Finding {
    let Ok(other) = sys::sleeper() else { return Finding::unknown("no other process") };
    let answer = tried(other as usize);
    sys::end(&[other]);
    match Finding::of_call(answer) {
        Finding { exposure: Some(1), .. } => Finding::refused(words),
        refused => refused,
    }
}
