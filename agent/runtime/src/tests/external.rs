//! The same tests with OCI runtimes: this program runs itself, with another backend for every container.

use std::path::PathBuf;
use std::process::Command;

use super::lab::RUNTIME;

/// Tests that hold whatever makes a container's first process, and how many of them at a time.
const SUITES: [(&[&str], &str); 2] = [
    (&["tests::lifecycle::", "tests::failures::", "tests::isolation::", "tests::limits::"], "--test-threads=4"),
    // They kill what this program has started, whichever test it was.
    (&["tests::crash::"], "--test-threads=1"),
];

fn check(name: &str) {
    let path = std::env::var("PATH").unwrap_or_default();
    let program = path.split(':').map(|folder| PathBuf::from(folder).join(name)).find(|program| program.is_file());
    let program = program.unwrap_or_else(|| panic!("no {name} along PATH: install it (apt install {name})"));
    for (suite, threads) in SUITES {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let output = command.env(RUNTIME, &program).env("RUST_BACKTRACE", "0").arg(threads).args(suite).output();
        let output = output.expect("the suite to run");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains("running 0 tests"), "{said}");
    }
}

#[test]
fn root_crun_passes_the_suite() {
    check("crun");
}

#[test]
fn root_runc_passes_the_suite() {
    check("runc");
}
