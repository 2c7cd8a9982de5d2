//! Sockets that see or change more than a program's own connections.

use crate::line::{Finding, Line, USUAL_LIMIT};
use crate::sys::{Answer, call, of};

const fn line(name: &'static str, what: &'static str, probe: fn() -> Finding) -> Line {
    Line { name, chapter: "Network", what, probe, limit: USUAL_LIMIT }
}

pub(crate) const LINES: &[Line] = &[
    line("raw", "a raw socket", || Finding::of_call(socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP))),
    line("packet", "a packet socket: spoof, listen to others", || {
        Finding::of_call(socket(libc::AF_PACKET, libc::SOCK_RAW, 0x300))
    }),
    line("lo-down", "change an interface by ioctl", || {
        let mut request = [0_u8; 40];
        request[..2].copy_from_slice(b"lo");
        // SIOCSIFFLAGS: up and running, as it is.
        request[16] = 0x49;
        with_socket(libc::AF_INET, libc::SOCK_DGRAM, 0, |fd| call(libc::SYS_ioctl, &[fd, 0x8914, of(&mut request)]))
    }),
    line("netlink", "change an interface by netlink", || {
        // struct nlmsghdr (RTM_NEWLINK, REQUEST|ACK), struct ifinfomsg of interface 1.
        let mut message = [0_u8; 32];
        message[0] = 32;
        message[4] = 16;
        message[6] = 5;
        message[20] = 1;
        with_socket(libc::AF_NETLINK, libc::SOCK_RAW, 0, |fd| acknowledged(fd, &mut message))
    }),
    line("nft", "change packet filters by netlink", || {
        // A batch that begins and ends: NFNL_MSG_BATCH_BEGIN with an unknown subsystem.
        let mut message = [0_u8; 20];
        message[0] = 20;
        message[4] = 16;
        message[6] = 5;
        message[19] = 10;
        with_socket(libc::AF_NETLINK, libc::SOCK_RAW, 12, |fd| acknowledged(fd, &mut message))
    }),
    line("audit", "speak to the audit system", || {
        // AUDIT_SET with nothing in it.
        let mut message = [0_u8; 16];
        message[0] = 16;
        message[4] = 0xe9;
        message[5] = 3;
        message[6] = 5;
        // The kernel's word for everybody but the host's own users (kernel/audit.c, audit_netlink_ok).
        let refused = |error| if error == libc::ECONNREFUSED { libc::EPERM } else { error };
        with_socket(libc::AF_NETLINK, libc::SOCK_RAW, 9, |fd| acknowledged(fd, &mut message).map_err(refused))
    }),
    line("vsock", "a socket to the hypervisor", || Finding::of_call(socket(40, libc::SOCK_STREAM, 0).map_err(not_here))),
    line("alg", "the kernel's ciphers by sockets (AF_ALG)", || {
        Finding::of_call(socket(38, libc::SOCK_SEQPACKET, 0).map_err(not_here))
    }),
    line("ip-transparent", "take packets for other addresses (IP_TRANSPARENT)", || {
        let mut one = [1_i32];
        with_socket(libc::AF_INET, libc::SOCK_STREAM, 0, |fd| call(libc::SYS_setsockopt, &[fd, 0, 19, of(&mut one), 4]))
    }),
];

/// A family that the kernel does not have is closed.
fn not_here(error: i32) -> i32 {
    if error == libc::EAFNOSUPPORT { libc::ENOSYS } else { error }
}

fn socket(family: i32, kind: i32, protocol: i32) -> Answer {
    call(libc::SYS_socket, &[family as usize, kind as usize, protocol as usize])
}

fn with_socket(family: i32, kind: i32, protocol: i32, tried: impl FnOnce(usize) -> Answer) -> Finding {
    match socket(family, kind, protocol) {
        Ok(fd) => Finding::of_call(tried(fd as usize)),
        Err(error) => Finding::of_call(Err(not_here(error))),
    }
}

/// Sends a netlink message and gives the error in its acknowledgement (struct nlmsgerr after struct nlmsghdr).
fn acknowledged(fd: usize, message: &mut [u8]) -> Answer {
    let length = message.len();
    call(libc::SYS_sendto, &[fd, of(message), length, 0, 0, 0])?;
    let mut answer = [0_u8; 256];
    let count = call(libc::SYS_recvfrom, &[fd, of(&mut answer), 256, libc::MSG_DONTWAIT as usize, 0, 0])?;
    if count < 20 {
        return Err(libc::EIO);
    }
    let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if error == 0 { Ok(0) } else { Err(-error) }
}
