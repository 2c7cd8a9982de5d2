//! The second socket: over it a container hands over the standard files of a second container that it is about to ask for, so that the
//! agent is not in the way of what they carry.
//!
//! One message: a token, with three descriptors. `+` is the answer when they are kept, `-` when not.

use super::door::Door;
use super::given::Files;
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, fstatfs};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 8;
/// How long one may take: its one message is sent at once.
const TIMEOUT: Duration = Duration::from_secs(5);
/// After a failed accept (out of descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longer than any token.
const MESSAGE_MAX_BYTES: usize = 128;
/// File systems whose files are answered for by a program: it might never let go of whoever touches one (linux/magic.h).
const FUSE_MAGIC: i64 = 0x6573_5546;

/// Serves connections until the future is dropped.
pub(super) async fn serve(listener: UnixListener, door: Arc<Door>) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let door = door.clone();
                tokio::task::spawn_local(async move {
                    if tokio::time::timeout(TIMEOUT, take(stream, &door)).await.is_err() {
                        tracing::debug!(container = %door.about.container, "standard files were not handed over in time");
                    }
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!(container = %door.about.container, %error, "its door cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn take(mut stream: UnixStream, door: &Door) {
    let kept = match receive(&stream).await {
        Ok((token, files)) => {
            let checked = tokio::task::spawn_blocking(move || check(files)).await.ok().flatten();
            checked.is_some_and(|files| door.given.keep(&token, files))
        }
        Err(error) => {
            tracing::debug!(container = %door.about.container, %error, "standard files were not handed over");
            false
        }
    };
    // Whoever is gone has given up.
    let _ = stream.write_all(if kept { b"+" } else { b"-" }).await;
}

/// The message, whatever descriptors it brings.
async fn receive(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    stream.async_io(Interest::READABLE, || receive_now(stream)).await
}

fn receive_now(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut text = [0; MESSAGE_MAX_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(found) = message {
            files.extend(found);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("more than three descriptors"));
    }
    let token = String::from_utf8_lossy(&text[..received.bytes]).trim_end().to_owned();
    Ok((token, files))
}

/// Three files that carry bytes. A folder, or a descriptor that only names something, would be a way out of a container's root. Blocks.
fn check(files: Vec<OwnedFd>) -> Option<Files> {
    let carries = |file: &OwnedFd| {
        let flags = fcntl_getfl(file).ok()?;
        if flags.contains(OFlags::PATH) || fstatfs(file).ok()?.f_type == FUSE_MAGIC {
            return None;
        }
        let kind = FileType::from_raw_mode(fstat(file).ok()?.st_mode);
        let is_fine = matches!(kind, FileType::Fifo | FileType::CharacterDevice | FileType::Socket | FileType::RegularFile);
        is_fine.then_some(())
    };
    let all_carry = files.iter().all(|file| carries(file).is_some());
    if all_carry { files.try_into().ok() } else { None }
}
