//! `coord run -it` for somebody at a terminal: keys, sizes, and the terminal as it was afterwards.

use crate::door::FakeDoor;
use crate::lab::{coord, until};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex};

/// A terminal, and what was read at it.
struct Terminal {
    ours: File,
    theirs: File,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(rows: u16, columns: u16) -> Terminal {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("a name").into_string().expect("text");
        let theirs = File::options().read(true).write(true).open(name).expect("a terminal");
        let ours = File::from(ours);
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut reader, all) = (ours.try_clone().expect("a copy"), shown.clone());
        // Ends when nobody has the terminal open any more.
        std::thread::spawn(move || {
            let mut piece = [0; 1024];
            while let Ok(read @ 1..) = reader.read(&mut piece) {
                all.lock().expect("no panic").push_str(&String::from_utf8_lossy(&piece[..read]));
            }
        });
        let terminal = Terminal { ours, theirs, shown };
        terminal.resize(rows, columns);
        terminal
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.ours.as_fd(), size).expect("a size");
    }

    fn shows(&self, text: &str) {
        until(&format!("{text:?} is shown"), || self.shown.lock().expect("no panic").contains(text));
    }

    fn other(&self) -> OwnedFd {
        self.theirs.try_clone().expect("a copy").into()
    }

    /// Whether keys are shown as they are typed: not while a program has them.
    fn echoes(&self) -> bool {
        tcgetattr(self.theirs.as_fd()).expect("its modes").local_modes.contains(LocalModes::ECHO)
    }
}

#[test]
fn keys_and_sizes_are_the_containers_and_the_terminal_is_as_it_was() {
    let door = FakeDoor::new();
    let mut terminal = Terminal::open(33, 99);
    let script = "stty size; read first; echo \"got $first\"; until [ \"$(stty size)\" = '44 55' ]; do sleep 0.02; done; echo resized; \
                  trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.02; done";
    let mut command = coord(&door, &["run", "-it", "--image", "r.lan/a:1", "--", "setsid", "-c", "-w", "sh", "-c", script]);
    assert!(terminal.echoes());
    let mut child =
        command.stdin(terminal.other()).stdout(terminal.other()).stderr(terminal.other()).spawn().expect("coord runs");
    terminal.shows("33 99");
    until("the keys are its own", || !terminal.echoes());
    terminal.ours.write_all(b"hello\r").expect("typed");
    terminal.shows("got hello");
    terminal.resize(44, 55);
    // The kernel tells only those whose own terminal it is.
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).expect("it runs");
    terminal.shows("resized");
    terminal.shows("ready");
    terminal.ours.write_all(b"\x03").expect("typed");
    assert_eq!(child.wait().expect("an end").code(), Some(6));
    terminal.shows("interrupted");
    assert!(terminal.echoes(), "the terminal stays raw");
}
