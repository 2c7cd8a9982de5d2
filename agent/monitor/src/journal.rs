//! The host's journal, in its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram of `FIELD=value` lines per line.
//!
//! The fields are those of Docker's driver, so that `journalctl CONTAINER_NAME=web.0` finds them. A journal that is missing or slow does
//! not stop the container: everything is in the file as well.

use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::json::Stream;
use crate::sys;

/// Where it listens.
const SOCKET: &[u8] = b"/run/systemd/journal/socket";

/// How long one line may wait for it; after that none waits until one has passed.
const WAIT: Duration = Duration::from_millis(100);

/// Priorities of syslog, as Docker gives them.
const INFORMATION: &[u8] = b"\nPRIORITY=6\n";
const ERROR: &[u8] = b"\nPRIORITY=3\n";

/// See the module's description.
pub(crate) struct Journal {
    socket: OwnedFd,
    path: Vec<u8>,
    /// The fields that are the same in every line.
    fields: Vec<u8>,
    reachable: bool,
}

impl Journal {
    /// `None` when there are no sockets to be had.
    pub(crate) fn new(arguments: &Arguments) -> Option<Journal> {
        Journal::at(arguments, SOCKET)
    }

    /// One that listens elsewhere.
    pub(crate) fn at(arguments: &Arguments, path: &[u8]) -> Option<Journal> {
        let mut fields = Vec::new();
        let name = if arguments.name.is_empty() { &arguments.id } else { &arguments.name };
        for (field, value) in [
            ("CONTAINER_NAME", name),
            ("CONTAINER_ID", &arguments.id),
            ("CONTAINER_ID_FULL", &arguments.id),
            ("CONTAINER_TAG", name),
            ("SYSLOG_IDENTIFIER", name),
        ] {
            fields.extend_from_slice(field.as_bytes());
            fields.push(b'=');
            fields.extend(value.bytes().filter(|&byte| byte != b'\n'));
            fields.push(b'\n');
        }
        fields.shrink_to_fit();
        Some(Journal { socket: sys::datagram_socket(WAIT).ok()?, path: path.to_vec(), fields, reachable: true })
    }

    /// Sends a line, which holds no newline. Returns false once, when the journal is not to be had any more.
    pub(crate) fn send(&mut self, stream: Stream, message: &[u8], partial: bool) -> bool {
        let priority = match stream {
            Stream::Out => INFORMATION,
            Stream::Err => ERROR,
        };
        let part: &[u8] = if partial { b"CONTAINER_PARTIAL_MESSAGE=true\n" } else { b"" };
        let sent = sys::send_to(&self.socket, &self.path, [b"MESSAGE=", message, priority, &self.fields, part], self.reachable);
        let lost_now = self.reachable && sent.is_err();
        self.reachable = sent.is_ok();
        !lost_now
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::Journal;
    use crate::arguments::Arguments;
    use crate::json::Stream;

    #[test]
    fn a_line_is_one_datagram_of_fields() {
        let path = std::env::temp_dir().join(format!("coord-monitor-journal-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let host = UnixDatagram::bind(&path).expect("a socket");
        host.set_read_timeout(Some(std::time::Duration::from_secs(10))).expect("a deadline");
        let text = "run=/r init=1 start=2 log=/l max-bytes=3 max-files=4 driver=journald id=web.0-r1-1 name=web.0";
        let arguments = Arguments::parse(text.split(' ').map(std::ffi::OsString::from)).expect("arguments");
        let mut journal = Journal::at(&arguments, path.as_os_str().as_encoded_bytes()).expect("a socket");
        let mut check = |stream: Stream, message: &str, partial: bool, priority: u8, end: &str| {
            assert!(journal.send(stream, message.as_bytes(), partial));
            let mut datagram = [0; 4096];
            let length = host.recv(&mut datagram).expect("a datagram");
            let expect = format!(
                "MESSAGE={message}\nPRIORITY={priority}\nCONTAINER_NAME=web.0\nCONTAINER_ID=web.0-r1-1\nCONTAINER_ID_FULL=web.0-r1-1\n\
                 CONTAINER_TAG=web.0\nSYSLOG_IDENTIFIER=web.0\n{end}"
            );
            assert_eq!(std::str::from_utf8(&datagram[..length]), Ok(expect.as_str()));
        };
        check(Stream::Out, "hello = world", false, 6, "");
        check(Stream::Err, "", true, 3, "CONTAINER_PARTIAL_MESSAGE=true\n");
        // It goes away, and comes back.
        drop(host);
        std::fs::remove_file(&path).expect("to be removed");
        assert!(!journal.send(Stream::Out, b"told once", false));
        assert!(journal.send(Stream::Out, b"not again", false));
        let host = UnixDatagram::bind(&path).expect("a socket");
        assert!(journal.send(Stream::Out, b"back", false));
        assert!(host.recv(&mut [0; 4096]).is_ok());
        std::fs::remove_file(&path).expect("to be removed");
    }
}
