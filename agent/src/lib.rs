//! The agent: hands. Keeps one host's containers as its documents say.

pub mod logs;
pub mod runtime;
