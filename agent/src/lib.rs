//! The agent: keeps one host's containers as its documents say.
//!
//! - [`sync`] learns what should run and tells what does;
//! - [`state`] is the one owner of all state, [`event`] the closed set of what can happen to it;
//! - the planner in `coord_shared::decide` says what follows, and [`execute`] does it; [`health`] asks containers whether they are well;
//! - `coord_image` pulls and keeps images, `coord_runtime` runs containers, `coord_network` connects them, [`logs`] reads what they
//!   print. These know nothing of each other, nor of coordinator and ledger;
//! - [`images`] is what a person can do with this host's images, [`containers`] what one can see of its containers, [`control`] the socket through which the running agent is asked;
//! - [`programs`] runs programs in containers, [`metrics`] tells what containers use, [`volumes`] are what outlives them;
//! - [`doctor`] says what the host lacks.

pub mod builds;
pub mod clock;
pub mod config;
pub mod containers;
pub mod control;
pub mod daemon;
pub mod doctor;
mod drain_keeper;
pub mod durable;
mod engine;
pub mod event;
pub mod execute;
pub mod facts;
pub mod health;
pub mod images;
mod inside;
pub mod logs;
mod logs_sweep;
pub mod metrics;
pub mod nested;
mod network_keeper;
pub mod one_off;
pub mod programs;
pub mod purge;
pub mod sessions;
pub mod state;
pub mod sync;
pub mod volumes;
mod watch_config;

pub use coord_registry::chain;
