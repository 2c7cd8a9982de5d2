//! Every key of a recipe, as `document::keys` has those of a document. They serve a recipe's top and the `[image]` of a pipeline.

use crate::document::Rule;
use crate::document::keys::{ARGS, Format, Group, HEALTHCHECK_BY_PROGRAM, HEALTHCHECK_TIMES, Key, PAIRS, Section, TEXTS, key};

pub(crate) static RECIPE: Format = Format {
    noun: "recipe",
    too_large: "keep data in the archive; a recipe says only how it becomes an image",
    sections: &[
        Section { name: "", about: "What the image stands on, where the archive's files land, and what runs." },
        Section { name: "healthcheck", about: HEALTHCHECK },
    ],
    keys: &[
        Group { at: "", keys: KEYS },
        Group { at: "", keys: HEALTHCHECK_BY_PROGRAM },
        Group { at: "", keys: HEALTHCHECK_TIMES },
    ],
    inner_sections: &[Section { name: "modes[]", about: "A table in `modes`." }],
    inner_keys: MODE_KEYS,
    not_yet: &[],
    elsewhere: ELSEWHERE,
    rules: RULES,
};

/// What `[healthcheck]` is about.
pub(crate) const HEALTHCHECK: &str = "How an agent asks whether a container of the image is well, unless the document says otherwise. What is absent is as the base says.";

#[rustfmt::skip] // One block per key reads better than one line per argument.
pub(crate) const KEYS: &[Key] = &[
    key("", "base", "string", "none: `\"scratch\"`",
        "The image that it stands on; its layers are taken as they are. A tag is resolved when the image is made. `coord.internal/...` is the fleet's own image centre.",
        r#"base = "registry.lan/debian:12""#),
    key("", "target", "string", "`\"/app\"`",
        "Where in the image the archive's files land: an absolute path.",
        r#"target = "/app""#),
    key("", "owner", "string", "`\"0:0\"`",
        "Whose the files are: `USER` or `USER:GROUP`, as numbers. Owners in the archive are not looked at.",
        r#"owner = "1000:1000""#),
    key("", "modes", "array of tables", "empty",
        "Modes by pattern, of which the last that matches wins; other files keep the archive's mode. See below.",
        r#"modes = [{ path = "bin/*", mode = "0755" }]"#),
    key("", "entrypoint", ARGS, "the base's",
        "What the image runs. Setting it forgets the base's `command`.",
        r#"entrypoint = ["/app/shop"]"#),
    key("", "command", ARGS, "the base's",
        "What follows the entrypoint, or is run where there is none.",
        r#"command = ["--listen", ":8080"]"#),
    key("", "environment", PAIRS, "empty",
        "Variables, added to the base's and stronger than them.",
        r#"environment = { PORT = 8080 }"#),
    key("", "working_dir", "string", "the base's",
        "The directory in which the program starts: an absolute path in the image.",
        r#"working_dir = "/app""#),
    key("", "user", "string", "the base's",
        "Who runs the program: `USER` or `USER:GROUP`, by name or number.",
        r#"user = "1000:1000""#),
    key("", "expose", "array of strings and integers", "empty",
        "Ports on which the program is known to listen, added to the base's.",
        r#"expose = [8080, "53/udp"]"#),
    key("", "volumes", TEXTS, "empty",
        "Places for volumes, added to the base's: absolute paths in the image.",
        r#"volumes = ["/var/lib/shop"]"#),
    key("", "labels", PAIRS, "empty",
        "Added to the base's.",
        r#"labels = { team = "shop" }"#),
    key("", "stop_signal", "string", "the base's",
        "The signal that asks the program to end.",
        r#"stop_signal = "SIGQUIT""#),
    key("", "platform", "string", "the coordinator's own",
        "For which machines it is, as `OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`; chooses among the platforms of the base.",
        r#"platform = "linux/amd64""#),
];

/// Keys of the tables in `modes`.
#[rustfmt::skip]
pub(crate) const MODE_KEYS: &[Key] = &[
    key("modes[]", "path", "pattern", "required",
        "Which files of the archive: `*` and `?` within a name, `**` for any folders between.", r#"path = "bin/*""#),
    key("modes[]", "mode", "octal permissions", "required",
        "Their permission bits.", r#"mode = "0755""#),
];

/// Keys that people bring along from Dockerfiles and Compose.
pub(crate) const ELSEWHERE: &[(&str, &str)] = &[
    ("from", "write it as `base`"),
    ("image", "write the image that it stands on as `base`"),
    (
        "run",
        "remove the key; nothing is run while an image is made, so what is to be computed is computed before the archive is packed",
    ),
    ("steps", "remove the key; nothing is run while an image is made: steps belong to a pipeline's [build]"),
    ("copy", "remove the key; the whole archive is copied to `target`"),
    ("add", "remove the key; the whole archive is copied to `target`"),
    ("dest", "write it as `target`"),
    ("destination", "write it as `target`"),
    ("cmd", "write it as `command`"),
    ("args", "write it as `command`"),
    ("env", "write it as `environment`"),
    ("env_file", "write the variables under `environment`"),
    ("workdir", "write it as `working_dir`"),
    ("ports", "write them as `expose`; which ports of a host lead there stands in the document"),
    ("stopsignal", "write it as `stop_signal`"),
    ("mode", "write it as modes = [{ path = \"**\", mode = \"0755\" }]"),
    ("chmod", "write it as modes = [{ path = \"**\", mode = \"0755\" }]"),
    ("chown", "write it as `owner`"),
    ("arch", "write it as `platform`, as in \"linux/amd64\""),
    ("architecture", "write it as `platform`, as in \"linux/amd64\""),
    ("shell", "remove the key; write the shell into `entrypoint` or `command`"),
    ("hosts", "where it runs stands in the document, not in the image"),
    (
        "healthcheck.http",
        "write it in the document; a check that travels with the image is a program, as in test = [\"CMD\", ...]",
    ),
    (
        "healthcheck.tcp",
        "write it in the document; a check that travels with the image is a program, as in test = [\"CMD\", ...]",
    ),
];

/// The rules that a recipe can break.
pub(crate) const RULES: &[Rule] = &[
    Rule::Syntax,
    Rule::TooLarge,
    Rule::TooMany,
    Rule::UnknownKey,
    Rule::MisplacedKey,
    Rule::MissingKey,
    Rule::WrongType,
    Rule::OutOfRange,
    Rule::NulByte,
    Rule::Duplicate,
    Rule::BadImage,
    Rule::BadCommand,
    Rule::NothingToRun,
    Rule::BadWorkingDir,
    Rule::BadUser,
    Rule::BadVariable,
    Rule::BadLabel,
    Rule::BadPort,
    Rule::BadMount,
    Rule::BadHealthcheck,
    Rule::Conflict,
    Rule::BadSignal,
    Rule::BadDuration,
    Rule::BadPath,
    Rule::BadPlatform,
    Rule::BadOwner,
    Rule::BadMode,
];
