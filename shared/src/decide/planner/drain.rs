//! Draining: with `start-first`, a container that has given way runs on until nobody is served by it any more.
//!
//! First the doors of the host move, in the kernel's own rules; until they have, whoever knocks is led to the old one. Then comes a short
//! time for connections that the kernel had already given to it and that are not to be seen yet. Then its open connections end: when the
//! last one has, or when `rollout.drain` is over, it is asked to end.
//!
//! Deliberately absent: UDP, which knows no connections; it has the short time.

use super::{Container, Phase, Spec, stops_first};
use crate::decide::Mono;
use std::time::Duration;

/// From the moment in which the doors lead elsewhere until it is looked who is connected: a handshake over a slow line has begun by then.
pub const SETTLE: Duration = Duration::from_millis(100);

/// What is known of those who come to a container through its published ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Since when no door of the host has led to it, in the kernel's own rules; `None`: one may.
    pub closed_since: Option<Mono>,
    /// TCP connections that were open when it was looked last, at least [`SETTLE`] after that; `None`: not looked yet, or not to be told.
    pub connections: Option<u32>,
}

/// How far a container is that has given way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Doors may still lead to it.
    MovingDoors,
    /// None does any more.
    Settling,
    /// It is looked who is connected.
    Emptying,
}

/// Why a container that has given way runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draining {
    pub(super) stage: Drain,
    /// When it is asked to end at the latest.
    pub(super) until: Option<Mono>,
    /// When something follows from the time alone.
    pub(super) look_at: Option<Mono>,
    pub(super) connections: Option<u32>,
}

/// Whether `container`, which has given way to one of `spec`, runs on. `None`: it may be asked to end.
pub(super) fn draining(container: &Container, spec: &Spec, now: Mono) -> Option<Draining> {
    let has_doors = matches!(container.phase, Phase::Running { .. }) && !container.ports.is_empty();
    if !has_doors || stops_first(spec) {
        return None;
    }
    let Traffic { closed_since, connections } = container.traffic;
    let Some(closed) = closed_since else {
        return Some(Draining { stage: Drain::MovingDoors, until: None, look_at: None, connections: None });
    };
    let until = closed.after(spec.document.rollout.drain.0);
    let settled = closed.after(SETTLE).min(until);
    if now >= until || (now >= settled && connections == Some(0)) {
        return None;
    }
    let (stage, look_at) = if now < settled { (Drain::Settling, settled) } else { (Drain::Emptying, until) };
    Some(Draining { stage, until: Some(until), look_at: Some(look_at), connections })
}
