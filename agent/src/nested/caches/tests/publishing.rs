//! Folders of the container itself.

use super::*;
use std::os::unix::fs::symlink;

fn from(text: &str, folder: &str) -> NewCache {
    NewCache { from: Some(folder.to_owned()), ..asked(text) }
}

#[tokio::test]
async fn a_folder_is_published_as_it_is() {
    let lab = lab();
    fs::create_dir(lab.root("data")).expect("a folder");
    fs::write(lab.root("data/a"), "one").expect("a file");
    symlink("/data", lab.root("link")).expect("a link");
    let view = lab.caches.create(from("live", "/link")).await.expect("a cache");
    assert_eq!((view.kind, view.because, view.from.as_deref()), (CacheKind::Live, None, Some("/link")));
    assert_eq!((view.files, view.bytes), (1, 3));
    fs::write(lab.root("data/b"), "later").expect("a file");
    assert_eq!(lab.paths("live").await, ["a", "b"]);
    let mounted = lab.mount("one", "live", true).await;
    assert!(matches!(&mounted.mount.source, MountSource::Parents { path } if path == Path::new("/link")));
    let seen =
        Mounted { mount: Mount { source: MountSource::Parents { path: "/data".into() }, ..mounted.mount.clone() }, ..mounted };
    assert_eq!(lab.inspect(&seen).await.expect("verified").files, 2);
    assert_eq!(lab.caches.view(&name("live")).expect("a view").files, 2);
    assert_eq!(lab.caches.verify(&name("live")).await.expect("verified").bytes, 8);
    assert_eq!(lab.used_bytes(), 0);
    assert_eq!(code(lab.put("live", "c", b"x").await), "not_a_store");
    lab.caches.unmount(&child("one")).await;
    lab.caches.remove(&name("live")).await.expect("deleted");
    assert_eq!(fs::read(lab.root("data/a")).expect("the folder itself stays"), b"one");
}

#[tokio::test]
async fn what_is_no_folder_of_its_own_is_refused() {
    let lab = lab();
    fs::write(lab.root("file"), "x").expect("a file");
    symlink("/proc/self/root", lab.root("host")).expect("a link");
    symlink("../../../../../../etc", lab.root("up")).expect("a link");
    let check =
        async |folder: &str, expect: &str| assert_eq!(code(lab.caches.create(from("live", folder)).await), expect, "{folder}");
    check("/none", "no_such_folder").await;
    check("/file", "not_a_folder").await;
    check("/host", "no_such_folder").await;
    check("/up", "no_such_folder").await;
    check("/../etc", "invalid_request").await;
    check("etc", "invalid_request").await;
    check("/", "invalid_request").await;
    assert!(lab.on_disk().is_empty() && lab.caches.list().is_empty());
}

#[tokio::test]
async fn where_it_cannot_be_seen_live_a_copy_is_made_and_said() {
    let lab = lab();
    fs::create_dir_all(lab.root("odd/in")).expect("a folder");
    fs::write(lab.root("odd/in/secret"), "own").expect("a file");
    fs::set_permissions(lab.root("odd/in/secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    let view = lab.caches.create(from("copy", "/odd")).await.expect("a cache");
    assert_eq!((view.kind, view.files, view.bytes), (CacheKind::Store, 1, 3));
    assert_eq!(view.because.as_deref(), Some("/odd is odd: what it shows is a copy, without what is mounted in it"));
    fs::write(lab.root("odd/in/secret"), "changed").expect("a file");
    let mounted = lab.mount("one", "copy", true).await;
    assert_eq!(lab.inspect(&mounted).await.expect("verified").bytes, 3);
    assert_eq!(lab.used_bytes(), 3);
}

#[tokio::test]
async fn of_the_kernels_and_the_doors_only_what_all_may_read_is_copied() {
    let lab = lab();
    fs::create_dir_all(lab.root("run/coord/closed")).expect("a folder");
    for (file, mode) in [("open", 0o644), ("own", 0o600), ("closed/in", 0o644)] {
        fs::write(lab.root("run/coord").join(file), file).expect("a file");
        fs::set_permissions(lab.root("run/coord").join(file), std::os::unix::fs::PermissionsExt::from_mode(mode))
            .expect("a mode");
    }
    fs::set_permissions(lab.root("run/coord/closed"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a mode");
    let socket = std::os::unix::net::UnixListener::bind(lab.root("run/coord/nested.sock")).expect("a socket");
    let view = lab.caches.create(from("door", "/run/coord")).await.expect("a cache");
    assert!(view.because.is_some_and(|why| why.starts_with("/run/coord lies in /run/coord")));
    assert_eq!(lab.paths("door").await, ["open"]);
    drop(socket);
    // The agent's own rights are put off for that moment only, and on that thread only.
    assert!(fs::read_dir(lab.root("run/coord/closed")).is_ok());
}

#[tokio::test]
async fn what_the_kernel_shows_is_copied_without_the_agents_rights() {
    let mut lab = lab();
    lab.caches = open_within(lab.folder.path(), 1 << 20, "/".into());
    let view = lab.caches.create(from("kernel", "/proc/sys/kernel")).await.expect("a cache");
    assert_eq!(view.because.as_deref(), Some("/proc/sys/kernel is the kernel's (proc): what it shows is a copy"));
    let paths = lab.paths("kernel").await;
    assert!(paths.iter().any(|path| path == "ostype"), "{paths:?}");
    // Only root may read this one.
    assert!(Path::new("/proc/sys/kernel/cad_pid").exists() && !paths.iter().any(|path| path == "cad_pid"), "{paths:?}");
    let MountSource::Volume { path, .. } = lab.mount("one", "kernel", true).await.mount.source else { panic!("a store") };
    assert_eq!(fs::read(path.join("ostype")).expect("a file"), b"Linux\n");
}

#[tokio::test]
async fn a_copy_that_is_too_large_leaves_nothing() {
    let lab = lab_of(10);
    fs::create_dir(lab.root("odd")).expect("a folder");
    fs::write(lab.root("odd/a"), "12345678901").expect("a file");
    assert_eq!(code(lab.caches.create(from("copy", "/odd")).await), "over_quota");
    assert!(lab.on_disk().is_empty() && lab.caches.list().is_empty() && lab.used_bytes() == 0);
}
