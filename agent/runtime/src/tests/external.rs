//! The same tests with OCI runtimes: this program runs itself, with another backend for every container.

use std::path::PathBuf;
use std::process::Command;

use super::lab::RUNTIME;

/// Tests that hold whatever makes a container's first process, and how many of them at a time.
const SUITES: [(&[&str], &str); 2] = [
    (
        &[
            "tests::lifecycle::",
            "tests::failures::",
            "tests::isolation::",
            "tests::limits::",
            "tests::mounts::",
            "tests::network::",
            "tests::rights::",
        ],
        "--test-threads=4",
    ),
    // They kill what this program has started, or count what it holds, whichever test it was.
    (&["tests::crash::", "tests::exec::"], "--test-threads=1"),
];

/// Tests of what a runtime does in its own way: of crun, of runc.
const CRUNS_OWN: [&str; 2] = [ONE_FILTER, NARROW_CALLS];
const RUNCS_OWN: [&str; 4] = [ONE_FILTER, NARROW_CALLS, NUMBERS, LONG_LINE];
/// The same rules are one filter for the command, and two for a program that we run beside it.
const ONE_FILTER: &str = "root_it_is_what_the_command_is";
/// Their library ends a process that makes one.
const NARROW_CALLS: &str = "root_calls_of_32_bits_are_answered";
/// runc reads no line of an image's `/etc/passwd` that is longer than 64 KiB, and does not start.
const LONG_LINE: &str = "root_traps_of_the_image_are_not_walked_into";
/// runc's threads have had the first numbers of processes.
const NUMBERS: &str = "root_an_init_reaps_and_passes_signals_on";

fn check(name: &str, apart: &[&str]) {
    let path = std::env::var("PATH").unwrap_or_default();
    let program = path.split(':').map(|folder| PathBuf::from(folder).join(name)).find(|program| program.is_file());
    let program = program.unwrap_or_else(|| panic!("no {name} along PATH: install it (apt install {name})"));
    for (suite, threads) in SUITES {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.env(RUNTIME, &program).env("RUST_BACKTRACE", "0").arg(threads).args(suite);
        for test in apart {
            command.args(["--skip", test]);
        }
        let output = command.output().expect("the suite to run");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains("running 0 tests"), "{said}");
    }
}

#[test]
fn root_crun_passes_the_suite() {
    check("crun", &CRUNS_OWN);
}

#[test]
fn root_runc_passes_the_suite() {
    check("runc", &RUNCS_OWN);
}
