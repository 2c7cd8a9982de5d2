//! Tests with real processes: one binary, so that it links once. The modules are the chapters.

mod alone;
mod archives;
mod away;
mod centre;
mod centre_faults;
mod commands;
mod drain;
mod edits;
mod exec;
mod health;
mod images;
mod isolation;
mod line;
mod line_faults;
mod logs;

mod nested;
mod nested_attacks;
mod nested_away;
mod nested_inside;
mod nested_laptop;
mod nested_line;
mod nested_noise;
mod nested_streams;
mod network;
mod prefetch;
mod refusals;
mod registry;
mod registry_faults;
mod rollout;
mod selection;
mod shapes;
mod shared_logins;
mod systemd;
mod volumes;
