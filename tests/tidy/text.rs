//! Rules about single lines and single files.

use super::source::{Offence, Source};
use super::{check, check_repository};

/// A file beyond this has more than one reason to exist. The style asks for 500; this is where patience ends.
const FILE_LINES_MAX: usize = 600;
/// The files in which a crate keeps its system calls.
const SYSCALL_FILES: &[&str] = &["sys.rs", "syscall.rs", "syscalls.rs"];
/// The product; everything else may look at the clock.
const PRODUCT: &[&str] = &["agent/", "coordinator/", "shared/"];

/// Whether `line` has `word` with nothing wordlike on either side.
fn has_word(line: &str, word: &str) -> bool {
    let wordlike = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(wordlike) && !after.starts_with(wordlike)
    })
}

fn each_line(source: &Source, bad: impl Fn(&str) -> bool, what: &str) -> Vec<Offence> {
    source.code().filter(|(_, line)| bad(line)).map(|(number, _)| source.offence(number, what)).collect()
}

fn header(source: &Source) -> Vec<Offence> {
    if source.is_rust() && !source.text.starts_with("//! ") {
        return vec![source.offence(1, "begin with `//!`: what this file is, why, and what is deliberately absent")];
    }
    Vec::new()
}

#[test]
fn every_file_says_what_it_is() {
    check(header, "agent/src/a.rs", "//! An a.\n", &[]);
    check(header, "agent/src/a.rs", "use std::fs;\n", &[1]);
    check(header, "agent/src/a.rs", "", &[1]);
    check(header, "README.md", "# coord\n", &[]);
    check_repository(header);
}

fn length(source: &Source) -> Vec<Offence> {
    let lines = source.text.lines().count();
    if source.is_rust() && lines > FILE_LINES_MAX {
        return vec![source.offence(lines, format!("{lines} lines: split it, {FILE_LINES_MAX} are the most"))];
    }
    Vec::new()
}

#[test]
fn no_file_is_a_room_for_everything() {
    check(length, "a.rs", &"\n".repeat(FILE_LINES_MAX), &[]);
    check(length, "a.rs", &"\n".repeat(FILE_LINES_MAX + 1), &[FILE_LINES_MAX + 1]);
    check_repository(length);
}

fn clock(source: &Source) -> Vec<Offence> {
    if !source.is_rust() || !source.is_in(PRODUCT) || source.is_test() || source.file_name() == "clock.rs" {
        return Vec::new();
    }
    let clocks = ["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"];
    each_line(
        source,
        |line| clocks.iter().any(|clock| line.contains(clock)),
        "only clock.rs reads the clock; take the time as an argument",
    )
}

#[test]
fn only_clock_rs_reads_the_clock() {
    check(clock, "agent/src/a.rs", "let a = 1;\nlet t = Instant::now();\n", &[2]);
    check(clock, "shared/src/a.rs", "jiff::Timestamp::now()", &[1]);
    check(clock, "agent/src/a.rs", "// Instant::now() is for clock.rs\n", &[]);
    check(clock, "agent/src/clock.rs", "Instant::now()", &[]);
    check(clock, "agent/src/a/tests.rs", "Instant::now()", &[]);
    check(clock, "coordctl/src/a.rs", "Instant::now()", &[]);
    check_repository(clock);
}

fn unsafe_code(source: &Source) -> Vec<Offence> {
    if !source.is_rust() || source.is_rulebook() || SYSCALL_FILES.contains(&source.file_name()) {
        return Vec::new();
    }
    let uses = ["unsafe {", "unsafe fn ", "unsafe impl ", "unsafe extern ", "unsafe trait "];
    // Words about it after the code are no use of it.
    let is_unsafe = |line: &str| line.split("//").next().is_some_and(|code| uses.iter().any(|one| code.contains(one)));
    each_line(source, is_unsafe, "`unsafe` belongs into the crate's one system call file (sys.rs)")
}

#[test]
fn unsafe_stays_in_the_system_call_files() {
    check(unsafe_code, "agent/src/a.rs", "fn a() {\n    unsafe { b() }\n}\n", &[2]);
    check(unsafe_code, "agent/src/a.rs", "unsafe impl Send for A {}\n", &[1]);
    check(unsafe_code, "agent/src/a.rs", "#![deny(unsafe_code)]\n// unsafe { no }\n", &[]);
    check(unsafe_code, "agent/src/sys.rs", "unsafe { b() }", &[]);
    check_repository(unsafe_code);
}

#[test]
fn a_crate_has_one_system_call_file() {
    let mut crates: Vec<String> = super::source::repository()
        .iter()
        .filter(|source| SYSCALL_FILES.contains(&source.file_name()))
        .filter_map(|source| source.path.split_once("/src/").map(|(name, _)| name.to_owned()))
        .collect();
    crates.sort();
    let mut once = crates.clone();
    once.dedup();
    assert_eq!(crates, once, "a crate with two system call files");
}

fn printing(source: &Source) -> Vec<Offence> {
    let may_print = ["coordctl/src/output", "agent/src/output", "agent/coord/src/output", "tests/"];
    if !source.is_rust() || source.is_test() || source.is_in(&may_print) {
        return Vec::new();
    }
    let macros = ["println!", "print!", "eprintln!", "eprint!", "dbg!"];
    each_line(
        source,
        |line| macros.iter().any(|name| has_word(line, name)),
        "only the output modules of the command lines print; log with tracing",
    )
}

#[test]
fn only_the_output_module_prints() {
    check(printing, "agent/src/a.rs", "println!(\"a\");\neprint!(\"b\");\n", &[1, 2]);
    check(printing, "coordctl/src/commands/status.rs", "println!();", &[1]);
    check(printing, "agent/src/output/mod.rs", "println!();", &[]);
    check(printing, "coordctl/src/output.rs", "println!();", &[]);
    check(printing, "coordctl/src/output/table.rs", "println!();", &[]);
    check(printing, "agent/src/a.rs", "my_println!();", &[]);
    check_repository(printing);
}

fn allowances(source: &Source) -> Vec<Offence> {
    if !source.is_rust() || source.is_rulebook() {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().collect();
    let mut offences = Vec::new();
    for (number, line) in source.code() {
        let start = line.trim_start();
        if ["#[allow(", "#![allow(", "#[expect(", "#![expect("].iter().any(|allow| start.starts_with(allow)) {
            let end = lines[number - 1..].iter().position(|line| line.trim_end().ends_with(']')).unwrap_or_default();
            if !lines[number - 1..=number - 1 + end].join(" ").contains("reason") {
                offences.push(source.offence(number, "say why: #[allow(..., reason = \"...\")]"));
            }
        }
    }
    offences
}

#[test]
fn nothing_is_allowed_without_a_reason() {
    check(allowances, "a.rs", "#[allow(unused)]\nfn a() {}\n", &[1]);
    check(allowances, "a.rs", "#[allow(unused, reason = \"b\")]\n", &[]);
    check(allowances, "a.rs", "#[expect(\n    unused,\n    reason = \"b\"\n)]\n", &[]);
    check_repository(allowances);
}

fn unfinished(source: &Source) -> Vec<Offence> {
    if !source.is_rust() || source.is_rulebook() {
        return Vec::new();
    }
    let marks = ["TODO", "FIXME", "XXX", "todo!", "unimplemented!"];
    let lines = source.text.lines().enumerate();
    let bad = lines.filter(|(_, line)| marks.iter().any(|mark| has_word(line, mark)));
    bad.map(|(index, _)| source.offence(index + 1, "finish it, or write it down where work is planned")).collect()
}

#[test]
fn nothing_is_left_half_done() {
    check(unfinished, "a.rs", "// TODO: later\ntodo!()\n", &[1, 2]);
    check(unfinished, "a.rs", "const TODOS: u8 = 0;\n", &[]);
    check_repository(unfinished);
}

fn machine_paths(source: &Source) -> Vec<Offence> {
    // In two parts, so that this file does not name what it forbids.
    let paths = [concat!("/wo", "rk/main"), concat!("/wo", "rk/w/"), concat!("/wo", "rk/."), concat!("/ro", "ot/.")];
    let starts = |line: &str, path: &str| {
        line.match_indices(path).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|c| c.is_whitespace() || "\"'`(=:<>[,".contains(c))
        })
    };
    let lines = source.text.lines().enumerate();
    let bad = lines.filter(|(_, line)| paths.iter().any(|path| starts(line, path)));
    bad.map(|(index, _)| source.offence(index + 1, "a path of one machine")).collect()
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    check(machine_paths, "a.md", concat!("see /wo", "rk/main/a\n"), &[1]);
    check(machine_paths, "a.sh", concat!("x=/ro", "ot/.cargo\n"), &[1]);
    check(machine_paths, "a.rs", concat!("{id}/wo", "rk/w/ is overlayfs's\n"), &[]);
    // Where a container is shown its files.
    check(machine_paths, "a.md", concat!("coord run -- /wo", "rk/check\n"), &[]);
    check_repository(machine_paths);
}
