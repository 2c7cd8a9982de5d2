//! The probe's system calls: raw, because what matters is the kernel's answer and not a library's opinion of it.
//!
//! Deliberately absent: any judgement; see `line.rs`.

#![allow(unsafe_code, reason = "the one file of this crate with system calls")]

use std::ffi::CString;
use std::io;
use std::time::{Duration, Instant};

use crate::line::Finding;

/// An answer of the kernel: a number, or an error's.
pub(crate) type Answer = Result<i64, i32>;

/// What a child may say at most; a finding is a line.
const SAID_MAX_BYTES: usize = 4096;

/// Any system call. Arguments are numbers or addresses; those beyond the call's own are ignored by the kernel.
pub(crate) fn call(number: libc::c_long, arguments: &[usize]) -> Answer {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: callers pass either plain numbers or addresses of buffers that live until the call returns; a wrong address is
    // answered by EFAULT. Each probe runs in a process of its own, so a call that changes the process harms nothing else.
    let answer = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    if answer < 0 { Err(errno()) } else { Ok(answer) }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A text for the kernel. Paths of the probe hold no zero byte; one that did would be cut there.
pub(crate) fn text(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().take_while(|byte| *byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

/// The address of a text, to be passed to [`call`].
pub(crate) fn at(text: &CString) -> usize {
    text.as_ptr() as usize
}

/// The address of a buffer, to be passed to [`call`].
pub(crate) fn of<T>(buffer: &mut [T]) -> usize {
    buffer.as_mut_ptr() as usize
}

/// Runs `probe` in a child and gives what it found. A child that dies or is too slow is a finding of its own.
pub(crate) fn in_child(limit: Duration, probe: impl FnOnce() -> Finding) -> Finding {
    let mut ends = [0_i32; 2];
    if let Err(error) = call(libc::SYS_pipe2, &[of(&mut ends), libc::O_NONBLOCK as usize]) {
        return Finding::unknown(format!("no pipe: {}", crate::line::name(error)));
    }
    // SAFETY: the probe has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let finding = probe().to_line();
        let bytes = finding.as_bytes();
        let _ = call(libc::SYS_write, &[ends[1] as usize, bytes.as_ptr() as usize, bytes.len().min(SAID_MAX_BYTES)]);
        exit_now();
    }
    let _ = call(libc::SYS_close, &[ends[1] as usize]);
    let finding = if child < 0 {
        Finding::unknown(format!("no child: {}", crate::line::name(errno())))
    } else {
        hear(child, ends[0], limit)
    };
    let _ = call(libc::SYS_close, &[ends[0] as usize]);
    finding
}

fn exit_now() -> ! {
    // SAFETY: ends this process without running what was registered by the one that it is a copy of.
    unsafe { libc::_exit(0) }
}

fn hear(child: i32, end: i32, limit: Duration) -> Finding {
    let ended = await_end(child, limit);
    let mut said = vec![0_u8; SAID_MAX_BYTES];
    let count = call(libc::SYS_read, &[end as usize, of(&mut said), said.len()]).unwrap_or(0);
    said.truncate(usize::try_from(count).unwrap_or(0));
    match (said.is_empty(), ended) {
        (false, _) => Finding::from_line(&String::from_utf8_lossy(&said)),
        (true, Some(status)) if libc::WIFSIGNALED(status) => {
            Finding::refused(format!("killed by signal {}", libc::WTERMSIG(status)))
        }
        (true, Some(status)) => Finding::unknown(format!("ended with status {status}")),
        (true, None) => Finding::unknown("still busy when the time was over".to_owned()),
    }
}

/// The status of a child's end; kills it when the time is over.
pub(crate) fn await_end(child: i32, limit: Duration) -> Option<i32> {
    let deadline = Instant::now() + limit;
    loop {
        let mut status = 0;
        // SAFETY: `status` lives until the call returns.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        if ended == child {
            return Some(status);
        }
        if Instant::now() >= deadline {
            let _ = call(libc::SYS_kill, &[child as usize, libc::SIGKILL as usize]);
            // SAFETY: as above.
            let _ = unsafe { libc::waitpid(child, &raw mut status, 0) };
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A child that does nothing until it is killed; its process number.
pub(crate) fn sleeper() -> Answer {
    // SAFETY: the probe has one thread; the child calls nothing but pause.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: takes nothing, changes nothing.
            unsafe { libc::pause() };
        }
    }
    if child < 0 { Err(errno()) } else { Ok(i64::from(child)) }
}

/// Kills and reaps children.
pub(crate) fn end(children: &[i64]) {
    for child in children {
        let _ = call(libc::SYS_kill, &[*child as usize, libc::SIGKILL as usize]);
    }
    for child in children {
        let mut status = 0;
        // SAFETY: `status` lives until the call returns.
        let _ = unsafe { libc::waitpid(i32::try_from(*child).unwrap_or(-1), &raw mut status, 0) };
    }
}

/// Touches memory, page by page, until so many bytes are really there.
pub(crate) fn touch_memory(bytes: usize) {
    const STEP: usize = 1 << 20;
    let mut all: Vec<Vec<u8>> = Vec::new();
    while all.len() * STEP < bytes {
        all.push(vec![1; STEP]);
    }
    std::hint::black_box(&all);
}
