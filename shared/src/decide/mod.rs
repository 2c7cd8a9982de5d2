//! Judgement: pure functions from what is wanted, what is seen and what time it is, to what to do and why not yet.
//!
//! Nothing here has an effect. Daemons load, call one of these, and carry out the answer to the letter; so a simulation can run the
//! same judgement through thousands of faults in a second.

pub mod backoff;
pub mod health;
pub mod images;
pub mod liveness;
pub mod nested;
pub mod pipeline;
pub mod planner;
pub mod ports;
pub mod prefetch;
pub mod reason;
pub mod restart;
pub mod retention;
pub mod rollout;
pub mod schedule;
pub mod targets;
mod time;
pub mod told;

pub use time::{Mono, Now};
