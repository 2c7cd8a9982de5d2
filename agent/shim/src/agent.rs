//! The agent at the other end of the socket that this program was started with; see [`crate::request`] for who says what when.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Deserialize;

use crate::request::{Connected, Failure, FailureKind, Inspected, Message};

/// A line that is longer than this is refused. The largest part is a request's environment, which the kernel itself
/// limits to 2 MiB together with the arguments.
const LINE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Standard input, output and error.
pub(crate) const STDIO: usize = 3;

/// See the module's description.
pub(crate) struct Agent {
    socket: UnixStream,
    /// Read already, and not part of the lines before.
    ahead: Vec<u8>,
}

impl Agent {
    /// Takes the socket at standard input.
    pub(crate) fn at_stdin() -> io::Result<Agent> {
        let socket = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from)?;
        Ok(Agent { socket, ahead: Vec::new() })
    }

    /// Takes the byte that comes first, and the files that came with it.
    pub(crate) fn receive_files(&mut self) -> io::Result<Vec<OwnedFd>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STDIO))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let received = recvmsg(&self.socket, &mut [io::IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut files = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = message {
                files.extend(sent);
            }
        }
        Ok(files)
    }

    /// Waits for the next line, and reads it as `T`.
    pub(crate) fn receive<T: for<'de> Deserialize<'de>>(&mut self) -> io::Result<T> {
        let line = self.line()?;
        Ok(serde_json::from_slice(&line)?)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.ahead[searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.ahead.split_off(searched + end + 1);
                return Ok(std::mem::replace(&mut self.ahead, rest));
            }
            searched = self.ahead.len();
            if searched > LINE_MAX_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut buffer = [0; 16 * 1024];
            match self.socket.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.ahead.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Says something. An agent that is gone meanwhile finds in `state.json` what has become of the container.
    pub(crate) fn say(&mut self, message: &Message) {
        let mut text = serde_json::to_vec(message).unwrap_or_default();
        text.push(b'\n');
        let _ = self.socket.write_all(&text);
    }

    /// Waits until the agent has connected the network namespace.
    pub(crate) fn wait_until_connected(&mut self) -> Result<(), Failure> {
        let failed = |detail: String| Failure { kind: FailureKind::Network, object: String::new(), detail };
        self.receive::<Connected>().map_err(|error| failed(format!("the agent did not connect it: {error}")))?.map_err(failed)
    }

    /// Waits until the agent has looked at the container.
    pub(crate) fn wait_until_inspected(&mut self) -> Result<(), Failure> {
        let failed = |detail: String| Failure { kind: FailureKind::Inspection, object: String::new(), detail };
        self.receive::<Inspected>().map_err(|error| failed(format!("the agent did not look at it: {error}")))?.map_err(failed)
    }
}
