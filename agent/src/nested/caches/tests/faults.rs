//! What happens in between: agents are killed, senders vanish, room runs out.

use super::*;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};

#[tokio::test]
async fn an_agent_that_starts_finds_caches_and_who_mounts_them() {
    let lab = lab();
    lab.create("work").await;
    lab.put("work", "a", b"old").await.expect("a put");
    let before = lab.mount("before", "work", true).await;
    lab.mount("gone", "work", true).await;
    lab.put("work", "a", b"newer").await.expect("a put");
    let lab = lab.reopened();
    let view = lab.caches.view(&name("work")).expect("a view");
    assert_eq!((view.files, view.bytes, view.used_by), (1, 5, vec![child("before"), child("gone")]));
    assert_eq!(lab.inspect(&before).await.expect("what it had").bytes, 3);
    assert_eq!(lab.used_bytes(), 8);
    lab.caches.retain(&[child("before")]).await;
    assert_eq!(lab.caches.view(&name("work")).expect("a view").used_by, [child("before")]);
    lab.caches.retain(&[]).await;
    assert_eq!(lab.used_bytes(), 5);
    lab.caches.remove_all().await;
    assert!(!lab.folder.path().join("caches").exists() && lab.used_bytes() == 0);
}

#[tokio::test]
async fn time_goes_on_while_no_agent_runs() {
    let lab = lab();
    lab.caches.create(NewCache { ttl: Some(Span::seconds(60)), ..asked("old") }).await.expect("a cache");
    let lab = lab.reopened();
    let (_, next) = lab.caches.sweep(later(0, 0)).await;
    assert!(next.is_some_and(|next| next <= later(60, 0).mono));
    lab.caches.sweep(later(60, 0)).await;
    assert!(lab.on_disk().is_empty());
}

#[tokio::test]
async fn what_an_agent_left_half_done_is_undone() {
    let lab = lab();
    lab.create("work").await;
    lab.create("half").await;
    lab.put("work", "a", b"1").await.expect("a put");
    // A copy that was not whole yet, one that was being made, one that was being deleted, one whose record is no record.
    let notes = lab.folder.path().join("caches/half/notes");
    fs::write(&notes, fs::read_to_string(&notes).expect("a record").replace("\"is_ready\":true", "\"is_ready\":false"))
        .expect("a file");
    fs::create_dir_all(lab.folder.path().join("caches/.new-x/g/0")).expect("a folder");
    fs::create_dir_all(lab.folder.path().join("caches/.gone-y-0/g/0/files")).expect("a folder");
    fs::create_dir_all(lab.folder.path().join("caches/broken")).expect("a folder");
    fs::create_dir_all(lab.folder.path().join("caches/NO NAME")).expect("a folder");
    fs::create_dir_all(lab.folder.path().join("caches/work/put/1/files")).expect("a folder");
    let lab = lab.reopened();
    assert_eq!(lab.on_disk(), ["work"]);
    assert_eq!((lab.paths("work").await, lab.used_bytes()), (vec!["a".to_owned()], 1));
}

/// Sends a little, and then vanishes in one way or another.
struct Sender {
    left: &'static [u8],
    then: Option<io::ErrorKind>,
}

impl AsyncRead for Sender {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.left.is_empty() {
            buffer.put_slice(std::mem::take(&mut self.left));
            return Poll::Ready(Ok(()));
        }
        self.then.map_or(Poll::Pending, |kind| Poll::Ready(Err(io::Error::from(kind))))
    }
}

#[tokio::test]
async fn a_sender_that_vanishes_leaves_nothing() {
    let lab = lab();
    lab.create("work").await;
    let cut = Sender { left: b"half", then: Some(io::ErrorKind::ConnectionReset) };
    let refused = lab.caches.put_file(&name("work"), "a", 0o644, cut).await.expect_err("refused");
    assert_eq!(refused.code, "bad_archive");
    // Whoever waited for the answer has gone: the request is dropped in the middle.
    let silent = Sender { left: b"half", then: None };
    let dropped = tokio::time::timeout(Duration::from_millis(20), lab.caches.put_file(&name("work"), "a", 0o644, silent)).await;
    assert!(dropped.is_err());
    // Deleting it does not wait for anybody who is silent.
    let silent = Sender { left: b"half", then: None };
    let caches = lab.caches.clone();
    let putting = tokio::spawn(async move { caches.put_file(&name("work"), "a", 0o644, silent).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(lab.paths("work").await, Vec::<String>::new());
    lab.caches.remove(&name("work")).await.expect("deleted");
    assert!(putting.await.expect("a task").is_err());
    assert_eq!((lab.on_disk(), lab.used_bytes()), (Vec::new(), 0));
}

#[tokio::test]
async fn puts_at_once_share_the_room() {
    let lab = lab_of(10);
    lab.create("one").await;
    lab.create("other").await;
    let (mut sender, receiver) = tokio::io::duplex(64);
    let caches = lab.caches.clone();
    let slow = tokio::spawn(async move { caches.put_file(&name("one"), "a", 0o644, receiver).await });
    sender.write_all(b"123456").await.expect("sent");
    let deadline = std::time::Duration::from_secs(5);
    let taken = async {
        while lab.used_bytes() < 6 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(deadline, taken).await.expect("the first has taken its part");
    assert_eq!(code(lab.put("other", "b", b"12345").await), "over_quota");
    lab.put("other", "b", b"1234").await.expect("exactly what is left");
    drop(sender);
    slow.await.expect("a task").expect("a put");
    assert_eq!(lab.used_bytes(), 10);
    assert_eq!(code(lab.put("other", "c", b"1").await), "over_quota");
    lab.caches.remove(&name("one")).await.expect("deleted");
    lab.put("other", "c", b"1").await.expect("there is room again");
}

#[tokio::test]
async fn a_cache_of_its_own_size_holds_no_more() {
    let lab = lab();
    lab.caches.create(NewCache { size: Some(ByteSize(4)), ..asked("small") }).await.expect("a cache");
    let refused = lab.put("small", "a", b"12345").await.expect_err("too much");
    assert_eq!(
        (refused.code.as_str(), refused.message.as_str()),
        ("over_quota", "cache small: this is more than the 4B that this cache may hold")
    );
    lab.put("small", "a", b"1234").await.expect("as much as it may");
}

#[tokio::test]
async fn whoever_writes_more_than_fits_is_ended() {
    let lab = lab_of(10);
    lab.create("work").await;
    let MountSource::Volume { path, .. } = lab.mount("writer", "work", false).await.mount.source else { panic!("a store") };
    lab.mount("reader", "work", true).await;
    fs::write(path.join("a"), "1234567890").expect("a file");
    let (over, next) = lab.caches.sweep(later(0, 0)).await;
    assert!(over.is_empty() && next.is_some(), "it is exactly full");
    fs::write(path.join("b"), "1").expect("a file");
    let (over, _) = lab.caches.sweep(later(0, 0)).await;
    let reason = "cache work: there is more in it than the 10B that all caches of this container may hold".to_owned();
    assert_eq!(over, [Over { cache: name("work"), children: vec![child("writer")], reason }]);
    lab.caches.unmount(&child("writer")).await;
    let (over, next) = lab.caches.sweep(later(0, 0)).await;
    assert!(over.is_empty() && next.is_none());
    assert_eq!(code(lab.caches.mount(&child("again"), &[mount("work", false)]).await), "over_quota");
    lab.mount("again", "work", true).await;
    assert_eq!(code(lab.put("work", "c", b"1").await), "over_quota");
}

#[tokio::test]
async fn of_two_that_make_one_cache_one_does() {
    let lab = lab();
    let (one, other) = tokio::join!(lab.caches.create(asked("work")), lab.caches.create(asked("work")));
    assert!(one.is_ok());
    assert_eq!(code(other), "cache_exists");
}
