//! What a container can see and do: pinned, because a mistake here shows nowhere else.

use std::fs;
use std::os::unix::fs::symlink;

use super::lab::{Lab, log_text, runtime_name, until};
use crate::{NetworkMode, Resources, Runtime};

#[tokio::test]
async fn root_it_sees_only_itself() {
    let mut lab = Lab::new();
    let script = "echo pid=$$; hostname; cat /etc/hostname; [ $(ls /proc | grep -c '^[0-9]') -le 4 ] && echo few; id; pwd
        echo path=$PATH home=$HOME host=$HOSTNAME; umask; cat /proc/self/oom_score_adj
        ip addr show lo | grep -c UP; ls /sys/class/net";
    let (log, _) = lab.output(lab.spec("see", script)).await;
    let expect = "pid=1\nbox\nbox\nfew\nuid=0(root) gid=0(root)\n/\npath=/bin home=/root host=box\n0022\n0\n1\nlo\n";
    assert_eq!(log, expect);
}

#[tokio::test]
async fn root_it_has_few_rights() {
    let mut lab = Lab::new();
    let script = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp' /proc/self/status | tr '\\t\\n' ' ;'; echo
        mknod /tmp/disk b 8 0 2>/dev/null || echo no mknod
        mount -t tmpfs none /tmp 2>/dev/null || echo no mount
        unshare -U true 2>/dev/null || echo no user namespace
        unshare -m true 2>/dev/null || echo no mount namespace
        (echo 1 >/proc/sys/kernel/panic) 2>/dev/null || echo no sysctl
        (echo c >/proc/sysrq-trigger) 2>/dev/null || echo no sysrq
        cat /proc/kcore 2>/dev/null | wc -c; cat /proc/keys | wc -c; ls /sys/firmware | wc -l
        touch /sys/x 2>/dev/null || echo no sysfs
        (echo hacked >/etc/hosts) 2>/dev/null || echo no hosts
        grep -c ' /dev tmpfs' /proc/mounts; grep ' / overlay' /proc/mounts | grep -c nodev
        grep ' /dev/shm ' /proc/mounts | grep -c size=65536k";
    let (log, _) = lab.output(lab.spec("rights", script)).await;
    let caps = "00000000800405fb"; // eleven
    // OCI runtimes compile the same rules into one.
    let filters = if runtime_name().is_some() { 1 } else { 2 };
    let lines = log.lines().collect::<Vec<_>>();
    assert_eq!(
        lines[0],
        format!(
            "CapInh: 0000000000000000;CapPrm: {caps};CapEff: {caps};CapBnd: {caps};CapAmb: 0000000000000000;NoNewPrivs: 1;\
             Seccomp: 2;Seccomp_filters: {filters};"
        )
    );
    // crun mounts the root once more, without it; the device rules stand.
    let nodev = if runtime_name().as_deref() == Some("crun") { "0" } else { "1" };
    let denied = ["mknod", "mount", "user namespace", "mount namespace", "sysctl", "sysrq"];
    let expect = denied.map(|what| format!("no {what}")).to_vec();
    assert_eq!(&lines[1..7], expect);
    assert_eq!(&lines[7..], ["0", "0", "0", "no sysfs", "no hosts", "1", nodev, "1"]);
}

/// A container that keeps the helper's binary open could overwrite it: the next start would run its code as root.
#[tokio::test]
async fn root_nothing_of_the_host_is_open_or_inherited() {
    let mut lab = Lab::new();
    let script = "ls /proc/self/fd | wc -l; readlink /proc/self/fd/0; readlink /proc/1/exe
        grep -E 'Sig(Blk|Ign)' /proc/self/status | tr '\\t\\n' ' ;'; echo; id -G; env | wc -l";
    // Ignored signals and groups of this process must not reach it.
    let (log, _) = lab.output(lab.spec("inherit", script)).await;
    let lines = log.lines().collect::<Vec<_>>();
    // 0, 1, 2 and the folder that `ls` reads.
    assert_eq!(lines, ["4", "/dev/null", "/bin/busybox", "SigBlk: 0000000000000000;SigIgn: 0000000000000000;", "0", "5"]);
}

#[tokio::test]
async fn root_users_come_from_the_image() {
    let mut lab = Lab::new();
    let mut check = async |user: &str, expect: &str| {
        let mut spec =
            lab.spec(&format!("user-{}", user.replace(':', "-")), "id -u; id -g; id -G; echo $HOME; echo ok >/dev/stdout");
        spec.user = user.to_owned();
        assert_eq!(lab.output(spec).await.0, expect, "{user}");
    };
    check("app", "1000\n1000\n1000 50\n/home/app\nok\n").await;
    check("app:staff", "1000\n50\n50\n/home/app\nok\n").await;
    check("4711:4712", "4711\n4712\n4712\n/\nok\n").await;
}

#[tokio::test]
async fn root_limits_hold() {
    let mut lab = Lab::new();
    let mut spec = lab.spec("memory", "x=$(yes | tr '\\n' x | head -c 100000000); echo survived");
    spec.resources = Resources { memory_bytes: Some(16 << 20), ..Resources::default() };
    let (log, exit) = lab.output(spec).await;
    assert!(exit.oom_killed && exit.code != Some(0), "{exit:?}");
    assert!(!log.contains("survived"));

    let mut spec = lab.spec("pids", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; echo unlimited");
    spec.resources = Resources { pids: Some(5), ..Resources::default() };
    let (log, exit) = lab.output(spec).await;
    assert!(!log.contains("unlimited"), "{log}");
    assert!(!exit.oom_killed);

    let mut spec = lab.spec("cpu", "while true; do :; done");
    spec.resources = Resources { cpus_milli: Some(100), ..Resources::default() };
    let running = lab.runtime.start(spec).await.expect("a start");
    let throttled = || {
        // v1: ...:cpu:/path, v2: 0::/path.
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", running.pid)).unwrap_or_default();
        let path = |separator: &str| groups.lines().find_map(|line| line.split_once(separator).map(|(_, path)| path.to_owned()));
        let stat = path(":cpu:").map(|path| format!("/sys/fs/cgroup/cpu{path}/cpu.stat"));
        let stat = stat.or_else(|| path("0::").map(|path| format!("/sys/fs/cgroup{path}/cpu.stat"))).unwrap_or_default();
        let text = fs::read_to_string(stat).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|count| count != "0"))
    };
    until("processor time to run out", throttled).await;
    lab.runtime.remove("cpu").await.expect("a removal");
}

#[tokio::test]
async fn root_a_read_only_root_is_one() {
    let mut lab = Lab::new();
    let mut spec =
        lab.spec("ro", "touch /x 2>/dev/null || echo no; touch /dev/shm/x && echo shm; mkdir /srv 2>/dev/null || echo no");
    spec.read_only = true;
    assert_eq!(lab.output(spec).await.0, "no\nshm\nno\n");
}

#[tokio::test]
async fn root_the_image_stays_untouched() {
    let mut lab = Lab::new();
    fs::create_dir(lab.path("top")).expect("a layer");
    fs::write(lab.path("top/layer"), "top").expect("a file");
    fs::write(lab.path("image/layer"), "bottom").expect("a file");
    let mut spec =
        lab.spec("layers", "cat /layer; echo; rm /layer /etc/group; echo new >/new; ls / | tr '\\n' ' '; stat -c %a /");
    spec.lowers.insert(0, lab.path("top"));
    let (log, _) = lab.output(spec).await;
    assert_eq!(log, "top\nbin dev etc home new proc sys tmp 755\n");
    assert!(lab.path("top/layer").exists() && lab.path("image/etc/group").exists() && !lab.path("image/new").exists());
}

/// Images whose `/proc`, `/sys` and `/dev` are something else: they must not start with less than all.
#[tokio::test]
async fn root_images_cannot_divert_the_kernels_mounts() {
    let mut lab = Lab::new();
    for (place, target) in
        [("proc", "/tmp"), ("sys", "/tmp"), ("dev", "/tmp"), ("proc", "sys"), ("sys", "/dev"), ("dev", "/proc")]
    {
        let path = lab.path("image").join(place);
        fs::remove_dir(&path).expect("an empty folder");
        symlink(target, &path).expect("a link");
        let script = "grep -c ' /proc proc ' /proc/mounts;
            head -c 1 /proc/keys | wc -c; (echo x >/dev/null) && test -c /dev/null && echo device; touch /proc/sys/x 2>/dev/null || echo no";
        match lab.runtime.start(lab.spec("diverted", script)).await {
            Err(error) => assert!(error.to_string().contains("diverted"), "{error}"),
            Ok(_) => {
                lab.exit("diverted").await;
                let log = log_text(&lab.path("log/diverted.jsonl"));
                assert!(log == "1\n0\ndevice\nno\n", "{place} -> {target}: {log}");
                lab.runtime.remove("diverted").await.expect("a removal");
                fs::remove_file(lab.path("log/diverted.jsonl")).expect("a log");
            }
        }
        assert_eq!(lab.leftovers(), Vec::<String>::new());
        fs::remove_file(&path).expect("a link");
        fs::create_dir(&path).expect("a folder");
    }
}

/// A call of a 32-bit program, made by a 64-bit one: answered, neither carried out nor taken for an attack.
#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn root_calls_of_32_bits_are_answered() {
    use std::os::unix::fs::PermissionsExt;
    #[rustfmt::skip]
    const CODE: [u8; 24] = [
        0xb8, 20, 0, 0, 0, // mov eax, 20 (getpid of 32 bits)
        0xcd, 0x80, // int 0x80
        0xf7, 0xd8, // neg eax
        0x89, 0xc7, // mov edi, eax
        0xb8, 60, 0, 0, 0, // mov eax, 60 (exit of 64 bits)
        0x0f, 0x05, // syscall
        0, 0, 0, 0, 0, 0,
    ];
    let mut lab = Lab::new();
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    // Entry point, program headers, no section headers, flags; sizes of the headers; one program header.
    program.extend([0x40_0078_u64, 64, 0].map(u64::to_le_bytes).concat());
    program.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // One segment to be loaded, readable and executable: the whole file.
    program.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let length = 120 + CODE.len() as u64;
    program.extend([0_u64, 0x40_0000, 0x40_0000, length, length, 0x1000].map(u64::to_le_bytes).concat());
    program.extend(CODE);
    let path = lab.path("image/bin/narrow");
    fs::write(&path, program).expect("a program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    let mut spec = lab.spec("narrow", "");
    spec.args = vec!["/bin/narrow".to_owned()];
    let embedded = spec.backend == crate::Backend::Embedded;
    let (_, exit) = lab.output(spec).await;
    // A kernel that knows no such calls at all ends the program by SIGSEGV, and the library of OCI runtimes by SIGSYS.
    let ended = exit.signal == Some(libc::SIGSEGV) || !embedded && exit.signal == Some(libc::SIGSYS);
    assert!(exit.code == Some(libc::ENOSYS) || ended, "{exit:?}");
}

/// Symlinks of an image that lead our mounts elsewhere.
#[tokio::test]
async fn root_symlinks_of_the_image_lead_nowhere() {
    let mut lab = Lab::new();
    let outside = lab.path("outside");
    fs::write(&outside, "host").expect("a file of the host");
    symlink(&outside, lab.path("image/etc/hosts")).expect("a link");
    symlink("../run/systemd/resolve/stub-resolv.conf", lab.path("image/etc/resolv.conf")).expect("a link");
    let mut spec = lab.spec("links", "grep -c box /etc/hosts; pwd");
    spec.cwd = "/deep/er".to_owned();
    assert_eq!(lab.output(spec).await.0, "1\n/deep/er\n");
    assert_eq!(fs::read_to_string(&outside).expect("a file"), "host");

    // /etc itself leads into /proc: refused.
    fs::create_dir(lab.path("evil")).expect("a layer");
    symlink("/proc", lab.path("evil/etc")).expect("a link");
    let mut spec = lab.spec("evil", "echo started");
    spec.lowers.insert(0, lab.path("evil"));
    let error = lab.runtime.start(spec).await.expect_err("must be refused");
    assert!(error.to_string().contains("the image leads it to /proc"), "{error}");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_the_host_network_is_shared_when_asked_for() {
    let mut lab = Lab::new();
    let mut spec = lab.spec("net", "readlink /proc/self/ns/net; cat /etc/resolv.conf | wc -c");
    spec.network = NetworkMode::Host;
    let (log, _) = lab.output(spec).await;
    let own = fs::read_link("/proc/self/ns/net").expect("a link").display().to_string();
    let resolv = fs::metadata("/etc/resolv.conf").map_or(0, |file| file.len());
    assert_eq!(log, format!("{own}\n{resolv}\n"));
}

/// On v1 "read-only" would not hold for a mount of cgroups: there must be none. On v2 it holds.
#[tokio::test]
async fn root_a_container_cannot_raise_its_own_limits() {
    let mut lab = Lab::new();
    let script = "cd /sys/fs/cgroup; mkdir x 2>/dev/null && echo made
        for file in *.max */memory.limit_in_bytes */pids.max cgroup.procs */cgroup.procs; do
            test -e $file && (echo 1000000 >$file) 2>/dev/null && echo wrote $file
        done; grep -c ' cgroup r' /proc/mounts; grep cgroup2 /proc/mounts | grep -vc ' ro,'; echo end";
    let (log, _) = lab.output(lab.spec("raise", script)).await;
    assert_eq!(log, "0\n0\nend\n");
}

#[tokio::test]
async fn root_a_shim_leaves_no_namespace_behind() {
    let lab = Lab::new();
    let spec = lab.spec("ns", "sleep 1000");
    let log = spec.log.path.clone();
    let running = lab.runtime.start(spec).await.expect("a start");
    let stat = fs::read_to_string(format!("/proc/{}/stat", running.pid)).expect("stat");
    let monitor = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)).expect("a parent").to_owned();
    for kind in ["mnt", "net", "pid", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
        assert_eq!(of(&monitor), of("self"), "{kind} of the monitor");
        assert_ne!(of(&running.pid.to_string()), of("self"), "{kind} of the container");
    }
    lab.runtime.remove("ns").await.expect("a removal");
    assert_eq!(log_text(&log), "");
}
