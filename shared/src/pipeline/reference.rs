//! The reference of pipelines, written from the tables that the parser decides by.

use super::keys::PIPELINE;
use crate::document::reference::page;

const INTRODUCTION: &str = r#"# The pipeline

<!-- Generated from the source by its tests: change the tables in shared/src/pipeline/keys.rs, then run
     UPDATE_EXPECT=1 cargo test -p coord-shared reference -->

A pipeline is one TOML file, the way of a repository's commits into the fleet. The file's stem is the pipeline's name: `shop.toml`
declares `shop` (letters `a-z`, digits and inner `-`, at most 63).

```text
  source ──▶ build ──▶ test ──▶ package ──▶ image ──▶ deploy
  git, svn   steps     steps    archive     centre    document: a rollout as ever
             └── in containers on a builder host ─┘   └── by digest, where the tests passed
```

1. **source**: a host that builds looks at the repository: every `poll`, and at once when a webhook or a person asks. A commit that was
   not built yet makes a *run*, `shop.12`. Newer commits that arrive while one is built wait as one: the newest.
2. **build** and **test**: the host checks the commit out into a clean folder and runs the steps there, each in a container. The first
   step that fails ends the run.
3. **package**: what `include` names becomes one archive, which goes to the coordinator.
4. **image**: the coordinator makes an image of the archive, on top of `base`, and keeps it in its own image centre. The same archive
   gives the same image, byte for byte.
5. **deploy**: the document that lies in the repository at that commit is published with this image, by digest. From there on it is a
   rollout like any other, and `coordctl status` shows which commit runs where.

A run that fails changes nothing on any host, and tells those whom `[notify]` names. The coordinator reads pipelines from a folder
(`pipelines` in coordinator.toml) or takes them by `coordctl pipeline apply FILE`.

| to | run |
| --- | --- |
| check a file | `coordctl check pipelines/shop.toml` |
| see all pipelines | `coordctl pipeline ls` |
| see how the newest run goes, and where it failed | `coordctl pipeline show shop` |
| follow the log | `coordctl pipeline logs -f shop` |
| build again, or a certain commit | `coordctl pipeline run shop --commit COMMIT` |
| end a run | `coordctl pipeline cancel shop` |

A key that is not known, or not supported yet, is an error: what is written here is what happens. `coordctl check` takes a file for a
pipeline if it has a table `[source]`, or lies in a folder called `pipelines`.
"#;

/// All keys with types, defaults, meanings and examples, the keys that are refused, and the rules. Kept as `docs/pipeline.md`.
pub(super) fn reference() -> String {
    let introduction = format!("{INTRODUCTION}\n```toml\n# pipelines/shop.toml\n{}```\n", example());
    page(&PIPELINE, &introduction, "Coming from elsewhere")
}

/// Keys that the example leaves out: those that exclude others in it, and those that few need.
const NOT_IN_EXAMPLE: [&str; 16] = [
    "svn",
    "tags",
    "submodules",
    "schedule",
    "exclude",
    "owner",
    "modes",
    "working_dir",
    "volumes",
    "labels",
    "stop_signal",
    "platform",
    "workload",
    "disable",
    "command",
    "environment",
];
/// Tables whose keys stand elsewhere in full.
const NOT_SHOWN: [&str; 3] = ["build.resources", "test.resources", "image.healthcheck"];

/// The examples as one pipeline.
pub(super) fn example() -> String {
    let mut text = String::new();
    for section in PIPELINE.sections.iter().filter(|section| !NOT_SHOWN.contains(&section.name)) {
        if !section.name.is_empty() {
            text += &format!("\n[{}]\n", section.name);
        }
        let is_shown = |name: &str| match section.name {
            "build" => matches!(name, "image" | "steps" | "cache" | "secrets"),
            "test" => matches!(name, "steps" | "timeout"),
            _ => true,
        };
        let keys = PIPELINE.keys_of(section.name).filter(|key| !NOT_IN_EXAMPLE.contains(&key.name) && is_shown(key.name));
        keys.for_each(|key| text += &format!("{}\n", key.example));
    }
    text
}
