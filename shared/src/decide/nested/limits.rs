//! Whether what is asked of a second container can be at all, and is within its permission.

use super::{invalid, paths, refusal};
use crate::document::Nested;
use crate::document::lower::security::CAPABILITIES;
use crate::names::{ImagePattern, ImageReference};
use crate::quantity::MilliCpus;
use crate::wire::ErrorBody;
use crate::wire::nested::NewChild;

/// Arguments and environment together: the kernel takes 2 MiB, a body of the door's as much; nobody's command is longer than this.
const WORDS_MAX_BYTES: usize = 256 * 1024;
/// Arguments and variables.
const WORDS_MAX: usize = 4096;
/// Longest user, with a group.
const USER_MAX_BYTES: usize = 256;
/// Lengths of the token of standard files that were handed over.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// Least memory of a container, in bytes: with less, not even the kernel's own pages of it fit.
const MEMORY_MIN_BYTES: u64 = 4 << 20;
/// Least share of a CPU: the kernel's smallest quota is 1 ms in 100 ms.
const CPUS_MIN: MilliCpus = MilliCpus(10);

/// Whether the request makes sense, whatever the permission says.
pub(super) fn check_form(asked: &NewChild) -> Result<(), ErrorBody> {
    let words = asked.command.iter().chain(&asked.entrypoint).flatten();
    let pairs = asked.environment.iter();
    let count = words.clone().count() + pairs.len();
    let bytes: usize =
        words.clone().map(|word| word.len() + 1).chain(pairs.map(|(name, value)| name.len() + value.len() + 2)).sum();
    if count > WORDS_MAX || bytes > WORDS_MAX_BYTES {
        let message = format!(
            "command and environment have {count} words of {bytes} bytes, and {WORDS_MAX} of {WORDS_MAX_BYTES} are the most"
        );
        return Err(invalid(message, "put what is long into a file of a cache"));
    }
    if words.clone().any(|word| word.contains('\0')) {
        return Err(invalid("a word of the command has a NUL in it".to_owned(), "no program can get one; leave it out"));
    }
    for (name, value) in &asked.environment {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let message = format!("{name:?} cannot be a variable of the environment, or its value has a NUL");
            return Err(invalid(message, "write NAME=VALUE, with no = in the name"));
        }
    }
    if let Some(folder) = &asked.working_dir {
        paths::check_absolute("the working folder", folder)?;
    }
    if let Some(user) = &asked.user
        && (user.is_empty() || user.len() > USER_MAX_BYTES || user.chars().any(|character| character.is_control()))
    {
        return Err(invalid(
            "that cannot be a user".to_owned(),
            "write a name or a number, with a group if need be, as 1000:100",
        ));
    }
    if let Some(token) = &asked.stdio
        && !(TOKEN_BYTES.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    {
        return Err(invalid("stdio is no token".to_owned(), "a token has 16 to 64 letters and digits"));
    }
    if asked.verify_by_log && asked.caches.is_empty() {
        return Err(invalid("verify_by_log without a cache compares nothing".to_owned(), "name a cache: --cache NAME"));
    }
    asked.cap_drop.iter().try_for_each(|name| check_capability(name))
}

fn check_capability(name: &str) -> Result<(), ErrorBody> {
    let upper = name.to_ascii_uppercase();
    let bare = bare(&upper);
    if bare == "ALL" || CAPABILITIES.contains(&bare) {
        return Ok(());
    }
    let shown: String = name.escape_debug().take(40).collect();
    Err(invalid(format!("there is no capability {shown}"), "write for example NET_RAW, or ALL"))
}

/// The capabilities that are named, each once and in the form `CAP_NET_RAW`; `ALL` is spelt out.
pub(super) fn capabilities(names: &[String]) -> Vec<String> {
    let names: Vec<String> = names.iter().map(|name| name.to_ascii_uppercase()).collect();
    let is_named = |capability: &str| names.iter().any(|name| matches!(bare(name), name if name == "ALL" || name == capability));
    CAPABILITIES.into_iter().filter(|capability| is_named(capability)).map(|capability| format!("CAP_{capability}")).collect()
}

fn bare(name: &str) -> &str {
    name.strip_prefix("CAP_").unwrap_or(name)
}

/// Whether its own limits are within those of all.
pub(super) fn check(permission: &Nested, asked: &NewChild) -> Result<(), ErrorBody> {
    if let Some(memory) = asked.memory.filter(|memory| memory.0 < MEMORY_MIN_BYTES) {
        return Err(invalid(format!("no container runs in {memory} of memory"), "ask for 4MiB or more"));
    }
    if let Some(cpus) = asked.cpus.filter(|cpus| *cpus < CPUS_MIN) {
        return Err(invalid(format!("no container runs with {cpus} of a CPU"), "ask for 0.01 or more, which is 10 thousandths"));
    }
    if asked.pids == Some(0) {
        return Err(invalid("no container runs without any process".to_owned(), "leave the limit out, or ask for more"));
    }
    if let (Some(asked), Some(all)) = (asked.memory, permission.memory)
        && asked > all
    {
        return Err(over("memory", &asked, &all, &format!("\"{asked}\"")));
    }
    if let (Some(asked), Some(all)) = (asked.cpus, permission.cpus)
        && asked > all
    {
        return Err(over("cpus", &asked, &all, &asked.to_string()));
    }
    match asked.pids {
        Some(asked) if asked > permission.pids => Err(over("pids", &asked, &permission.pids, &asked.to_string())),
        Some(_) | None => Ok(()),
    }
}

fn over(key: &str, asked: &dyn std::fmt::Display, all: &dyn std::fmt::Display, value: &str) -> ErrorBody {
    let message = format!("{key} of {asked} is more than all second containers together may have, which is {all}");
    refusal("over_limit", message, Some(format!("ask for less, or set nested.{key} = {value} in the document")))
}

/// What would let an image in.
pub(super) fn image_hint(allowed: &[ImagePattern], image: &ImageReference) -> String {
    let pattern = format!("{}/{}", image.registry(), image.repository());
    if allowed.is_empty() {
        return format!(
            "this container's own image is allowed; set nested.images = [\"{pattern}\"] in the document for this one"
        );
    }
    let allowed: Vec<&str> = allowed.iter().take(4).map(ImagePattern::as_str).collect();
    format!("allowed are its own image and {}; add \"{pattern}\" to nested.images in the document", allowed.join(", "))
}
