//! The program `coord`, run as people and scripts run it, against a door that is made of this process.

mod api;
mod cache;
mod containers;
mod door;
mod lab;
mod run;
mod terminal;
