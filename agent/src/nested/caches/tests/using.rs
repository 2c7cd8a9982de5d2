//! The way of a cache: made, filled, mounted, compared, deleted.

use super::*;

#[tokio::test]
async fn a_cache_is_made_filled_mounted_compared_and_deleted() {
    let lab = lab();
    let view = lab.create("work").await;
    assert_eq!((view.kind, view.path.as_str(), view.because, view.files), (CacheKind::Store, "/work", None, 0));
    let put = lab.put("work", "a/b.txt", b"hello").await.expect("a put");
    assert_eq!((put.files, put.bytes, put.cache.files, put.cache.bytes), (1, 5, 1, 5));
    assert_eq!(lab.paths("work").await, ["a", "a/b.txt"]);
    let entries = lab.caches.entries(&name("work")).await.expect("a list");
    assert_eq!(entries[1].digest, Some(Digest::of(b"hello")));
    let mounted = lab.mount("one", "work", true).await;
    assert!(mounted.mount.read_only && mounted.mount.target == "/work");
    assert_eq!(lab.caches.view(&name("work")).expect("a view").used_by, [child("one")]);
    let verified = lab.inspect(&mounted).await.expect("verified");
    assert_eq!((verified.files, verified.folders, verified.bytes, verified.hashed), (1, 1, 5, 1));
    let refused = lab.caches.remove(&name("work")).await.expect_err("in use");
    assert_eq!(
        (refused.code.as_str(), refused.message.as_str()),
        ("cache_in_use", "cache work cannot be deleted: one mounts it")
    );
    lab.caches.unmount(&child("one")).await;
    lab.caches.remove(&name("work")).await.expect("deleted");
    assert_eq!(code(lab.caches.view(&name("work"))), "no_such_cache");
    assert_eq!((lab.on_disk(), lab.used_bytes()), (Vec::new(), 0));
}

#[tokio::test]
async fn what_was_altered_behind_its_back_is_found_whoever_mounts_it() {
    let lab = lab();
    lab.create("work").await;
    lab.put("work", "a", b"right").await.expect("a put");
    lab.put("work", "b", b"right").await.expect("a put");
    for (by, read_only) in [("reader", true), ("writer", false)] {
        let mounted = lab.mount(by, "work", read_only).await;
        let MountSource::Volume { path, .. } = &mounted.mount.source else { panic!("a store") };
        fs::write(path.join("b"), "wrong").expect("a file");
        let difference = lab.inspect(&mounted).await.expect_err("a difference");
        assert!(difference.starts_with("cache work at /work: b: its content differs"), "{difference}");
        fs::write(path.join("b"), "right").expect("a file");
        assert_eq!(lab.inspect(&mounted).await.expect("the same").files, 2);
        lab.caches.unmount(&child(by)).await;
    }
    let MountSource::Volume { path, .. } = lab.mount("last", "work", true).await.mount.source else { panic!("a store") };
    fs::remove_file(path.join("a")).expect("removed");
    let altered = lab.caches.verify(&name("work")).await.expect_err("a difference");
    assert_eq!((altered.code.as_str(), altered.message.as_str()), ("altered", "cache work: a: it is missing"));
}

#[tokio::test]
async fn what_a_container_writes_belongs_to_the_cache() {
    let lab = lab();
    lab.create("work").await;
    lab.put("work", "a", b"1").await.expect("a put");
    let writer = lab.mount("writer", "work", false).await;
    assert_eq!(lab.inspect(&writer).await.expect("verified").files, 1);
    let MountSource::Volume { path, .. } = &writer.mount.source else { panic!("a store") };
    fs::write(path.join("result"), "12345").expect("a file");
    // While it writes, whoever else mounts it sees what it has written.
    let reader = lab.mount("reader", "work", true).await;
    fs::write(path.join("more"), "1").expect("a file");
    assert_eq!(lab.inspect(&reader).await.expect("verified").files, 3);
    let refused = lab.put("work", "late", b"x").await.expect_err("somebody writes");
    assert_eq!(refused.code, "cache_in_use");
    assert!(refused.message.contains("writer") && !refused.message.contains("reader"), "{}", refused.message);
    lab.caches.unmount(&child("writer")).await;
    assert_eq!(lab.used_bytes(), 7);
    assert_eq!(lab.paths("work").await, ["a", "more", "result"]);
    lab.put("work", "late", b"x").await.expect("nobody writes any more");
    assert_eq!(lab.inspect(&reader).await.expect("what it had").files, 3);
    assert_eq!(lab.caches.view(&name("work")).expect("a view").files, 4);
}

#[tokio::test]
async fn a_put_changes_nothing_for_those_that_mount_it() {
    let lab = lab();
    lab.create("work").await;
    lab.put("work", "a", b"old").await.expect("a put");
    let before = lab.mount("before", "work", true).await;
    lab.put("work", "a", b"newer").await.expect("a put");
    let after = lab.mount("after", "work", true).await;
    assert_eq!((lab.inspect(&before).await.expect("verified").bytes, lab.inspect(&after).await.expect("verified").bytes), (3, 5));
    assert_eq!(lab.used_bytes(), 8);
    lab.caches.unmount(&child("before")).await;
    assert_eq!(lab.used_bytes(), 5);
    lab.caches.unmount(&child("after")).await;
}

#[tokio::test]
async fn time_is_over_when_the_clock_that_cannot_jump_says_so() {
    let lab = lab();
    let ttl = Some(Span::seconds(60));
    lab.caches.create(NewCache { ttl, ..asked("old") }).await.expect("a cache");
    lab.caches
        .create(NewCache { ttl, ttl_from: coord_shared::wire::nested::TtlFrom::LastUse, ..asked("used") })
        .await
        .expect("a cache");
    lab.create("for-ever").await;
    let in_a_year = 365 * 86_400;
    let (over, next) = lab.caches.sweep(later(50, in_a_year)).await;
    assert!(over.is_empty() && next.is_some_and(|next| next <= later(60, 0).mono));
    assert_eq!(lab.caches.list().len(), 3);
    lab.mount("one", "old", true).await;
    lab.mount("one", "used", true).await;
    let (over, next) = lab.caches.sweep(later(61, -in_a_year)).await;
    let reason = "cache old: its time to live of 1m is over".to_owned();
    assert_eq!(over, [Over { cache: name("old"), children: vec![child("one")], reason }]);
    assert_eq!(next, None);
    lab.caches.unmount(&child("one")).await;
    let (over, _) = lab.caches.sweep(later(61, 0)).await;
    assert!(over.is_empty());
    let left: Vec<CacheName> = lab.caches.list().into_iter().map(|cache| cache.name).collect();
    // It was used when it was unmounted, which was a moment after it was made.
    assert!(left == [name("for-ever")] || left == [name("for-ever"), name("used")], "{left:?}");
    lab.caches.sweep(later(70, 0)).await;
    assert_eq!(lab.on_disk(), ["for-ever"]);
}

#[tokio::test]
async fn whose_time_is_over_is_neither_mounted_nor_filled() {
    let lab = lab();
    lab.caches.create(NewCache { ttl: Some("1ms".parse().expect("a span")), ..asked("old") }).await.expect("a cache");
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(code(lab.caches.mount(&child("one"), &[mount("old", true)]).await), "cache_expired");
    assert_eq!(code(lab.put("old", "a", b"x").await), "cache_expired");
}

#[tokio::test]
async fn of_several_mounts_all_or_none_are_noted() {
    let lab = lab();
    lab.create("work").await;
    let both = [mount("work", false), mount("none", true)];
    assert_eq!(code(lab.caches.mount(&child("one"), &both).await), "no_such_cache");
    lab.caches.remove(&name("work")).await.expect("nobody mounts it");
}
