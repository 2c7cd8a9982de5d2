//! Waiting for a condition with a deadline: the only way in which a test lets time pass.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks. Short beside anything that is waited for, long beside what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `look` answers `Some`, and gives that.
///
/// # Errors
/// After `limit`: what was waited for. The last look happens at the deadline, never before it.
pub fn wait_for<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let late = Instant::now() >= deadline;
        if let Some(found) = look() {
            return Ok(found);
        }
        if late {
            bail!("waited {limit:?} in vain: {what}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits until `condition` is true. Errors as [`wait_for`].
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(limit, what, || condition().then_some(()))
}

/// The opposite promise: `condition` stays true for all of `span`.
pub fn stays(span: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + span;
    while Instant::now() < deadline {
        if !condition() {
            bail!("did not last {span:?}: {what}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
