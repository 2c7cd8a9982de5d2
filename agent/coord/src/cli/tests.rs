//! The definitions are sound, and `docs/coord-cli.md` says what they say.

use super::run::CacheAt;
use super::*;
use clap::{Command as ClapCommand, CommandFactory};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/coord-cli.md");

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
        "# coord\n\nThe command line reference of the program that a container with a door finds at `/run/coord/coord`, made from the \
         program's own definitions; [nested.md](nested.md) is the guide. Every command also explains itself: `coord help COMMAND`.\n\n",
    );
    page.push_str(&section(&mut command, 2));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(PAGE, &page).expect("write the page");
    }
    let expected = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(expected == page, "docs/coord-cli.md differs; run again with UPDATE_EXPECT=1 and look at the change\n{page}");
}

/// A command's own help, then its subcommands'.
fn section(command: &mut ClapCommand, level: usize) -> String {
    let name = command.get_bin_name().unwrap_or("coord").to_owned();
    let help = command.render_long_help().to_string();
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
    check("coord", false);
    check("coord cache", false);
    check("coord cache create a --path /in", true);
    check("coord cache create a", false);
    check("coord cache create A --path /in", false);
    check("coord cache create a --path /in --ttl 30m --ttl-from last-use --size 100MiB --from /data", true);
    check("coord cache create a --path /in --ttl-from last-use", false);
    check("coord cache put a -", true);
    check("coord cache put a ./dir --to sub", true);
    check("coord cache rm", false);
    check("coord cache rm a b c", true);
    check("coord run --image r/a:1", true);
    check("coord run --image r/a:1 --cache a:ro -- sh -c x", true);
    check("coord run --image r/a:1 sh", false);
    check("coord run -- sh", false);
    check("coord run --image r/a:1 -d -t", false);
    check("coord run --image r/a:1 --verify-by-log", false);
    check("coord run --image r/a:1 --pids 0", false);
    check("coord run --image r/a:1 --cpus nan", false);
    check("coord run --image r/a:1 -it --memory 512MiB --cpus 1.5 --network parent", true);
    check("coord run --image r/a:1 --network host", false);
    check("coord stop --time 5 a", true);
    check("coord stop --time 5s --signal INT a b", true);
    check("coord stop --signal NONE a", false);
    check("coord exec -it a sh -c x", true);
    check("coord exec a -- sh -c x", true);
    check("coord exec a", false);
    check("coord logs -f --tail 3 a", true);
    check("coord wait", false);
}

#[test]
fn a_cache_is_mounted_as_it_is_written() {
    let check = |text: &str, expect: Option<(Option<&str>, bool)>| {
        let got = text.parse::<CacheAt>().ok().map(|at| (at.0.path, at.0.read_only));
        assert_eq!(got, expect.map(|(path, read_only)| (path.map(str::to_owned), read_only)), "{text}");
    };
    check("a", Some((None, false)));
    check("a:ro", Some((None, true)));
    check("a:rw", Some((None, false)));
    check("a:/in", Some((Some("/in"), false)));
    check("a:ro:/in", Some((Some("/in"), true)));
    check("a:/in:ro", Some((Some("/in"), true)));
    check("a:in", None);
    check("a:ro:rw", None);
    check("a:/in:/out", None);
    check("a:", None);
    check(":ro", None);
    check("../a", None);
}

#[test]
fn a_time_may_be_plain_seconds() {
    let check = |text: &str, expect: Option<Span>| assert_eq!(time(text).ok(), expect, "{text}");
    check("5", Some(Span::seconds(5)));
    check("1m30s", Some(Span::seconds(90)));
    check("-1", None);
    check("soon", None);
}
