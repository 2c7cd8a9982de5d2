//! Doors with real containers behind them.

mod limits;
mod rig;
mod routes;
mod runs;
mod survival;
