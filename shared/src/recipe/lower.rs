//! From raw values to the checked recipe: every key is looked at, every mistake reported.

use super::keys::RECIPE;
use super::model::{ModeRule, Owner, Recipe};
use super::pattern::{Wildcards, relative};
use crate::document::Network;
use crate::document::diagnostic::Rule;
use crate::document::keys::Format;
use crate::document::lower::container::{user, working_dir};
use crate::document::lower::pairs::{Pairs, pairs};
use crate::document::lower::tables::{Inner, Place};
use crate::document::lower::{args, check_keys, health, path, ports, table};
use crate::document::raw::{Field, Mistakes, field};
use crate::names::ImageReference;
use toml::de::{DeTable, DeValue};

/// What a Dockerfile calls an image of nothing.
const SCRATCH: &str = "scratch";
/// Where the archive's files land unless the recipe says otherwise.
const TARGET: &str = "/app";
/// Greatest user or group number: the one above it means "no change" to chown(2).
const ID_MAX: u32 = u32::MAX - 1;
/// All permission bits, those of setuid, setgid and the sticky bit among them.
const MODE_MAX: u32 = 0o7777;
/// Architectures as Go, and so every image, names them, and what people call them otherwise.
const ARCHITECTURES: [(&str, &[&str]); 9] = [
    ("amd64", &["x86_64", "x86-64", "x64"]),
    ("arm64", &["aarch64", "armv8"]),
    ("arm", &["armhf", "armv7", "armv7l", "armv6"]),
    ("386", &["i386", "i686", "x86"]),
    ("riscv64", &["riscv"]),
    ("ppc64le", &["powerpc64le", "ppc64el"]),
    ("s390x", &[]),
    ("loong64", &["loongarch64"]),
    ("mips64le", &["mips64el"]),
];

const MODES_CURE: &str = "write it as modes = [{ path = \"bin/*\", mode = \"0755\" }]";

/// The recipe that a text is.
pub(super) fn lower(root: &DeTable<'_>, mistakes: &mut Mistakes) -> Option<Recipe> {
    check_keys(&RECIPE, root, "", mistakes);
    let healthcheck = table(&RECIPE, root, "healthcheck", mistakes);
    Some(recipe(root, &TOP, healthcheck, mistakes))
}

static TOP: Place = Place { format: &RECIPE, section: "" };

/// The recipe that stands in `table`, whose place is `place`, and whose keys are checked already.
pub(crate) fn recipe(table: &DeTable<'_>, place: &Place, healthcheck: Option<&DeTable<'_>>, mistakes: &mut Mistakes) -> Recipe {
    let Place { format, section } = *place;
    let key = |name| field(table, section, name);
    let args = args::args(table, section, mistakes);
    let check_section = if section.is_empty() { "healthcheck".to_owned() } else { format!("{section}.healthcheck") };
    let recipe = Recipe {
        base: key("base").and_then(|field| base(&field, mistakes)),
        target: key("target").and_then(|field| target(&field, mistakes)).unwrap_or_else(|| TARGET.to_owned()),
        owner: key("owner").and_then(|field| owner(&field, mistakes)).unwrap_or_default(),
        modes: key("modes").map(|field| modes(&field, format, mistakes)).unwrap_or_default(),
        entrypoint: args.entrypoint,
        command: args.command,
        environment: key("environment").map(|field| pairs(&field, Pairs::Environment, place, mistakes)).unwrap_or_default(),
        working_dir: key("working_dir").and_then(|field| working_dir(&field, mistakes)),
        user: key("user").and_then(|field| user(&field, mistakes)),
        expose: key("expose").map(|field| ports::expose(&field, mistakes)).unwrap_or_default(),
        volumes: key("volumes").map(|field| volumes(&field, mistakes)).unwrap_or_default(),
        labels: key("labels").map(|field| pairs(&field, Pairs::Labels, place, mistakes)).unwrap_or_default(),
        stop_signal: key("stop_signal").and_then(|field| field.parse("a string", Rule::BadSignal, mistakes)),
        // Over the network no image can ask, so which network there is does not matter.
        healthcheck: healthcheck.and_then(|check| health::healthcheck(check, &check_section, Some(Network::Bridge), mistakes)),
        platform: key("platform").and_then(|field| platform(&field, mistakes)),
    };
    check_scratch(table, section, &recipe, mistakes);
    recipe
}

/// None for an image of nothing, and after a mistake.
fn base(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<ImageReference> {
    if field.value.get_ref().as_str() == Some(SCRATCH) {
        return None;
    }
    field.parse("a string", Rule::BadImage, mistakes)
}

fn target(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let text = field.text(mistakes)?;
    let target = path::normal(text).and_then(|target| match path::target_problem(&target) {
        Some(problem) if target != "/" => Err(problem.to_owned()),
        _ => Ok(target),
    });
    target
        .map_err(|problem| {
            mistakes.push(field.wrong(Rule::BadPath, format!("{text:?} {problem}")).hint("write for example \"/app\""));
        })
        .ok()
}

fn owner(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Owner> {
    let text = field.text_of("a string", mistakes)?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u32>().ok().filter(|id| digits && *id <= ID_MAX)
    };
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    let owner = number(user).zip(number(group)).map(|(user, group)| Owner { user, group });
    if owner.is_none() {
        let bad = field.wrong(Rule::BadOwner, format!("{text:?} is not USER or USER:GROUP in numbers up to {ID_MAX}"));
        mistakes.push(bad.hint("write for example \"1000:1000\"; whose name a number has, only the running container knows"));
    }
    owner
}

fn modes(field: &Field<'_>, format: &Format, mistakes: &mut Mistakes) -> Vec<ModeRule> {
    let mut rules = Vec::new();
    if !field.value.get_ref().is_array() {
        mistakes.push(field.wrong_type("an array of tables").hint(MODES_CURE));
        return rules;
    }
    for entry in field.entries("an array of tables", mistakes).unwrap_or_default() {
        let DeValue::Table(table) = entry.value.get_ref() else {
            mistakes.push(entry.wrong_type("a table").hint(MODES_CURE));
            continue;
        };
        let keys = Inner { path: &entry.path, table };
        keys.check(format, "modes[]", mistakes);
        let pattern = keys.required("path", "path = \"bin/*\"", &entry, mistakes);
        let pattern = pattern.and_then(|field| relative(&field, Wildcards::Allowed, mistakes));
        let mode = keys.required("mode", "mode = \"0755\"", &entry, mistakes).and_then(|field| mode(&field, mistakes));
        rules.extend(pattern.zip(mode).map(|(pattern, mode)| ModeRule { pattern, mode }));
    }
    rules
}

fn mode(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<u32> {
    let text = field.text_of("a string of octal digits such as \"0755\"", mistakes)?;
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= MODE_MAX);
    if mode.is_none() {
        let bad = field.wrong(Rule::BadMode, format!("{text:?} is not permission bits in octal"));
        mistakes.push(bad.hint("write for example \"0755\" or \"0644\""));
    }
    mode
}

fn volumes(field: &Field<'_>, mistakes: &mut Mistakes) -> Vec<String> {
    let mut volumes: Vec<String> = Vec::new();
    for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
        let Some(text) = entry.text(mistakes) else { continue };
        match path::mount_target(text) {
            Ok(volume) if volumes.contains(&volume) => {
                let twice = entry.wrong(Rule::Duplicate, format!("{volume:?} is there already"));
                mistakes.push(twice.hint("remove one of them"));
            }
            Ok(volume) => volumes.push(volume),
            Err(problem) => {
                let bad = entry.wrong(Rule::BadMount, format!("{text:?} {problem}"));
                mistakes.push(bad.hint("write for example \"/var/lib/shop\"; which volume lies there stands in the document"));
            }
        }
    }
    volumes
}

fn platform(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let text = field.text(mistakes)?;
    let parts: Vec<&str> = text.split('/').collect();
    let is_variant =
        |text: &str| !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let known = |name: &str| ARCHITECTURES.iter().any(|(known, _)| *known == name);
    match parts[..] {
        ["linux", architecture] if known(architecture) => return Some(text.to_owned()),
        ["linux", architecture, variant] if known(architecture) && is_variant(variant) => return Some(text.to_owned()),
        _ => {}
    }
    let meant = parts.iter().find_map(|part| {
        let part = part.to_ascii_lowercase();
        ARCHITECTURES.iter().find(|(known, others)| part == *known || others.contains(&part.as_str())).map(|(known, _)| *known)
    });
    let bad = field.wrong(Rule::BadPlatform, format!("{text:?} is no platform of Linux images"));
    mistakes.push(match meant {
        Some(known) => bad.hint(format!("write \"linux/{known}\"")),
        None => bad.hint("write for example \"linux/amd64\", \"linux/arm64\" or \"linux/arm/v7\""),
    });
    None
}

/// From nothing, names of users are found only if the archive brings them along.
fn check_scratch(table: &DeTable<'_>, section: &str, recipe: &Recipe, mistakes: &mut Mistakes) {
    let (Some(user), Some(field)) = (&recipe.user, field(table, section, "user")) else { return };
    let by_number = user.split(':').all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let has_base = table.iter().any(|(key, value)| key.get_ref() == "base" && value.get_ref().as_str() != Some(SCRATCH));
    if has_base || by_number || recipe.target == "/" {
        return;
    }
    let nameless = field.wrong(Rule::Conflict, format!("without a `base` there is no /etc/passwd that says who {user:?} is"));
    mistakes.push(nameless.hint("write numbers, as in \"1000:1000\""));
}
