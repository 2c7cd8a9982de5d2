//! Mounts that appear after the start, on either side.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::lab::{Lab, log_text, until};
use crate::{Mount, MountSource, Propagation, Runtime, Security};

const NOTHING: Option<&str> = None;

fn bind(path: &Path, propagation: Propagation) -> Vec<Mount> {
    let source = MountSource::Bind { path: path.to_owned(), propagation };
    vec![Mount { target: "/s".to_owned(), source, read_only: false }]
}

/// Memory at `path`, in the mounts of this test alone.
fn memory(path: &Path, shared: bool) {
    fs::create_dir(path).expect("a folder");
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), NOTHING).expect("a mount");
    if shared {
        mount(NOTHING, path, NOTHING, MsFlags::MS_SHARED, NOTHING).expect("a shared mount");
    }
}

/// Unmounts what a test has mounted, also when it fails: the folder below it can be removed then.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // With all that is mounted below it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn root_late_mounts_are_seen_as_was_asked_for() {
    // This thread and those that it starts from here on: the runtime's too.
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).expect("mounts of its own");
    mount(NOTHING, "/", NOTHING, MsFlags::MS_PRIVATE | MsFlags::MS_REC, NOTHING).expect("private mounts");
    let mut lab = Lab::new();
    let folder = lab.path("shared");
    memory(&folder, true);
    let _mounted = Mounted(folder.clone());
    let script = "echo ready; until test -e /s/done; do usleep 5000; done; ls /s/late | wc -l";
    for (id, propagation) in [("private", Propagation::Private), ("slave", Propagation::Slave)] {
        let mut spec = lab.spec(id, script);
        spec.mounts = bind(&folder, propagation);
        lab.runtime.start(spec).await.expect("a start");
    }
    memory(&folder.join("late"), false);
    fs::write(folder.join("late/file"), "").expect("a file");
    fs::write(folder.join("done"), "").expect("a file");
    for _ in 0..2 {
        lab.any_exit().await;
    }
    assert_eq!(log_text(&lab.path("log/private.jsonl")), "ready\n0\n");
    assert_eq!(log_text(&lab.path("log/slave.jsonl")), "ready\n1\n");

    // And out of the container, which only one with the host's users can.
    let mut spec = lab.spec("both", "mkdir /s/inner && mount -t tmpfs none /s/inner && touch /s/inner/file && sleep 1000");
    spec.mounts = bind(&folder, Propagation::Shared);
    spec.security = Security { privileged: true, ..Security::default() };
    lab.runtime.start(spec).await.expect("a start");
    until("the container's mount", || folder.join("inner/file").exists()).await;
    for id in ["private", "slave", "both"] {
        lab.runtime.remove(id).await.expect("a removal");
    }
}
