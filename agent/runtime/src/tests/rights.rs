//! Rights that are given, limits, and the small init.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::lab::{Lab, log_text, until};
use crate::{Runtime, Security, Stdio};

#[tokio::test]
async fn root_rights_are_given_one_by_one() {
    let mut lab = Lab::new();
    // With CAP_SYS_ADMIN: mounts and namespaces, but only its own.
    let script = "mount -t tmpfs none /tmp && echo mounted; unshare -m true && echo unshared; hostname other && hostname
        mount -o remount,rw /sys 2>/dev/null && touch /sys/kernel/x 2>/dev/null || echo no sysfs
        (echo 1 >/proc/sys/kernel/panic) 2>/dev/null || echo no sysctl; mknod /tmp/disk b 8 0 2>/dev/null || echo no mknod";
    let mut spec = lab.spec("admin", script);
    spec.security.cap_add = vec!["CAP_SYS_ADMIN".to_owned()];
    assert_eq!(lab.output(spec).await.0, "mounted\nunshared\nother\nno sysfs\nno sysctl\nno mknod\n");

    let mut spec = lab.spec("none", "grep CapBnd /proc/self/status | tr '\\t' ' '; chroot / true 2>/dev/null || echo no chroot");
    spec.security.cap_drop = vec!["ALL".to_owned()];
    assert_eq!(lab.output(spec).await.0, "CapBnd: 0000000000000000\nno chroot\n");

    let script =
        "grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status | tr '\\t\\n' ' ;'; echo; test -w /proc/sys/kernel/hostname && echo open
        grep ' /proc/sys ' /proc/mounts | wc -l; touch /sys/kernel/x 2>&1 | grep -c 'Read-only'; test -c /dev/kmsg && echo kmsg";
    let mut spec = lab.spec("privileged", script);
    spec.security = Security { privileged: true, ..Security::default() };
    let (log, _) = lab.output(spec).await;
    // All that this process could give.
    let own = std::fs::read_to_string("/proc/self/status").expect("a status");
    let own = own.lines().find_map(|line| line.strip_prefix("CapPrm:\t")).expect("capabilities");
    assert_eq!(log, format!("CapEff: {own};NoNewPrivs: 0;Seccomp: 0;\nopen\n0\n0\nkmsg\n"));

    let mut spec = lab.spec("unconfined", "grep Seccomp: /proc/self/status | tr '\\t' ' '; unshare -U true && echo unshared");
    spec.security.seccomp_unconfined = true;
    assert_eq!(lab.output(spec).await.0, "Seccomp: 0\nunshared\n");
}

#[tokio::test]
async fn root_namespaces_of_the_host_are_shared_by_name() {
    let mut lab = Lab::new();
    let script = "test $$ -gt 1 && echo processes; grep -q tests-of-coord /proc/sys/kernel/hostname || echo own name";
    let mut spec = lab.spec("pid", script);
    spec.security.host_pid = true;
    assert_eq!(lab.output(spec).await.0, "processes\nown name\n");
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a link").display().to_string();
    let mut spec = lab.spec("ipc", "readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid");
    spec.security.host_ipc = true;
    let (log, _) = lab.output(spec).await;
    assert_eq!(log.lines().next(), Some(own("ipc").as_str()));
    assert_ne!(log.lines().nth(1), Some(own("pid").as_str()));
}

#[tokio::test]
async fn root_limits_of_processes_and_groups_are_set() {
    let mut lab = Lab::new();
    let script = "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hu; cat /proc/self/oom_score_adj; id -G";
    let mut spec = lab.spec("limits", script);
    spec.rlimits = [("RLIMIT_NOFILE", 100, 200), ("RLIMIT_CORE", 0, 0), ("RLIMIT_NPROC", 40, 41)]
        .map(|(name, soft, hard)| (name.to_owned(), soft, hard))
        .to_vec();
    spec.oom_score_adj = 500;
    spec.groups = vec!["staff".to_owned(), "4711".to_owned()];
    assert_eq!(lab.output(spec).await.0, "100\n200\n0\n41\n500\n0 50 4711\n");
    // Above what this process may give, if that is limited at all.
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    if let Some(above) = own.checked_add(1) {
        let mut spec = lab.spec("above", "ulimit -Hn");
        spec.rlimits = vec![("RLIMIT_NOFILE".to_owned(), 100, above)];
        match lab.runtime.start(spec).await {
            Ok(_) => {
                lab.exit("above").await;
                assert_eq!(log_text(&lab.path("log/above.jsonl")), format!("{above}\n"));
                lab.runtime.remove("above").await.expect("a removal");
            }
            Err(error) => assert!(error.to_string().contains(&format!("allows RLIMIT_NOFILE to be at most {own}")), "{error}"),
        }
        assert_eq!(lab.leftovers(), Vec::<String>::new());
    }
    let (log, _) = lab.output(lab.spec("usual", "ulimit -Sn; test $(ulimit -Hn) -le 524288 && echo hard")).await;
    assert_eq!(log, "1024\nhard\n");
}

#[tokio::test]
async fn root_an_init_reaps_and_passes_signals_on() {
    let mut lab = Lab::new();
    let with_init = |id: &str, script: &str| {
        let mut spec = lab.spec(id, script);
        spec.init = true;
        spec
    };
    // The shell is not the first process; orphans do not stay; a signal without a handler ends it.
    // (The command may be there a moment before the init has become what it will be.)
    let script = "echo $$; looks=0
        while [ $(cat /proc/1/comm) != coord-init ] && [ $looks -lt 500 ]; do usleep 20000; looks=$((looks + 1)); done
        cat /proc/1/comm; readlink /proc/1/exe | grep -c memfd; (sleep 0.05 & true)
        left() { grep -sl 'PPid:.1$' /proc/[0-9]*/status | grep -v /proc/$$/ | wc -l; }
        looks=0; while [ $(left) != 0 ] && [ $looks -lt 500 ]; do usleep 20000; looks=$((looks + 1)); done
        left; ls /proc/1/fd 2>/dev/null | wc -l; exec sleep 1000";
    let spec = with_init("init", script);
    let log = spec.log.path.clone();
    lab.runtime.start(spec).await.expect("a start");
    until("its output", || log_text(&log).lines().count() == 5).await;
    assert_eq!(log_text(&log), "2\ncoord-init\n1\n0\n3\n");
    lab.runtime.signal("init", libc::SIGTERM).expect("a signal");
    let exit = lab.exit("init").await;
    assert_eq!((exit.code, exit.signal), (Some(143), None));
    lab.runtime.remove("init").await.expect("a removal");

    let with_init = |id: &str, script: &str| {
        let mut spec = lab.spec(id, script);
        spec.init = true;
        spec
    };
    let spec = with_init("code", "exit 7");
    let mut missing = with_init("missing", "");
    missing.args = vec!["not-there".to_owned()];
    assert_eq!(lab.output(spec).await.1.code, Some(7));
    let error = lab.runtime.start(missing).await.expect_err("there is no such command");
    assert!(error.to_string().contains("command \"not-there\" is not in the image"), "{error}");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_standard_files_can_be_given() {
    let mut lab = Lab::new();
    let pipe = || std::io::pipe().expect("a pipe");
    let ((input, mut to), (mut from, output), (mut from_error, error)) = (pipe(), pipe(), pipe());
    let mut spec = lab.spec("given", "tr a-z A-Z; echo wrong >&2; exit 3");
    spec.stdio = Stdio::Given(Arc::new([OwnedFd::from(input), OwnedFd::from(output), OwnedFd::from(error)]));
    lab.runtime.start(spec).await.expect("a start");
    std::io::Write::write_all(&mut to, b"some text\n").expect("to be written");
    drop(to);
    assert_eq!(lab.exit("given").await.code, Some(3));
    let read = |from: &mut std::io::PipeReader| {
        let mut text = String::new();
        std::io::Read::read_to_string(from, &mut text).expect("to be read");
        text
    };
    assert_eq!((read(&mut from), read(&mut from_error)), ("SOME TEXT\n".to_owned(), "wrong\n".to_owned()));
    lab.runtime.remove("given").await.expect("a removal");
    assert_eq!(log_text(&lab.path("log/given.jsonl")), "");
}
