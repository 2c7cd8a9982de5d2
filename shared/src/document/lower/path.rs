//! Paths on the host and in the container: absolute, and of one spelling.

/// Longest path, in bytes, without the terminating NUL (Linux, `PATH_MAX`).
pub(crate) const PATH_MAX_BYTES: usize = 4095;

/// `text` without doubled slashes, `.` parts and a slash at its end. The error goes on after the path: "is not an absolute path".
///
/// `..` is refused, because what it means depends on symbolic links that nobody has looked at yet.
pub(crate) fn normal(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("is not an absolute path".to_owned());
    }
    if text.len() > PATH_MAX_BYTES {
        return Err(format!("is longer than {PATH_MAX_BYTES} bytes"));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err("has a part \"..\"".to_owned());
    }
    if text.contains(char::is_control) {
        return Err("has a control character".to_owned());
    }
    Ok(format!("/{}", parts.join("/")))
}

/// The one spelling of a place in a container at which something may be mounted. The error goes on after `text`: "is not an absolute
/// path". For what others than a document say, such as an image.
pub fn mount_target(text: &str) -> Result<String, String> {
    let target = normal(text)?;
    match target_problem(&target) {
        Some(problem) => Err(problem.to_owned()),
        None => Ok(target),
    }
}

/// Why nothing may be put at `target`, which is normal, in a container.
pub(crate) fn target_problem(target: &str) -> Option<&'static str> {
    let within = |folder: &str| target.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if target == "/" {
        Some("is the container's root itself")
    } else if within("/proc") || within("/sys") {
        Some("belongs to the kernel's own file systems")
    } else if target == "/dev" {
        Some("is where the container's devices are")
    } else {
        None
    }
}
