//! How often to try again, and after which pause.

use coord_registry::RegistryError;
use std::time::Duration;

/// How much later than asked we come back, at most, as a part of the pause that a registry asks for: it asks a whole fleet for the same.
const ASKED_SPREAD: f64 = 0.1;

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Requests in a row that bring next to nothing, before the pull fails.
    pub attempts: u32,
    /// Before the second of them; doubles from there.
    pub pause_min: Duration,
    /// The longest pause, unless the registry asks for a longer one.
    pub pause_max: Duration,
}

impl Default for Retry {
    /// About half a minute of trouble; whoever wants the image for longer pulls again, and keeps the layers that arrived.
    fn default() -> Self {
        Retry { attempts: 7, pause_min: Duration::from_millis(250), pause_max: Duration::from_secs(10) }
    }
}

impl Retry {
    /// Does something until it succeeds, fails for good, or has been tried often enough.
    pub(crate) async fn run<T>(&self, mut attempt: impl AsyncFnMut() -> Result<T, RegistryError>) -> Result<T, RegistryError> {
        let mut failed = 0;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            failed += 1;
            self.wait(failed, error).await?;
        }
    }

    /// Waits for the next attempt, or gives the error back when there is none.
    pub(super) async fn wait(&self, failed: u32, error: RegistryError) -> Result<(), RegistryError> {
        if !error.is_retryable() || failed >= self.attempts {
            return Err(error);
        }
        let pause = self.pause(failed, error.retry_after(), fastrand::f64());
        tracing::warn!(error = %coord_registry::chain(&error), attempt = failed, pause_ms = pause.as_millis(), "registry trouble, trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The pause before attempt `failed + 1`, spread by `chance` (from 0 to 1) so that a fleet does not come back in step: earlier by
    /// up to a half, but never earlier than asked.
    pub(super) fn pause(&self, failed: u32, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = self.pause_min.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(self.pause_max);
        let jittered = doubled.mul_f64(chance.mul_add(0.5, 0.5));
        asked.map_or(jittered, |asked| asked.mul_f64(chance.mul_add(ASKED_SPREAD, 1.0)).max(jittered))
    }
}
