//! Recipes good and bad, as `document::tests` has documents.

use super::keys::RECIPE;
use super::reference::{example, reference};
use super::{ModeRule, Owner, Recipe, parse};
use crate::document::DOCUMENT_MAX_BYTES;
use crate::document::tests::bad::BadTexts;
use crate::document::tests::expect_file;
use crate::document::tests::robust::{for_mutants, sound};
use std::path::PathBuf;

fn read(text: &str) -> Recipe {
    parse(text).unwrap_or_else(|mistakes| panic!("{}", mistakes.render("image.toml", text, false)))
}

#[test]
fn an_empty_recipe_has_every_default() {
    let recipe = read("");
    assert_eq!((recipe.base, recipe.target.as_str(), recipe.owner), (None, "/app", Owner::default()));
    assert_eq!((recipe.entrypoint, recipe.command, recipe.user, recipe.platform), (None, None, None, None));
    assert!(recipe.modes.is_empty() && recipe.healthcheck.is_none());
}

#[test]
fn values_mean_what_they_say() {
    let recipe = read(
        r#"base = "scratch"
        target = "/opt//shop/"
        owner = "1000"
        modes = [{ path = "**", mode = "0644" }, { path = "./bin/*", mode = "4755" }]
        command = "shop --listen :80"
        user = "7:8"
        platform = "linux/arm/v7"
        healthcheck.test = "true""#,
    );
    assert_eq!((recipe.base, recipe.target.as_str()), (None, "/opt/shop"));
    assert_eq!(recipe.owner, Owner { user: 1000, group: 1000 });
    let rule = |pattern: &str, mode| ModeRule { pattern: pattern.to_owned(), mode };
    assert_eq!(recipe.modes, [rule("**", 0o644), rule("bin/*", 0o4755)]);
    assert_eq!(recipe.command.expect("a command"), ["shop", "--listen", ":80"]);
    assert_eq!(read("target = \"/\"\nuser = \"app\"").target, "/");
}

#[test]
fn bad_recipes_say_what_is_wrong() {
    let many = (0..1001).map(|n| format!("\n  \"/v{n}\",")).collect::<String>();
    let made =
        vec![("too-many", format!("volumes = [{many}\n]\n")), ("too-large", format!("# {}", "x".repeat(DOCUMENT_MAX_BYTES)))];
    BadTexts { folder: "src/recipe/tests/bad", made, parse, format: &RECIPE }.check();
}

#[test]
fn the_reference_says_what_the_code_does() {
    expect_file(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/recipe.md"), &reference());
}

#[test]
fn the_example_of_the_reference_is_a_recipe() {
    read(&example());
}

#[test]
fn mutated_recipes_never_panic() {
    for_mutants(&RECIPE, "", 1000, |text| {
        if let Err(mistakes) = parse(text) {
            sound(&mistakes, text);
        }
    });
}
