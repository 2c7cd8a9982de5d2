//! URLs as pipelines have them: what names a place, and nothing that a program would take for more.
//!
//! git and svn are programs with many doors: `ext::` runs a command, a leading `-` is an option, ssh takes options in the place of a
//! host. So what is allowed is listed here, and everything else is refused. Passwords are refused as well: whoever may read a
//! pipeline may not use its credentials.

/// Longest URL, in bytes: what every server takes.
const URL_MAX_BYTES: usize = 2048;

/// Schemes of git repositories.
pub(super) const GIT: [&str; 5] = ["https", "http", "ssh", "git", "file"];
/// Schemes of Subversion repositories.
pub(super) const SVN: [&str; 5] = ["https", "http", "svn", "svn+ssh", "file"];
/// Schemes of webhooks.
pub(super) const WEB: [&str; 2] = ["https", "http"];

/// What is wrong with a URL, and its cure.
pub(super) struct UrlProblem {
    pub(super) problem: String,
    pub(super) cure: String,
}

fn problem(problem: impl Into<String>, cure: impl Into<String>) -> UrlProblem {
    UrlProblem { problem: problem.into(), cure: cure.into() }
}

/// A good URL, as far as anybody asks: its scheme.
#[derive(Debug, PartialEq)]
pub(super) struct Url<'t> {
    pub(super) scheme: &'t str,
}

/// Checks a URL of one of `schemes`. `scp` allows `USER@HOST:PATH`, which is ssh.
pub(super) fn check<'t>(text: &'t str, schemes: &[&str], scp: bool) -> Result<Url<'t>, UrlProblem> {
    let examples =
        format!("write one that starts with {}", schemes.iter().map(|s| format!("{s}://")).collect::<Vec<_>>().join(", "));
    if text.is_empty() {
        return Err(problem("is empty", examples));
    }
    // RFC 3986 section 2: whatever is not visible ASCII is written as %XX.
    if text.len() > URL_MAX_BYTES
        || !text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'`'))
    {
        let what = format!("has characters that a URL cannot have, or more than {URL_MAX_BYTES} of them");
        return Err(problem(what, "write such characters as %XX"));
    }
    if text.starts_with('-') {
        return Err(problem("starts with \"-\", as options do", examples));
    }
    if text.contains('#') {
        return Err(problem("has a fragment \"#\"", "remove it"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return if scp { check_scp(text, &examples) } else { Err(problem("has no scheme", examples)) };
    };
    if !schemes.contains(&scheme) {
        return Err(problem(format!("has the scheme {scheme:?}, which is not allowed here"), examples));
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if scheme == "file" {
        let is_local = authority.is_empty() && path.starts_with('/') && path.len() > 1;
        return if is_local {
            Ok(Url { scheme })
        } else {
            Err(problem("names no file of the builder host", "write file:///PATH"))
        };
    }
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    check_user(user, scheme)?;
    check_host(host)?;
    Ok(Url { scheme })
}

/// `USER@HOST:PATH`.
fn check_scp<'t>(text: &str, examples: &str) -> Result<Url<'t>, UrlProblem> {
    let parts = text.split_once(':').and_then(|(place, path)| Some((place.split_once('@')?, path)));
    let Some(((user, host), path)) = parts else {
        return Err(problem("has no scheme", format!("{examples}, or USER@HOST:PATH")));
    };
    if path.starts_with(':') {
        return Err(problem("would run a program", examples));
    }
    if path.is_empty() || path.starts_with('-') {
        return Err(problem("has no path", format!("{examples}, or USER@HOST:PATH")));
    }
    check_user(Some(user), "ssh")?;
    check_host(host)?;
    Ok(Url { scheme: "ssh" })
}

/// Over ssh the user is a part of the address; elsewhere, and with a password anywhere, it is a credential.
fn check_user(user: Option<&str>, scheme: &str) -> Result<(), UrlProblem> {
    let Some(user) = user else { return Ok(()) };
    let by_ssh = matches!(scheme, "ssh" | "svn+ssh");
    if user.contains(':') || !by_ssh {
        let cure = "remove them; give the coordinator a secret, and name that: credentials = \"secret-name\"";
        return Err(problem("holds credentials, which everybody who sees the pipeline could use", cure));
    }
    let is_name = !user.is_empty()
        && !user.starts_with('-')
        && user.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if is_name { Ok(()) } else { Err(problem(format!("has {user:?} as its user"), "write for example git@HOST")) }
}

/// `HOST` or `HOST:PORT`.
fn check_host(text: &str) -> Result<(), UrlProblem> {
    let (host, port) = match text.rsplit_once(':') {
        // A colon within brackets belongs to the address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_name = |host: &str| {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        !host.is_empty() && !host.starts_with(['-', '.']) && host.bytes().all(good)
    };
    let is_host = literal.map_or_else(|| is_name(host), |address| address.parse::<std::net::Ipv6Addr>().is_ok());
    if is_host && port.is_none_or(is_port) {
        return Ok(());
    }
    Err(problem(format!("has {text:?} where its host should be"), "write for example git.lan or git.lan:8443"))
}
