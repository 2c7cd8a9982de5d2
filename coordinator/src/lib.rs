//! The coordinator: publishes documents to the fleet and remembers what it reports.
//!
//! ```text
//!   documents/ (folder, API) --> store/ <--> control/ --> hosts/ <--> http/ <-- agents, coordctl
//! ```
//!
//! The store holds everything that a restart needs; what hosts report is memory. A restart changes nobody's host state.

pub mod centre;
pub mod clock;
pub mod config;
pub mod control;
pub mod documents;
pub mod hosts;
pub mod http;
pub mod identity;
pub mod images;
pub mod metrics;
pub mod notify;
mod open_files;
pub mod pipeline;
pub mod records;
pub mod registries;
mod run;
pub mod schedules;
pub mod secrets;
pub mod sessions;
pub mod status;
pub mod webhook;

pub use run::{Coordinator, RunError};
