//! Names of branches and patterns of tags, as git-check-ref-format(1) has them.

/// Longest name, in bytes: git keeps it as a file's name, and nobody types more.
const NAME_MAX_BYTES: usize = 255;

/// Why `name` is no branch, or no tag; `*` and `?` are allowed in a pattern. Goes on after the name: "is empty".
pub(super) fn problem(name: &str, is_pattern: bool) -> Option<&'static str> {
    let wild = |c: char| !is_pattern && matches!(c, '*' | '?');
    if name.is_empty() {
        Some("is empty")
    } else if name.len() > NAME_MAX_BYTES {
        Some("is longer than 255 bytes")
    } else if name.starts_with('-') {
        Some("starts with \"-\", as options do")
    } else if name == "@" || name.contains("@{") {
        Some("has a special meaning to git")
    } else if name.contains(|c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '[' | '\\')) || name.contains(wild) {
        Some("has a character that names of branches and tags cannot have")
    } else if name.contains("..") || name.ends_with('.') {
        Some("has dots where names of branches and tags cannot have them")
    } else if name.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.ends_with(".lock")) {
        Some("has a part that is empty, starts with \".\" or ends with \".lock\"")
    } else {
        None
    }
}
