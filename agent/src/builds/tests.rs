//! Builds, with real containers: what a run does, what becomes of it when the agent is killed, and what steps cannot do. They need root,
//! `busybox-static`, and the two static helpers.

mod coordinator;
mod hostile;
mod nested;
mod rig;
mod runs;
mod survival;
