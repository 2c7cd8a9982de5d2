//! Connections to a container's ports as its own programs would make them: from within its network, whatever that is connected to.
//!
//! A socket belongs for all its life to the network namespace of the thread that made it. So a thread that lives for a moment enters
//! the container's namespace and makes one, and everything else happens where the agent lives.

use super::Trouble;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

/// What the thread needs is a page or two.
const STACK_BYTES: usize = 64 * 1024;
/// Where programs listen that are to be asked from within.
const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// One container's doors.
pub(super) struct Doors {
    pid: u32,
    /// Its network namespace, opened once.
    namespace: Option<Arc<File>>,
}

impl Doors {
    /// Of the container whose first process that is.
    pub(super) fn of(pid: u32) -> Self {
        Self { pid, namespace: None }
    }

    /// A connection to its own address, of either family.
    pub(super) async fn connect(&mut self, port: u16) -> Result<TcpStream, Trouble> {
        let namespace = self.namespace()?;
        let mut refused = Vec::new();
        for address in ADDRESSES {
            let connected = match socket_within(&namespace, address).await {
                Ok(socket) => socket.connect(SocketAddr::new(address, port)).await,
                Err(error) => Err(error),
            };
            match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => refused.push((address, error)),
            }
        }
        // What the second address says is of no use where the first one is all that programs know.
        let (address, error) = refused.swap_remove(0);
        Err(Trouble::Ill(format!("cannot connect to {}: {}", SocketAddr::new(address, port), in_words(&error))))
    }

    fn namespace(&mut self) -> Result<Arc<File>, Trouble> {
        if let Some(open) = &self.namespace {
            return Ok(open.clone());
        }
        let opened = File::open(format!("/proc/{}/ns/net", self.pid)).map_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                return Trouble::NoContainer;
            }
            Trouble::Ill(format!("cannot open the network of process {}: {error}", self.pid))
        })?;
        Ok(self.namespace.insert(Arc::new(opened)).clone())
    }
}

/// Makes a socket in `namespace`.
async fn socket_within(namespace: &Arc<File>, address: IpAddr) -> io::Result<TcpSocket> {
    let namespace = namespace.clone();
    let (tell, made) = oneshot::channel();
    let enter_and_make = move || {
        let socket = setns(&*namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from).and_then(|()| match address {
            IpAddr::V4(_) => TcpSocket::new_v4(),
            IpAddr::V6(_) => TcpSocket::new_v6(),
        });
        // Nobody waits for it any more when the question took too long.
        let _ = tell.send(socket);
    };
    std::thread::Builder::new().name("door".to_owned()).stack_size(STACK_BYTES).spawn(enter_and_make)?;
    made.await.map_err(|_| io::Error::other("the thread that makes the socket ended"))?
}

/// Without the number that the standard library adds.
fn in_words(error: &io::Error) -> String {
    if error.kind() == ErrorKind::ConnectionRefused { "connection refused".to_owned() } else { error.to_string() }
}
