//! Tests with real processes: one binary, so that it links once. The modules are the chapters.

mod registry;
mod systemd;
