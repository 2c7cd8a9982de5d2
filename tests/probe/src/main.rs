//! Runs inside a container and tries what a container must not be able to do; a line of JSON for each thing tried.
//!
//! ```text
//! coord-probe                  every line
//! coord-probe NAME...          only these
//! coord-probe list             what there is, without trying
//! coord-probe catch SECONDS    wait for a program of the engine to appear in here, and try to overwrite it
//! ```
//! It is static and alone in its image, so that nothing of an image decides what it finds. It does no harm where it is let: calls
//! carry nonsense where the kernel judges the right first, and what can be written is opened and not written. Deliberately
//! absent: a judgement; `coord-bench isolation` compares engines, and the tests say what must be closed.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

mod bombs;
mod calls;
mod catch;
mod files;
mod identity;
mod line;
mod network;
mod sys;

use std::process::ExitCode;

use line::Line;

fn lines() -> impl Iterator<Item = &'static Line> {
    [identity::LINES, calls::LINES, files::LINES, network::LINES, bombs::LINES].into_iter().flatten()
}

/// The number of the first process namespace (linux/proc_ns.h, PROC_PID_INIT_INO).
const HOST_PROCESSES: &str = "pid:[4026531836]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => lines().for_each(|line| println!("{}\t{}\t{}", line.name, line.chapter, line.what)),
        // What a setuid copy of this program is asked for; see `files`.
        ["rights"] => return ExitCode::from(u8::from(identity::has_root_rights())),
        _ if std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.to_string_lossy() == HOST_PROCESSES) => {
            println!("this is no container; nothing was tried");
            return ExitCode::from(2);
        }
        [] => lines().for_each(|line| println!("{}", line.run())),
        ["catch", seconds] => println!("{}", catch::run(seconds.parse().unwrap_or(10))),
        names => lines().filter(|line| names.contains(&line.name)).for_each(|line| println!("{}", line.run())),
    }
    ExitCode::SUCCESS
}
