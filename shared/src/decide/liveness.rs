//! Liveness: what the coordinator may say of a host from when it last heard of it.
//!
//! Three answers and one admission. `Lost` does not mean down: the host may be running everything behind a cut cable, and no
//! decision takes it for dead.

use super::Mono;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Whether a host is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// Heard of in time.
    Ready,
    /// A heartbeat or two are missing.
    Late,
    /// Not heard of for long.
    Lost,
    /// Not heard of since the coordinator started, a short while ago.
    Unknown,
}

impl Liveness {
    /// Whether its reports are fresh enough to decide by.
    pub fn is_reachable(self) -> bool {
        matches!(self, Self::Ready | Self::Late)
    }

    /// Whether it is away for so long that nobody waits for it. One that is not known yet is not away.
    pub fn is_away(self) -> bool {
        matches!(self, Self::Lost)
    }
}

impl std::fmt::Display for Liveness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Late => "late",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        })
    }
}

/// The two limits of silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessLimits {
    /// Silence from which a host is late.
    pub late_after: Duration,
    /// Silence from which it is lost.
    pub lost_after: Duration,
}

impl Default for LivenessLimits {
    /// Agents report every ten seconds at the latest: two and a half, and six, heartbeats.
    fn default() -> Self {
        Self { late_after: Duration::from_secs(25), lost_after: Duration::from_secs(60) }
    }
}

/// Judges a host by how long it has been silent; `None` if it was never heard of.
pub fn liveness(silence: Option<Duration>, limits: LivenessLimits) -> Liveness {
    match silence {
        None => Liveness::Unknown,
        Some(silence) if silence >= limits.lost_after => Liveness::Lost,
        Some(silence) if silence >= limits.late_after => Liveness::Late,
        Some(_) => Liveness::Ready,
    }
}

/// Judges a host by when it was last heard of, if ever since the coordinator started to listen. A coordinator that has listened in
/// vain for as long as a lost host is silent knows as much as one that heard the host's last word: the host is lost, not unknown.
pub fn liveness_since(heard_at: Option<Mono>, listening_since: Mono, now: Mono, limits: LivenessLimits) -> Liveness {
    let listened = now.since(listening_since);
    let silence = heard_at.map(|at| now.since(at)).or((listened >= limits.lost_after).then_some(listened));
    liveness(silence, limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_judged_by_its_length() {
        let check = |seconds: Option<u64>, expect| {
            assert_eq!(liveness(seconds.map(Duration::from_secs), LivenessLimits::default()), expect)
        };
        check(None, Liveness::Unknown);
        check(Some(0), Liveness::Ready);
        check(Some(25), Liveness::Late);
        check(Some(60), Liveness::Lost);
    }
    #[test]
    fn a_host_that_was_never_heard_of_is_lost_in_the_end() {
        let check = |heard_at: Option<u64>, now, expect| {
            let second = |at| Mono(Duration::from_secs(at));
            assert_eq!(liveness_since(heard_at.map(second), second(100), second(now), LivenessLimits::default()), expect)
        };
        check(None, 100, Liveness::Unknown);
        check(None, 159, Liveness::Unknown);
        check(None, 160, Liveness::Lost);
        check(Some(150), 160, Liveness::Ready);
        check(Some(101), 161, Liveness::Lost);
    }
}
