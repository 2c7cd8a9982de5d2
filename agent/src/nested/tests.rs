//! Doors with real containers behind them.

mod caches;
mod limits;
mod rig;
mod routes;
mod runs;
mod survival;
