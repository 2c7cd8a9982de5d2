//! A container that is looked at before its command is executed.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::read;
use rustix::process::{Pid, Signal, kill_process};

use super::super::lab::Lab;
use super::{child_spec, parent_spec, start_parent};
use crate::{Inspection, Mount, MountSource, Runtime, RuntimeError};

/// Reads a file below a root; what it says goes to `seen`.
fn reading(path: &'static str, seen: Arc<Mutex<String>>, verdict: Result<(), String>) -> Inspection {
    Inspection(Arc::new(move |root: OwnedFd| {
        let (seen, verdict) = (seen.clone(), verdict.clone());
        Box::pin(async move {
            let file = openat(&root, path, OFlags::RDONLY, Mode::empty()).map_err(|error| error.to_string())?;
            let mut text = [0; 64];
            let length = read(&file, &mut text).map_err(|error| error.to_string())?;
            *seen.lock().expect("no panic") = String::from_utf8_lossy(&text[..length]).into_owned();
            verdict
        })
    }))
}

#[tokio::test]
async fn root_nested_is_looked_at_when_all_is_mounted() {
    let mut lab = Lab::new();
    std::fs::create_dir_all(lab.path("cache")).expect("a folder");
    std::fs::write(lab.path("cache/file"), "content").expect("a file");
    start_parent(&lab, parent_spec(&lab, "")).await;
    let seen = Arc::new(Mutex::new(String::new()));
    let spec = |verdict: Result<(), String>| {
        let mut spec = child_spec(&lab, "child", "cat /kept/file; cat /kept/ran 2>/dev/null; echo ran >/kept/ran; exit 4");
        let source = MountSource::Volume { path: lab.path("cache"), copy_up: false };
        spec.mounts = vec![Mount { target: "/kept".to_owned(), source, read_only: false }];
        spec.inspection = Some(reading("kept/file", seen.clone(), verdict));
        spec
    };
    let error = lab.runtime.start(spec(Err("kept/file differs".to_owned()))).await.expect_err("a refusal");
    assert!(matches!(&error, RuntimeError::Inspection { what, .. } if what == "kept/file differs"), "{error}");
    assert_eq!(seen.lock().expect("no panic").as_str(), "content");
    // Nothing of it has run, and nothing is left of it.
    assert!(!lab.path("cache/ran").exists());
    assert!(!lab.path("state/c/child").exists() && !lab.path("run/c/child").exists());
    let (log, exit) = lab.output(spec(Ok(()))).await;
    assert_eq!((log.as_str(), exit.code), ("content\n", Some(4)));
    lab.runtime.remove("parent").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// Its parent ends while it is looked at: neither waits for that.
#[tokio::test]
async fn root_nested_is_looked_at_no_longer_than_it_lives() {
    let mut lab = Lab::new();
    let parent = start_parent(&lab, parent_spec(&lab, "")).await;
    let pid = Pid::from_raw(parent.pid).expect("a number");
    let mut spec = child_spec(&lab, "child", "true");
    spec.inspection = Some(Inspection(Arc::new(move |_root: OwnedFd| {
        Box::pin(async move {
            kill_process(pid, Signal::KILL).expect("a kill");
            std::future::pending().await
        })
    })));
    let error = lab.runtime.start(spec).await.expect_err("its parent ends");
    assert!(matches!(&error, RuntimeError::ParentEnded { parent, .. } if parent == "parent"), "{error}");
    assert_eq!(lab.exit("parent").await.signal, Some(libc::SIGKILL));
    lab.runtime.remove("parent").await.expect("a removal");
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}

/// Any container can be looked at, and the root of one that runs can be opened later.
#[tokio::test]
async fn root_roots_can_be_opened() {
    let mut lab = Lab::new();
    let seen = Arc::new(Mutex::new(String::new()));
    let mut spec = lab.spec("plain", "echo here >/made; sleep 1000");
    spec.backend = crate::Backend::Embedded;
    spec.inspection = Some(reading("etc/group", seen.clone(), Ok(())));
    lab.runtime.start(spec).await.expect("a start");
    assert!(seen.lock().expect("no panic").starts_with("root:x:0:"));
    let root = lab.runtime.root("plain").expect("a root");
    super::super::lab::until("the file to be made", || openat(&root, "made", OFlags::RDONLY, Mode::empty()).is_ok()).await;
    lab.runtime.kill("plain").expect("a kill");
    lab.exit("plain").await;
    assert!(lab.runtime.root("plain").is_err());
    drop(root);
    lab.runtime.remove("plain").await.expect("a removal");
    assert!(lab.runtime.root("plain").is_err());
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
