//! The key reference as a page of Markdown, written from the tables that the parser decides by, so that it cannot say anything else.

use super::keys::{DOCUMENT, Format, Key, Section};

const INTRODUCTION: &str = r#"# The document

<!-- Generated from the source by its tests: change the tables in shared/src/document/keys.rs, then run
     UPDATE_EXPECT=1 cargo test -p coord-shared reference -->

A document is one TOML file, the desired state of one workload. The file's stem is the workload's name: `web.toml` declares `web`
(letters `a-z`, digits and inner `-`, at most 63). Files that are hidden or do not end in `.toml` are no documents.

Keys carry Compose's names and meanings where Compose has the key. A key that is not known, or not supported yet, is an error: what
is written here is what happens. `coordctl check FILE` reports all mistakes of a file in one go.
"#;

const NOTATIONS: &str = r#"
## Notations

| type | written as |
| --- | --- |
| size | `"256MiB"`, `"1.5GiB"`, `"512m"`; `k`, `m`, `g` are powers of 1024, as in Compose |
| duration | `"500ms"`, `"5s"`, `"1m30s"`, `"2h"`, `"7d"`; at most a year |
| octal permissions | `"1777"`, `"0755"` |
| shell words | `"nginx -g 'daemon off;'"`: split at spaces, with quotes and backslashes; what only a shell could do is an error |

A list or table has at most 1000 entries, a text at most 64 KiB.
"#;

/// All keys with types, defaults, meanings and examples, the notations of values, the keys that are refused, and the rules. Kept as
/// `docs/document.md`.
pub fn reference() -> String {
    page(&DOCUMENT, &format!("{INTRODUCTION}\n```toml\n# desired/web.toml\n{}```\n", example()), "Coming from Compose")
}

/// The page of a format: what introduces it, then everything that its tables say. `newcomers` heads the keys that are called otherwise here.
pub(crate) fn page(format: &Format, introduction: &str, newcomers: &str) -> String {
    let mut page = introduction.to_owned();
    for section in format.sections {
        let heading = if section.name.is_empty() { "Top".to_owned() } else { format!("[{}]", section.name) };
        page += &table(&heading, section, format.keys_of(section.name));
    }
    for section in format.inner_sections {
        page += &table(section.name, section, format.inner_keys.iter().filter(|key| key.section == section.name));
    }
    page += NOTATIONS;
    if !format.not_yet.is_empty() {
        page += "\n## Not supported yet\n\nThese keys will come. Until they do something, they are errors.\n\n| key | meanwhile |\n| --- | --- |\n";
        format.not_yet.iter().for_each(|(path, hint)| page += &format!("| `{path}` | {} |\n", cell(hint)));
    }
    page += &format!("\n## {newcomers}\n\n| key | here |\n| --- | --- |\n");
    format.elsewhere.iter().for_each(|(path, hint)| page += &format!("| `{path}` | {} |\n", cell(hint)));
    page += "\n## Rules\n\nEach mistake names the rule that it breaks.\n\n| code | rule |\n| --- | --- |\n";
    format.rules.iter().for_each(|rule| page += &format!("| `{}` | {} |\n", rule.code(), cell(rule.meaning())));
    page
}

/// The keys of `section` as a table.
fn table<'k>(heading: &str, section: &Section, keys: impl Iterator<Item = &'k Key>) -> String {
    let head = "| key | type | default | meaning | example |\n| --- | --- | --- | --- | --- |\n";
    let mut table = format!("\n## {heading}\n\n{}\n\n{head}", section.about);
    for key in keys {
        let cells = [&format!("`{}`", key.name), key.shape, key.default, key.meaning, &format!("`{}`", key.example)];
        table += &format!("| {} |\n", cells.map(cell).join(" | "));
    }
    table
}

/// Keys that the example leaves out: those that exclude others in it, and those that give up isolation which nobody should give up for
/// having seen it in an example.
const NOT_IN_EXAMPLE: [&str; 14] = [
    "cap_add",
    "security_opt",
    "privileged",
    "userns_mode",
    "pid",
    "ipc",
    "devices",
    "runtime",
    "oom_score_adj",
    "test",
    "tcp",
    "disable",
    "max_attempts",
    "driver",
];

/// The examples as one document.
pub(super) fn example() -> String {
    let mut text = String::new();
    for section in DOCUMENT.sections {
        if !section.name.is_empty() {
            text += &format!("\n[{}]\n", section.name);
        }
        let keys = DOCUMENT.keys_of(section.name).filter(|key| !NOT_IN_EXAMPLE.contains(&key.name));
        keys.for_each(|key| text += &format!("{}\n", key.example));
    }
    text
}

/// Text within a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
