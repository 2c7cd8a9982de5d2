//! What connects this host to whatever says what it should run, and what it must not forget.
//!
//! ```text
//!   coordinator  --long poll-->  poll   --Event::State-->   the agent's loop  --watch-->  report  --POST-->  coordinator
//!   a file       --notify---->  standalone  --^                 |
//!                                                               +-- ledger.json, before anything is done
//! ```

pub mod coordinators;
pub mod desired;
pub mod ledger;
pub mod logins;
pub mod poll;
pub mod report;
pub mod standalone;

#[cfg(test)]
mod tests;
