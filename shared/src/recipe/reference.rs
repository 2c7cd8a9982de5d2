//! The reference of recipes, written from the tables that the parser decides by.

use super::keys::RECIPE;
use crate::document::reference::page;

const INTRODUCTION: &str = r#"# The recipe

<!-- Generated from the source by its tests: change the tables in shared/src/recipe/keys.rs, then run
     UPDATE_EXPECT=1 cargo test -p coord-shared reference -->

A recipe is a small TOML file: how an archive of built files becomes an image. It says what the image stands on, where the files land,
and what runs. The `[image]` of a [pipeline](pipeline.md) has the same keys.

```text
  app.tar.zst ──▶ one layer under /app ─┐
  registry.lan/debian:12 ── its layers ─┴─▶ image in the coordinator's image centre: coord.internal/shop:1.2
```

`coordctl image build ARCHIVE --recipe image.toml --repository shop` makes an image, and `coordctl deploy` publishes a document with it
in the same go. A recipe runs nothing: whatever is to be computed is computed before the archive is packed. So the same archive, recipe,
base and time give the same image, byte for byte.

An empty recipe is a good one: the archive's files under `/app`, and nothing else. A key that is not known is an error. `coordctl check`
takes a file called `image.toml` or `recipe.toml` for a recipe, and every file in a folder called `recipes`.
"#;

/// All keys with types, defaults, meanings and examples, the keys that are refused, and the rules. Kept as `docs/recipe.md`.
pub(super) fn reference() -> String {
    let introduction = format!("{INTRODUCTION}\n```toml\n# image.toml\n{}```\n", example());
    page(&RECIPE, &introduction, "Coming from Dockerfiles and Compose")
}

/// The examples as one recipe.
pub(super) fn example() -> String {
    let top = RECIPE.keys_of("").map(|key| format!("{}\n", key.example)).collect::<String>();
    let check = RECIPE.keys_of("healthcheck").filter(|key| key.name != "disable").map(|key| format!("{}\n", key.example));
    format!("{top}\n[healthcheck]\n{}", check.collect::<String>())
}
