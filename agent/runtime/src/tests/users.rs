//! Users of its own: what a container sees of them, and what the host sees of it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use super::lab::{Lab, log_text};
use crate::{NetworkMode, Runtime, RuntimeError};

#[tokio::test]
async fn root_users_are_its_own() {
    let mut lab = Lab::new();
    chown(lab.path("image/home/app"), Some(1000), Some(1000)).expect("an owner");
    let script = "cat /proc/self/uid_map | tr -s ' '; stat -c %u:%g / /home/app /etc/passwd /etc/hosts /dev/null /dev/shm
        touch /made; mkdir /home/app/x; chown 1000:50 /home/app/x; chown 0:0 /home/app; stat -c %u:%g /made /home/app/x /home/app
        mount -t tmpfs none /tmp 2>/dev/null || echo no mount; readlink /proc/self/ns/user; sleep 1000";
    let running = lab.runtime.start(lab.spec("own", script)).await.expect("a start");
    assert_eq!(running.weakened, Vec::<String>::new());
    let log = lab.path("log/own.jsonl");
    super::lab::until("the script to be done", || log_text(&log).contains("user:[")).await;
    let text = log_text(&log);
    let lines = text.lines().collect::<Vec<_>>();
    let first = lines[0].split_whitespace().nth(1).and_then(|first| first.parse::<u32>().ok()).expect("a map");
    assert!(first >= 0x7000_0000 && lines[0].ends_with(" 65536"), "{}", lines[0]);
    assert_eq!(lines[1..7], ["0:0", "1000:1000", "0:0", "0:0", "65534:65534", "0:0"]);
    assert_eq!(lines[7..11], ["0:0", "1000:50", "0:0", "no mount"]);
    // On the host it is nobody, and so are its files; its image is as it was.
    let process = fs::metadata(format!("/proc/{}", running.pid)).expect("a process");
    assert_eq!((process.uid(), process.gid()), (first, first));
    let made = lab.path("state/c/own/upper");
    let owner = |path: &str| fs::metadata(made.join(path)).map(|metadata| (metadata.uid(), metadata.gid())).expect("a file");
    assert_eq!(owner("made"), (first, first));
    assert_eq!(owner("home/app/x"), (first + 1000, first + 50));
    assert_eq!(fs::metadata(lab.path("image/home/app")).expect("a folder").uid(), 1000);

    // Another one is somebody else, and the next may have the range again.
    let other = lab.runtime.start(lab.spec("other", "sleep 1000")).await.expect("a start");
    assert_ne!(fs::metadata(format!("/proc/{}", other.pid)).expect("a process").uid(), first);
    lab.runtime.remove("own").await.expect("a removal");
    let next = lab.runtime.start(lab.spec("next", "sleep 1000")).await.expect("a start");
    assert_eq!(fs::metadata(format!("/proc/{}", next.pid)).expect("a process").uid(), first);

    // An agent that comes later knows who has what.
    lab.restart();
    lab.runtime.recover().expect("a recovery");
    let late = lab.runtime.start(lab.spec("late", "sleep 1000")).await.expect("a start");
    let uid = |pid: i32| fs::metadata(format!("/proc/{pid}")).expect("a process").uid();
    assert!(uid(late.pid) != uid(next.pid) && uid(late.pid) != uid(other.pid));
    for id in ["other", "next", "late"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_users_of_the_host_are_given_by_name_and_said() {
    let mut lab = Lab::new();
    let mut spec = lab.spec("host", "cat /proc/self/uid_map | tr -s ' '");
    spec.security.host_users = true;
    assert_eq!(lab.output(spec).await.0, " 0 0 4294967295\n");
    let mut spec = lab.spec("network", "sleep 1000");
    spec.network = NetworkMode::Host;
    let running = lab.runtime.start(spec).await.expect("a start");
    assert_eq!(running.weakened, ["no user namespace: it shares the host's network"]);
    // Said again to the agent that comes later.
    lab.restart();
    let recovered = lab.runtime.recover().expect("a recovery");
    let crate::RecoveredState::Running(again) = &recovered[0].state else { panic!("{recovered:?}") };
    assert_eq!(again.weakened, running.weakened);
    lab.runtime.remove("network").await.expect("a removal");
}

/// The file system of `/sys` cannot show other owners: there, the layers of an image cannot lie.
#[tokio::test]
async fn root_users_it_cannot_have_are_said_or_refused() {
    let mut lab = Lab::new();
    let mut spec = lab.spec("cannot", "stat -c %u /sys-of-host/kernel; id -u");
    let source = crate::MountSource::Bind { path: "/proc/sys".into(), propagation: crate::Propagation::Private };
    spec.mounts = vec![crate::Mount { target: "/sys-of-host".to_owned(), source, read_only: true }];
    let running = lab.runtime.start(spec.clone()).await.expect("a start");
    assert_eq!(running.weakened.len(), 1, "{running:?}");
    assert!(running.weakened[0].starts_with("no user namespace: the file system of /proc/sys cannot show other owners"));
    lab.exit("cannot").await;
    assert_eq!(log_text(&spec.log.path), "0\n0\n");
    lab.runtime.remove("cannot").await.expect("a removal");

    lab.require_users();
    let error = lab.runtime.start(spec).await.expect_err("it must have users of its own");
    assert!(error.to_string().contains("it cannot have users of its own: the file system of /proc/sys"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("host_users")));
    let mut spec =
        lab.spec("network", "stat -c %u /sys/kernel; touch /sys/x 2>/dev/null || echo no; id -u; ls /sys/fs/cgroup | wc -l");
    spec.network = NetworkMode::Host;
    let (log, exit) = lab.output(spec).await;
    assert_eq!((log.as_str(), exit.code), ("65534\nno\n0\n0\n", Some(0)));
    let mut spec = lab.spec("pid", "true");
    spec.security.host_pid = true;
    let error = lab.runtime.start(spec).await.expect_err("it cannot have users of its own");
    assert!(matches!(error, RuntimeError::Specification { .. }), "{error}");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_users_beyond_the_range_are_refused_in_words() {
    let lab = Lab::new();
    let mut spec = lab.spec("far", "true");
    spec.user = "100000".to_owned();
    let error = lab.runtime.start(spec).await.expect_err("no such user");
    assert!(error.to_string().contains("100000 is none of the 65536 users that a container has"), "{error}");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// Setuid programs and file capabilities work as the container's own, and only where it is asked for.
#[tokio::test]
async fn root_setuid_programs_gain_rights_only_where_asked() {
    let mut lab = Lab::new();
    fs::copy("/bin/busybox", lab.path("image/bin/busybox-suid")).expect("a copy");
    fs::set_permissions(lab.path("image/bin/busybox-suid"), fs::Permissions::from_mode(0o4755)).expect("a mode");
    // An applet that says when it is not run as root.
    let script = "busybox-suid crontab -l 2>&1 | grep -c 'must be suid'
        grep -E 'NoNewPrivs|Seccomp:|CapBnd|CapEff' /proc/self/status | tr '\\t\\n' ' ;'; echo
        unshare -m true 2>/dev/null || echo filtered";
    let mut spec = lab.spec("no", script);
    spec.user = "app".to_owned();
    let (log, _) = lab.output(spec).await;
    let caps = "CapEff: 0000000000000000;CapBnd: 00000000800405fb";
    assert_eq!(log, format!("1\n{caps};NoNewPrivs: 1;Seccomp: 2;\nfiltered\n"));
    let mut spec = lab.spec("yes", script);
    (spec.user, spec.security.new_privileges) = ("app".to_owned(), true);
    let (log, _) = lab.output(spec).await;
    assert_eq!(log, format!("0\n{caps};NoNewPrivs: 0;Seccomp: 2;\nfiltered\n"));
}
