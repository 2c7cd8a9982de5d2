//! Places at which a test ends the process, as a power cut or `kill -9` would: one before every change of the disk.
//!
//! With `COORD_CRASH_AT=N` in the environment the process kills itself at the Nth place that it comes by, whichever thread that is,
//! after one line on standard error that names the place. A test counts N up until the work gets done. Only in tests and with the
//! feature `crashpoints`; elsewhere a place is nothing at all.

/// A place. `name` is for whoever reads why a test fails.
#[cfg(not(any(test, feature = "crashpoints")))]
#[inline(always)]
pub(crate) fn point(_name: &'static str) {}

/// A place. `name` is for whoever reads why a test fails.
#[cfg(any(test, feature = "crashpoints"))]
pub(crate) fn point(name: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static AT: LazyLock<Option<u64>> = LazyLock::new(|| std::env::var("COORD_CRASH_AT").ok()?.parse().ok());
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let Some(at) = *AT else { return };
    if PASSED.fetch_add(1, Ordering::SeqCst) + 1 == at {
        let line = format!("killed at place {at}: {name}\n");
        // Without the line it ends all the same.
        let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
