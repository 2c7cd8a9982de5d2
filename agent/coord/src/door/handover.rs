//! Handing over standard files: the agent gives them to the container, and is not between it and us.

use super::Door;
use crate::failure::local;
use coord_shared::wire::ErrorBody;
use coord_shared::wire::nested::STDIO_SOCKET;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::rand::{GetRandomFlags, getrandom};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use tokio::io::{AsyncReadExt as _, Interest};

/// Letters and digits of a token: 160 bits.
const TOKEN_BYTES: usize = 32;
/// Five bits each.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// What the agent answers when it keeps them.
const KEPT: u8 = b'+';

/// Random letters and digits.
///
/// # Errors
/// When the kernel has no random numbers.
pub(crate) fn letters(length: usize) -> io::Result<String> {
    let mut bytes = vec![0; length];
    getrandom(&mut bytes[..], GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

impl Door {
    /// Hands over three descriptors: standard input, output and error. Returns the token by which they are named.
    pub(crate) async fn hand_over(&self, files: &[OwnedFd; 3]) -> Result<String, ErrorBody> {
        let token = letters(TOKEN_BYTES).map_err(|e| local("get random numbers", e))?;
        let name = Path::new(STDIO_SOCKET).file_name().unwrap_or_default();
        let mut stream = self.connect(&self.folder().join(name)).await?;
        let sent = stream.async_io(Interest::WRITABLE, || {
            let fds: [BorrowedFd<'_>; 3] = [files[0].as_fd(), files[1].as_fd(), files[2].as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            Ok(sendmsg(&stream, &[IoSlice::new(token.as_bytes())], &mut control, SendFlags::NOSIGNAL)?)
        });
        let handed = |e: io::Error| local("hand over the container's input and output", e);
        if sent.await.map_err(handed)? != token.len() {
            return Err(handed(io::ErrorKind::WriteZero.into()));
        }
        let mut answer = [0; 1];
        match stream.read(&mut answer).await.map_err(handed)? {
            1 if answer[0] == KEPT => Ok(token),
            _ => Err(handed(io::Error::other("the agent does not take them"))),
        }
    }
}
