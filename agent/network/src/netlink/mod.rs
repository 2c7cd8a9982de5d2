//! A socket to the kernel that is asked and answers: links, addresses, routes, rules' generation, connections.
//!
//! Blocking, one request at a time: the kernel answers within microseconds, so whoever asks is a thread for such work. A socket stays in
//! the network namespace in which it was opened.

mod message;

pub(crate) use message::{Message, attribute, text, to_address, u16_at, u32_at, u32_of};

use message::HEADER_BYTES;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with, sockopt};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The kernel answers at once, or holds its lock for as long as somebody else changes links: seconds on a host that makes hundreds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What the kernel puts into one answer at most (NLMSG_GOODSIZE is 8 KiB; for dumps it goes up to 32 KiB where there is room).
const ANSWER_MAX_BYTES: usize = 32 * 1024;

/// Which part of the kernel is spoken to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Family {
    /// Links, addresses, routes.
    Route,
    /// nftables and connection tracking.
    Netfilter,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open(family: Family) -> io::Result<Socket> {
        let protocol: Option<Protocol> = match family {
            Family::Route => None,
            Family::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Socket { fd, sequence: 0, buffer: vec![0; ANSWER_MAX_BYTES] })
    }

    /// Sends a request and waits until the kernel says that it is done.
    pub(crate) fn change(&mut self, message: Message) -> io::Result<()> {
        self.ask(message, |_, _| {})
    }

    /// Sends a request with `NLM_F_ACK` or `NLM_F_DUMP`, and hands each answer's type and body to `each`.
    pub(crate) fn ask(&mut self, message: Message, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = message.finish(self.sequence);
        send(&self.fd, &request, SendFlags::empty())?;
        loop {
            let (length, _) = recv(&self.fd, &mut self.buffer[..], RecvFlags::empty())?;
            let mut rest = &self.buffer[..length];
            while let Some(answer) = take(&mut rest) {
                // What an earlier, abandoned request still brings is not for this one.
                if answer.sequence != self.sequence {
                    continue;
                }
                match i32::from(answer.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => return outcome(answer.body),
                    _ => each(answer.kind, answer.body),
                }
            }
        }
    }
}

struct Answer<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The next message of what was received.
fn take<'a>(rest: &mut &'a [u8]) -> Option<Answer<'a>> {
    let length = usize::try_from(u32_at(rest, 0)?).ok()?;
    let body = rest.get(HEADER_BYTES..length)?;
    let answer = Answer { kind: u16_at(rest, 4)?, sequence: u32_at(rest, 8)?, body };
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(answer)
}

/// `NLMSG_ERROR` begins with a negative errno, or 0 for success; `NLMSG_DONE` with the outcome of the dump.
fn outcome(body: &[u8]) -> io::Result<()> {
    match u32_at(body, 0).map(u32::cast_signed) {
        Some(0) | None => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    }
}
