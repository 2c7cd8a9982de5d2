//! The agent's side of a talk with a shim; see `request` for who says what when.

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::parent::open_root;
use super::request::{Connected, Inspected, Message, ProcessId, Request};
use super::start::open_process;
use super::watch::ended;
use super::{ContainerSpec, NetworkMode, Stdio};

/// What a shim says in all is a few hundred bytes.
const SAID_MAX_BYTES: u64 = 256 * 1024;

/// Sends the request over `socket`, connects the network when the shim has made it, and waits for the last word. `None`: the shim
/// has ended, or said what nobody understands.
pub(super) async fn hold(socket: StdUnixStream, spec: &ContainerSpec, request: &Request) -> io::Result<Option<Message>> {
    send_files(&socket, &spec.stdio)?;
    socket.set_nonblocking(true)?;
    let (from, mut to) = UnixStream::from_std(socket)?.into_split();
    to.write_all(&line(request)?).await?;
    let mut from = BufReader::new(from.take(SAID_MAX_BYTES));
    loop {
        let mut text = Vec::new();
        if from.read_until(b'\n', &mut text).await? == 0 {
            return Ok(None);
        }
        match serde_json::from_slice(&text) {
            Ok(Message::Network { namespace }) => {
                let namespace = File::open(namespace).map(OwnedFd::from);
                let connected = connect(spec, namespace).await;
                // A shim that has failed meanwhile does not listen any more; why, is the next that it says.
                let _ = to.write_all(&line(&connected)?).await;
            }
            Ok(Message::Ready { init }) => {
                let inspected = inspect(spec, init).await?;
                let _ = to.write_all(&line(&inspected)?).await;
            }
            Ok(last) => return Ok(Some(last)),
            Err(_) => return Ok(None),
        }
    }
}

async fn connect(spec: &ContainerSpec, namespace: io::Result<OwnedFd>) -> Connected {
    match &spec.network {
        NetworkMode::Connected(connect) => connect.0(namespace.map_err(|error| error.to_string())?).await,
        NetworkMode::Host | NetworkMode::None | NetworkMode::Parent => Ok(()),
    }
}

/// Fails when the container's first process ends meanwhile: with its parent, which could not end before the shim has.
async fn inspect(spec: &ContainerSpec, init: ProcessId) -> io::Result<Inspected> {
    let Some(inspection) = &spec.inspection else { return Ok(Ok(())) };
    let over = || io::Error::other("its first process has ended");
    let process = open_process(init).ok_or_else(over)?;
    let root = open_root(init.pid, &process)?;
    tokio::select! {
        inspected = inspection.0(root) => Ok(inspected),
        () = ended(&process) => Err(over()),
    }
}

fn line(said: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(said)?;
    text.push(b'\n');
    Ok(text)
}

/// One byte, and with it the files that the container is given. It fits into any socket.
fn send_files(socket: &StdUnixStream, stdio: &Stdio) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = match stdio {
        Stdio::Logged => Vec::new(),
        Stdio::Given(files) => files.iter().map(AsFd::as_fd).collect(),
    };
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[IoSlice::new(b"\n")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
