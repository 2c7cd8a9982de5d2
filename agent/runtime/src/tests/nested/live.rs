//! Folders of the parent, mounted live.

use std::fs;
use std::path::Path;

use super::super::lab::{Lab, log_text, until};
use super::{child_spec, parent_spec, start_parent};
use crate::{ContainerSpec, Mount, MountSource, Runtime, RuntimeError};

fn with_folder(mut spec: ContainerSpec, path: &str, read_only: bool) -> ContainerSpec {
    let source = MountSource::Parents { path: path.into() };
    spec.mounts = vec![Mount { target: "/seen".to_owned(), source, read_only }];
    spec
}

#[tokio::test]
async fn root_nested_sees_folders_of_its_parent_live() {
    let mut lab = Lab::new();
    fs::create_dir_all(lab.path("volume/deep")).expect("a folder");
    fs::write(lab.path("volume/deep/file"), "on a disk\n").expect("a file");
    let mut spec = parent_spec(
        &lab,
        "mkdir -p /own; echo own >/own/file; chmod 600 /own/file; echo memory >/memory/file; ln -s /own /link; ln -s ../../../../own /far
        (while ! test -e /own/answer; do usleep 10000; done; echo seen: $(cat /own/answer); stat -c %u /own/answer; echo late >/own/late) &",
    );
    let mount = |target: &str, source: MountSource| Mount { target: target.to_owned(), source, read_only: false };
    spec.mounts = vec![
        mount("/volume", MountSource::Volume { path: lab.path("volume"), copy_up: false }),
        mount("/memory", MountSource::Tmpfs { size_bytes: Some(1 << 20), mode: 0o755 }),
    ];
    start_parent(&lab, spec).await;
    let cases = [
        ("/own", "file", "own\n"),
        ("/memory", "file", "memory\n"),
        ("/volume", "deep/file", "on a disk\n"),
        ("/volume/deep", "file", "on a disk\n"),
        ("/link", "file", "own\n"),
        // Nothing leads out of its parent's root.
        ("/far", "file", "own\n"),
        ("/../../own", "file", "own\n"),
    ];
    for (number, (path, file, expect)) in cases.into_iter().enumerate() {
        let spec = with_folder(child_spec(&lab, &format!("child-{number}"), &format!("cat /seen/{file}")), path, true);
        assert_eq!(lab.output(spec).await.0, expect, "{path}");
    }
    // What is refused is refused for writing too, and a program there gains nothing.
    let script = "(echo x >/seen/new) 2>/dev/null || echo closed; grep ' /seen ' /proc/self/mounts | grep -c 'ro,nosuid,nodev'";
    let spec = with_folder(child_spec(&lab, "closed", script), "/own", true);
    assert_eq!(lab.output(spec).await.0, "closed\n1\n");
    // Both ways, at once, with the same owners.
    let script =
        "echo hello >/seen/answer; while ! test -e /seen/late; do usleep 10000; done; cat /seen/late; stat -c %u:%a /seen/file";
    let spec = with_folder(child_spec(&lab, "open", script), "/own", false);
    assert_eq!(lab.output(spec).await.0, "late\n0:600\n");
    until("the parent to see it", || log_text(&lab.path("log/parent.jsonl")).contains("seen: hello\n0\n")).await;
    lab.runtime.remove("parent").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn root_nested_sees_no_folder_of_the_kernel_or_the_door() {
    let lab = Lab::new();
    fs::create_dir_all(lab.path("door")).expect("a folder");
    let mut spec = parent_spec(&lab, "mkdir /own; ln -s /proc /own/proc; ln -s /proc/1/root /own/root; ln -s / /own/all");
    let source = MountSource::Volume { path: lab.path("door"), copy_up: false };
    spec.mounts = vec![Mount { target: "/run/coord".to_owned(), source, read_only: true }];
    start_parent(&lab, spec).await;
    let refused = [
        ("/proc", "is the kernel's (proc)"),
        ("/proc/1", "is the kernel's (proc)"),
        ("/own/proc", "is the kernel's (proc)"),
        ("/sys", "is the kernel's (sysfs)"),
        ("/dev", "is the kernel's"),
        ("/dev/pts", "is the kernel's (devpts)"),
        ("/", "way to the agent"),
        ("/own/all", "way to the agent"),
        ("/run", "the way to the agent"),
        ("/run/coord", "the way to the agent"),
    ];
    for (path, expect) in refused {
        let obstacle = lab.runtime.live_obstacle("parent", Path::new(path)).expect("an answer");
        assert!(obstacle.as_ref().is_some_and(|obstacle| obstacle.contains(expect)), "{path}: {obstacle:?}");
        let error = lab.runtime.start(with_folder(child_spec(&lab, "child", "true"), path, true)).await.expect_err(path);
        assert!(error.to_string().contains(expect), "{path}: {error}");
        assert!(error.to_string().contains("cannot mount /seen: "), "{path}: {error}");
    }
    for (path, expect) in [("/none", "(os error 2)"), ("/own/root", "(os error 40)")] {
        assert!(lab.runtime.live_obstacle("parent", Path::new(path)).is_err(), "{path}");
        let error = lab.runtime.start(with_folder(child_spec(&lab, "child", "true"), path, true)).await.expect_err(path);
        assert!(error.to_string().contains(expect), "{path}: {error}");
    }
    assert_eq!(lab.runtime.live_obstacle("parent", Path::new("/own")).expect("an answer"), None);
    // Without a parent there is nothing to mount.
    let error = lab.runtime.start(with_folder(lab.spec("plain", "true"), "/own", true)).await.expect_err("no parent");
    assert!(matches!(error, RuntimeError::Specification { .. }), "{error}");
    lab.runtime.remove("parent").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// What either of the two mounts later, the other does not see.
#[tokio::test]
async fn root_nested_mounts_do_not_spread() {
    let mut lab = Lab::new();
    let script = "mkdir -p /own/below; (while ! test -e /own/go; do usleep 10000; done
        mount -t tmpfs none /own/below && echo x >/own/below/late && echo mounted; touch /own/done) &";
    let mut spec = parent_spec(&lab, script);
    spec.security.cap_add = vec!["CAP_SYS_ADMIN".to_owned()];
    start_parent(&lab, spec).await;
    let script = "touch /seen/go; while ! test -e /seen/done; do usleep 10000; done; ls /seen/below | wc -l
        mount -t tmpfs none /seen/below 2>/dev/null || echo refused";
    let spec = with_folder(child_spec(&lab, "child", script), "/own", false);
    assert_eq!(lab.output(spec).await.0, "0\nrefused\n");
    until("the parent to have mounted", || log_text(&lab.path("log/parent.jsonl")).contains("mounted")).await;
    lab.runtime.remove("parent").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
