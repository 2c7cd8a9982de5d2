//! One bad pipeline a rule, and what is said of it, byte by byte.

use super::{LEAST, PIPELINE, parse};
use crate::document::tests::bad::BadTexts;
use crate::document::{DOCUMENT_MAX_BYTES, Rule};

#[test]
fn bad_pipelines_say_what_is_wrong() {
    let many = (0..1001).map(|n| format!("\n  \"t{n}\",")).collect::<String>();
    let made = vec![
        ("too-many", format!("{LEAST}tags = [{many}\n]\n")),
        ("too-large", format!("{LEAST}# {}", "x".repeat(DOCUMENT_MAX_BYTES))),
    ];
    BadTexts { folder: "src/pipeline/tests/bad", made, parse, format: &PIPELINE }.check();
}

#[test]
fn no_secret_is_repeated() {
    for text in [
        "[source]\ngit = \"https://me:sesame@git.lan/shop.git\"\n[image]\nrepository = \"shop\"\n",
        "[source]\ngit = \"https://git.lan/shop.git\"\ncredentials = \"me:sesame\"\n[image]\nrepository = \"shop\"\n",
    ] {
        let mistakes = parse(text).expect_err("a credential in the text");
        // The line itself is shown to whoever wrote it; the message alone goes to logs and to the status.
        assert!(mistakes.iter().all(|mistake| !mistake.message.contains("sesame")), "{mistakes}");
        assert!(!mistakes.summary(text).contains("sesame"));
    }
}

#[test]
fn a_table_is_checked_where_its_key_is_wrong() {
    let text = format!("{LEAST}[build]\nsteps = 3\ncache = [\"/\"]\n[package]\ninclude = [\"..\"]\n");
    let found: Vec<Rule> = parse(&text).expect_err("three mistakes").iter().map(|mistake| mistake.rule).collect();
    assert_eq!(found, [Rule::WrongType, Rule::BadPath, Rule::BadPath]);
}
