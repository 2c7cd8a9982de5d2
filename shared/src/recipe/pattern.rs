//! Patterns over paths: `*` and `?` within a name, `**` for any folders between. What a pipeline packs, what a recipe's modes are about.

use crate::document::diagnostic::Rule;
use crate::document::raw::{Field, Mistakes};

/// Most parts of a pattern: each costs a bit of the state in which a walk through folders is.
const PARTS_MAX: usize = 60;
/// Longest pattern, in bytes, as a path's (Linux, `PATH_MAX` without its NUL).
const PATTERN_MAX_BYTES: usize = 4095;

/// Whether a relative path may be a pattern.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Wildcards {
    Allowed,
    Refused,
}

/// A path within a folder: of one spelling, and never out of it.
pub(crate) fn relative(field: &Field<'_>, wildcards: Wildcards, mistakes: &mut Mistakes) -> Option<String> {
    let text = field.text(mistakes)?;
    let plain = |path: String| {
        let has = wildcards == Wildcards::Refused && path.contains(['*', '?']);
        if has { Err("has a wildcard, and names one place".to_owned()) } else { Ok(path) }
    };
    match normal(text).and_then(plain) {
        Ok(path) => Some(path),
        Err(problem) => {
            let bad = field.wrong(Rule::BadPath, format!("{text:?} {problem}"));
            mistakes.push(match wildcards {
                Wildcards::Allowed => bad.hint("write for example \"target/release/shop\", \"assets/**\" or \"*.conf\""),
                Wildcards::Refused => bad.hint("write it relative to its folder, as in \"deploy/web.toml\""),
            });
            None
        }
    }
}

/// `text` without doubled slashes, `.` parts and a slash at its end: a relative path or pattern that stays in its folder. The error goes
/// on after the text: "is empty".
pub(crate) fn normal(text: &str) -> Result<String, String> {
    if text.len() > PATTERN_MAX_BYTES {
        return Err(format!("is longer than {PATTERN_MAX_BYTES} bytes"));
    }
    if text.starts_with('/') {
        return Err("is an absolute path".to_owned());
    }
    if text.contains(char::is_control) {
        return Err("has a control character".to_owned());
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        return Err("names nothing".to_owned());
    }
    if parts.len() > PARTS_MAX {
        return Err(format!("has more than {PARTS_MAX} parts"));
    }
    if parts.contains(&"..") {
        return Err("has a part \"..\"".to_owned());
    }
    if parts.iter().any(|part| part.contains("**") && *part != "**") {
        return Err("has \"**\" within a name, where \"*\" is enough".to_owned());
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        assert_eq!(normal(text).ok().as_deref(), expect, "{text:?}");
    }

    #[test]
    fn patterns_stay_in_their_folder() {
        check("target/release/shop", Some("target/release/shop"));
        check("./assets//**/", Some("assets/**"));
        check("**", Some("**"));
        check("*.so.?", Some("*.so.?"));
        check("..a/b..", Some("..a/b.."));
        check("", None);
        check(".", None);
        check("/etc", None);
        check("a/../b", None);
        check("..", None);
        check("a**b", None);
        check("a\nb", None);
        check(&"x".repeat(4096), None);
        check(&"x/".repeat(60), Some("x/".repeat(60).trim_end_matches('/')));
        check(&"x/".repeat(61), None);
    }
}
