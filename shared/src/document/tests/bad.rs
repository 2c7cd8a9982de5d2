//! One bad document a rule, and what is said of it, byte by byte.

use super::{LEAST, expect_file};
use crate::document::keys::{DOCUMENT, Format};
use crate::document::{Diagnostics, Rule, parse};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;

/// The bad texts of one format.
pub(crate) struct BadTexts<T> {
    /// From the crate's own folder.
    pub(crate) folder: &'static str,
    /// Rule codes and texts that are too large for files.
    pub(crate) made: Vec<(&'static str, String)>,
    pub(crate) parse: fn(&str) -> Result<T, Diagnostics>,
    pub(crate) format: &'static Format,
}

impl<T: Debug> BadTexts<T> {
    /// Fails unless every text is told to be wrong as the file beside it says, by the one rule that it is named after, and unless
    /// every rule of the format has a text.
    pub(crate) fn check(&self) {
        let mut shown_rules = BTreeSet::new();
        for (code, path, text) in self.texts() {
            let diagnostics = match (self.parse)(&text) {
                Err(diagnostics) => diagnostics,
                Ok(read) => panic!("this was taken as good: {text}\n{read:#?}"),
            };
            let codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.rule.code()).collect();
            // A bad text shows one rule, so that what is said of it stays readable.
            assert!(codes.iter().all(|found| *found == code), "{}: {}", path.display(), diagnostics.render("", &text, false));
            let file = path.file_name().expect("a text has a name").to_string_lossy();
            let shown = format!("{}\n{file}:{}\n", diagnostics.render(&file, &text, false), diagnostics.summary(&text));
            expect_file(&path.with_extension("txt"), &shown);
            shown_rules.insert(code);
        }
        let known: BTreeSet<String> = self.format.rules.iter().map(|rule| rule.code().to_owned()).collect();
        assert_eq!(shown_rules, known);
    }

    /// Rule code, path, text.
    fn texts(&self) -> Vec<(String, PathBuf, String)> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(self.folder);
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(&folder).expect("the folder of bad texts") {
            let path = entry.expect("an entry of the folder").path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let stem = path.file_stem().expect("a file with an extension has a stem").to_string_lossy().into_owned();
                let code = stem.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-').to_owned();
                let text = std::fs::read_to_string(&path).expect("read a bad text");
                texts.push((code, path, text));
            }
        }
        let made =
            self.made.iter().map(|(code, text)| ((*code).to_owned(), folder.join(code).with_extension("toml"), text.clone()));
        texts.extend(made);
        texts.sort();
        texts
    }
}

fn mistakes(text: &str) -> Diagnostics {
    match parse(text) {
        Err(diagnostics) => diagnostics,
        Ok(document) => panic!("this was taken for a document: {text}\n{document:#?}"),
    }
}

#[test]
fn bad_documents_say_what_is_wrong() {
    // Large ones are made here: as files they would say nothing that their size does not say.
    let many = (0..1001).map(|n| format!("\n  \"web-{n}\",")).collect::<String>();
    let made = vec![
        ("too-many", format!("image = \"web\"\nhosts = [{many}\n]\n")),
        ("too-large", format!("{LEAST}# {}", "x".repeat(crate::document::DOCUMENT_MAX_BYTES))),
    ];
    BadTexts { folder: "src/document/tests/bad", made, parse, format: &DOCUMENT }.check();
}

/// The rules that `text` breaks, in order of place.
fn check(text: &str, expect: &[Rule]) {
    let found: Vec<Rule> = mistakes(text).iter().map(|diagnostic| diagnostic.rule).collect();
    assert_eq!(found, expect, "{text}");
}

#[test]
fn a_long_text_is_refused() {
    let long = format!("{LEAST}# {}", "x".repeat(crate::document::DOCUMENT_MAX_BYTES));
    check(&long, &[Rule::TooLarge]);
    let fits = format!("{LEAST}# {}", "x".repeat(crate::document::DOCUMENT_MAX_BYTES - LEAST.len() - 2));
    assert!(parse(&fits).is_ok());
}

#[test]
fn long_lists_are_refused() {
    let list = |count: usize, entry: &dyn Fn(usize) -> String| (0..count).map(entry).collect::<Vec<_>>().join(",");
    for (key, entry) in [
        ("command", (&|_| "\"x\"".to_owned()) as &dyn Fn(usize) -> String),
        ("environment", &|n| format!("\"A{n}=1\"")),
        ("labels", &|n| format!("\"a{n}=1\"")),
    ] {
        check(&format!("{LEAST}{key} = [{}]", list(1001, entry)), &[Rule::TooMany]);
        assert!(parse(&format!("{LEAST}{key} = [{}]", list(1000, entry))).is_ok(), "{key}");
    }
    check(&format!("{LEAST}command = \"{}\"", "x ".repeat(1001)), &[Rule::TooMany]);
    check(&format!("{LEAST}[environment]\n{}", (0..1001).map(|n| format!("A{n}=1\n")).collect::<String>()), &[Rule::TooMany]);
    check(&format!("image = \"x\"\nhosts = [{}]", list(1001, &|n| format!("\"h{n}\""))), &[Rule::TooMany]);
}

#[test]
fn all_mistakes_of_a_text_come_in_one_go() {
    check(
        r#"imgae = "web"
hosts = ["web-1", "web-1", "Web 2", 3]
command = "sh -c 'x"
working_dir = "srv"
environment = { "A=B" = "x", C = [1] }
ports = ["80"]
network = "brdige"
restart = false
stop_grace_period = 10

[resources]
memory = "1MiB"
cpus = 0
pids = 0
user = "x"

[rollout]
parallelism = "120%"
ordre = "stop-first"
"#,
        &[
            Rule::MissingKey,
            Rule::UnknownKey,
            Rule::Duplicate,
            Rule::BadHostSelector,
            Rule::WrongType,
            Rule::BadCommand,
            Rule::BadWorkingDir,
            Rule::BadVariable,
            Rule::WrongType,
            Rule::BadPort,
            Rule::BadChoice,
            Rule::WrongType,
            Rule::WrongType,
            Rule::MemoryTooSmall,
            Rule::BadCpus,
            Rule::OutOfRange,
            Rule::MisplacedKey,
            Rule::BadParallelism,
            Rule::UnknownKey,
        ],
    );
}

#[test]
fn mistakes_of_values_do_not_hide_each_other() {
    check(
        "image = nginx:1.2\nhosts = [web-1]\nread_only = True\nnetwrk = \"host\"\nuser = \n[resources]\nmemory = 256MiB\n",
        &[Rule::Syntax, Rule::Syntax, Rule::Syntax, Rule::UnknownKey, Rule::Syntax, Rule::Syntax],
    );
    check("image = \"web\"\nimage = \"web\"\nhosts = []\n", &[Rule::Syntax, Rule::NoHosts]);
}

#[test]
fn behind_an_open_bracket_or_quote_nothing_is_guessed() {
    check("read_only = 1\nimage = \"web\nhosts = []\n", &[Rule::WrongType, Rule::Syntax]);
    check("image = \"Web\"\nhosts = [\"web-1\"\nrestart = \"no\"\nuser = 5\n", &[Rule::BadImage, Rule::Syntax]);
    check("image : \"web\"\nhosts = [\"web-1\"]\n", &[Rule::Syntax]);
    check("user = \"u\"\nimage = \"\"\"Web\n", &[Rule::Syntax]);
    check("\"\"\"\nimage = \"web\"\n", &[Rule::Syntax]);
}

#[test]
fn most_mistakes_are_counted_not_kept() {
    let text: String = (0..250).map(|n| format!("k{n} = 1\n")).collect();
    let diagnostics = mistakes(&text);
    assert_eq!((diagnostics.iter().count(), diagnostics.count()), (100, 252));
    assert!(diagnostics.render("web.toml", &text, false).ends_with("web.toml: and 152 more mistakes, not shown\n"));
    assert_eq!(diagnostics.summary(&text), "1:1: unknown key `k0` (and 251 more)");
}

#[test]
fn colors_change_nothing_but_the_look() {
    let text = "image = 3\n";
    let diagnostics = mistakes(text);
    let (plain, color) = (diagnostics.render("web.toml", text, false), diagnostics.render("web.toml", text, true));
    assert!(!plain.contains('\u{1b}') && color.contains('\u{1b}'));
    // ANSI sequences start with an escape and end with `m`.
    let mut bare = String::new();
    for (at, part) in color.split('\u{1b}').enumerate() {
        bare.push_str(if at == 0 { part } else { part.split_once('m').expect("a whole sequence").1 });
    }
    assert_eq!(bare, plain);
}

#[test]
fn nothing_from_outside_steers_the_terminal() {
    let text = "\"\\u001b[31mkey\" = 1\n\"key\u{9b}\" = 2\nhosts = [\"\\u001b[2J\"]\nuser = \"\\u001b\"\nrestart = \"\\u001b\"\n\u{1b} = 1\n";
    let shown = mistakes(text).render("we\u{1b}b.toml", text, false);
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
}

#[test]
fn places_count_characters_and_lines_of_any_ending() {
    let text = "\u{feff}image = \"web\"\r\nhosts = [\"日本\", 3]\r\n";
    let diagnostics = mistakes(text);
    assert_eq!(
        diagnostics.summary(text),
        "2:10: `hosts[0]`: host selector \"日本\" contains '日'; use a-z, 0-9 and '-' (and 1 more)"
    );
    assert!(diagnostics.render("web.toml", text, false).contains("web.toml:2:16"));
    let text = "\u{feff}image = 3\nhosts = [\"web-1\"]\n";
    let diagnostics = mistakes(text);
    assert!(diagnostics.summary(text).starts_with("1:9: "), "{}", diagnostics.summary(text));
    assert!(diagnostics.render("web.toml", text, false).contains("web.toml:1:9"));
}

#[test]
fn just_beyond_the_limits() {
    fn one(more: &str, expect: Rule) {
        check(&format!("{LEAST}{more}\n"), &[expect]);
    }
    one(&format!("working_dir = \"/{}\"", "x".repeat(4095)), Rule::BadWorkingDir);
    one("working_dir = \"\"", Rule::BadWorkingDir);
    one(&format!("hostname = \"{}.b\"", "a".repeat(63)), Rule::BadHostname);
    one(&format!("user = \"{}\"", "a".repeat(256)), Rule::BadUser);
    for user in ["", ":g", "a:b:c", "-a", "a/b", "a\\tb", "0:4294967295"] {
        one(&format!("user = \"{user}\""), Rule::BadUser);
    }
    one("resources.memory = \"4095KiB\"", Rule::MemoryTooSmall);
    one("resources.cpus = 0.009", Rule::BadCpus);
    one("resources.cpus = -1", Rule::BadCpus);
    one("resources.pids = 4194305", Rule::OutOfRange);
    one("resources.pids = -1", Rule::OutOfRange);
    one("rollout.parallelism = 1000001", Rule::OutOfRange);
    for percent in ["101%", "256%", "+5%", "5 %", "%", "2.5%", ""] {
        one(&format!("rollout.parallelism = \"{percent}\""), Rule::BadParallelism);
    }
    for restart in ["on-failure:", "on-failure:+1", "on-failure:4294967296", "Always", ""] {
        one(&format!("restart = \"{restart}\""), Rule::BadRestart);
    }
}
