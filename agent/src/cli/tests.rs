//! The definitions are sound, and `docs/agent-cli.md` says what they say.

use super::*;
use clap::{Command as ClapCommand, CommandFactory};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agent-cli.md");

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

/// `UPDATE_EXPECT=1` writes the page anew.
#[test]
fn documented() {
    let mut command = Cli::command().term_width(HELP_MAX_COLUMNS);
    command.build();
    let mut page = String::from(
        "# coord-agent\n\nThe command line reference, made from the program's own definitions. Every command also explains \
         itself: `coord-agent help COMMAND`.\n\n",
    );
    page.push_str(&section(&mut command, 2));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(PAGE, &page).expect("write the page");
    }
    let expected = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(expected == page, "docs/agent-cli.md differs; run again with UPDATE_EXPECT=1 and look at the change\n{page}");
}

/// A command's own help, then its subcommands'. What all of a group share is shown once, at its top.
fn section(command: &mut ClapCommand, level: usize) -> String {
    let name = command.get_bin_name().unwrap_or("coord-agent").to_owned();
    let help = command.render_long_help().to_string();
    let help = if level > 3 { help.split("\nHost:\n").next().unwrap_or_default().to_owned() } else { help };
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
    check("coord-agent", false);
    check("coord-agent daemon", true);
    check("coord-agent daemon --state docs", true);
    check("coord-agent purge --config a.toml", true);
    check("coord-agent image", false);
    check("coord-agent image ls -o json", true);
    check("coord-agent image list", true);
    check("coord-agent image -o json ls --config a.toml", true);
    check("coord-agent image ls -o yaml", false);
    check("coord-agent image pull", false);
    check("coord-agent image pull a:1 --state-dir /x", true);
    check("coord-agent image mount a:1", false);
    check("coord-agent image mount a:1 /mnt", true);
    check("coord-agent image umount /mnt", true);
    check("coord-agent image verify", true);
    check("coord-agent image prune a:1", false);
    check("coord-agent logs web.0", true);
    check("coord-agent logs web.0/lint -f", true);
    check("coord-agent logs web.0-r1-1/lint", true);
    check("coord-agent logs web.0/", false);
    check("coord-agent logs web.0/../x", false);
}
