//! The definitions are sound, and `docs/cli.md` says what they say.

use super::*;
use crate::expect::expect;
use clap::{Command as ClapCommand, CommandFactory};

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn documented() {
    let mut command = Cli::command().term_width(HELP_MAX_COLUMNS);
    command.build();
    let mut page = String::from(
        "# coordctl\n\nThe command line reference, made from the program's own definitions. Every command also explains itself: \
         `coordctl help COMMAND`.\n\n",
    );
    page.push_str(&section(&mut command, 2));
    expect("../docs/cli.md", &page);
}

/// A command's own help, then its subcommands'. The connection's options are the same everywhere and shown once, at the top.
fn section(command: &mut ClapCommand, level: usize) -> String {
    let name = command.get_bin_name().unwrap_or("coordctl").to_owned();
    let help = command.render_long_help().to_string();
    let help = if level > 2 { help.split("\nConnection:\n").next().unwrap_or_default().to_owned() } else { help };
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let mut text = format!("{} {name}\n\n```text\n{}\n```\n", "#".repeat(level), help.join("\n").trim_end());
    for subcommand in command.get_subcommands_mut().filter(|subcommand| subcommand.get_name() != "help") {
        text.push('\n');
        text.push_str(&section(subcommand, level + 1));
    }
    text
}

#[test]
fn a_typed_line_means_what_it_says() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' '));
    let check = |line: &str, good: bool| assert_eq!(parse(line).is_ok(), good, "{line}");
    check("coordctl", false);
    check("coordctl status", true);
    check("coordctl --url http://127.0.0.1:1 status web", true);
    check("coordctl status web --url http://127.0.0.1:1", true);
    check("coordctl status Web", false);
    check("coordctl status --wait --timeout 90s", true);
    check("coordctl status --wait --timeout 90", false);
    check("coordctl status --timeout 90s", false);
    check("coordctl status --wait --watch", false);
    check("coordctl status -o yaml", false);
    check("coordctl status --token a --token-file b", false);
    check("coordctl hosts", true);
    check("coordctl hosts -o json", true);
    check("coordctl hosts list -o json", true);
    check("coordctl hosts add web-1", true);
    check("coordctl hosts add Web_1", false);
    check("coordctl hosts add", false);
    check("coordctl apply", false);
    check("coordctl delete web api --take-over", true);
    check("coordctl logs web -f --tail 5 --host h --index 0 --timestamps -o json", true);
    check("coordctl pipeline", true);
    check("coordctl pipeline ls -o json", true);
    check("coordctl pipeline show shop 12", true);
    check("coordctl pipeline show shop 0", false);
    check("coordctl pipeline logs shop -f --next", true);
    check("coordctl pipeline logs shop --next", false);
    check("coordctl pipeline logs shop 3 -f --next", false);
    check("coordctl pipeline run shop --commit r17", true);
    check("coordctl pipeline run shop --commit a1b2", false);
    check("coordctl pipeline apply", false);
    check("coordctl completions tcsh", false);
    check("coordctl completions bash", true);
}
