//! The harness of the tests: images and registries, processes and their cgroups, hosts as namespaces, a whole fleet.
//!
//! Everything real: the binaries that ship, Debian's registry, the kernel's namespaces. Deliberately absent: sleeping
//! (tests wait on conditions, see [`wait`]), ports that are agreed on (the kernel picks them), and any trace left on
//! the machine when a test ends, whichever way it ends. Blocking code throughout, so that a test reads as a story.
//!
//! ```text
//! Fleet ── coordinator (Process)            NetLab ── a switch and N hosts, each in namespaces of its own
//!   ├───── agent 0..N (Process in a cgroup::Group, or in a host of a NetLab)
//!   └───── coordctl(args) -> Output         TestRegistry <- FaultyRegistry (the same, with a fault in between)
//! ```

pub mod binaries;
pub mod cell;
pub mod cgroup;
pub mod chaos;
pub mod clients;
pub mod compiler;
pub mod config;
pub mod faulty;
pub mod fleet;
pub mod hosts;
pub mod http;
pub mod image;
pub mod images;
pub mod leaks;
pub mod lone;
pub mod nested;
pub mod probe;
pub mod process;
pub mod registry;
pub mod s3;
pub mod shop;
pub mod sim;
pub mod sinks;
pub mod source;
pub mod tls;
pub mod tree;
pub mod wait;

/// Says something in a test's output; the test runner shows it when the test fails.
#[allow(clippy::print_stderr, reason = "the harness has no other way to the reader of a failed test")]
pub fn say(message: &str) {
    eprintln!("{message}");
}

/// Containers need root. A test that cannot run fails and says why; it does not pass by skipping.
///
/// # Panics
/// When the effective user is not root.
pub fn need_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test makes namespaces and mounts: run it as root");
}
