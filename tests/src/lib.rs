//! (being written)

pub mod sim;
