//! Doors with real containers behind them.
