//! Tests with real namespaces, mounts and cgroups. They need root, and fail without it.

mod chaos;
mod hosts;
mod images;
mod leaks;
