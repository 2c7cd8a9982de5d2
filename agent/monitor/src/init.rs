//! The monitor's second mode, `--init CHILD`: the first process of a container whose command is its child.
//!
//! It takes note of the end of every process that has lost its parent, passes signals on to the command, and ends as the
//! command did. As the first process it would otherwise ignore every signal that it has no handler for, and so would a
//! command in its place. Deliberately absent: killing what the command leaves behind. That is the kernel's, when this ends.

use crate::sys::{self, Status};

/// Added to the number of the signal that ended the command, as shells do it: a first process cannot end by a signal of its own.
const SIGNALLED: i32 = 128;

/// Waits until `child` has ended. Returns the exit status to end with.
pub(crate) fn run(child: i32) -> i32 {
    sys::name_process(c"coord-init");
    let signals = sys::block_all_signals();
    loop {
        // First, so that no end is missed that was told before the signals were blocked.
        while let Some((pid, status)) = sys::reap_any() {
            if pid == child {
                return match status {
                    Status::Code(code) => code,
                    Status::Signal(signal) => SIGNALLED + signal,
                };
            }
        }
        match sys::wait_signal(&signals) {
            Some(signal) if signal != libc::SIGCHLD => sys::pass_on(child, signal),
            _ => {}
        }
    }
}
