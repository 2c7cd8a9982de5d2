//! `[source]`: where code comes from.

use super::{Places, Table, only_once, reference, shortened, url};
use crate::document::diagnostic::Rule;
use crate::document::raw::{Field, Mistakes};
use crate::names::SecretName;
use crate::pipeline::{Git, Reference, Source, SourceKind};
use crate::recipe::pattern::{Wildcards, relative};

/// Keys that only git sources have.
const OF_GIT: [&str; 3] = ["branch", "tags", "submodules"];

pub(super) fn source(table: &Table<'_>, mistakes: &mut Mistakes) -> Option<Source> {
    let kind = match (table.field("git"), table.field("svn")) {
        (Some(git), None) => git_of(&git, table, mistakes).map(SourceKind::Git),
        (None, Some(svn)) => svn_of(&svn, table, mistakes),
        (Some(git), Some(svn)) => {
            let both = svn.wrong(Rule::Conflict, "the code comes from `git` already");
            mistakes.push(both.related(git.span(), "first here").hint("keep one of them; two sources are two pipelines"));
            None
        }
        (None, None) => {
            table.required("git", "git = \"https://git.lan/shop.git\", or svn = \"https://svn.lan/shop/trunk\"", mistakes);
            None
        }
    };
    let paths = table.field("paths").map(|field| patterns(&field, mistakes)).unwrap_or_default();
    let credentials = table.field("credentials");
    let secret = credentials.as_ref().and_then(|field| secret_name(field, mistakes));
    if let (Some(field), Some(SourceKind::Git(Git { url, .. }) | SourceKind::Svn { url })) = (&credentials, &kind)
        && (url.starts_with("git://") || url.starts_with("file://"))
    {
        let unused = field.wrong(Rule::Conflict, format!("nobody asks for credentials at {url:?}"));
        mistakes.push(unused.hint("remove the key, or use https:// or ssh://"));
    }
    Some(Source { kind: kind?, paths, credentials: secret })
}

fn git_of(field: &Field<'_>, table: &Table<'_>, mistakes: &mut Mistakes) -> Option<Git> {
    let url = url_of(field, &url::GIT, true, mistakes);
    let branch = table.field("branch");
    let tags = table.field("tags");
    if let (Some(branch), Some(tags)) = (&branch, &tags) {
        let both = tags.wrong(Rule::Conflict, "`branch` says what is built already");
        mistakes.push(both.related(branch.span(), "first here").hint("keep one of them"));
    }
    let branch = branch.and_then(|field| name(&field, false, mistakes));
    let reference = match tags {
        Some(tags) => Reference::Tags(name(&tags, true, mistakes).unwrap_or_default()),
        None => Reference::Branch(branch),
    };
    let submodules = table.field("submodules").and_then(|field| field.boolean(mistakes)).unwrap_or(false);
    Some(Git { url: url?, reference, submodules })
}

fn svn_of(field: &Field<'_>, table: &Table<'_>, mistakes: &mut Mistakes) -> Option<SourceKind> {
    for of_git in OF_GIT.iter().filter_map(|key| table.field(key)) {
        let lost = of_git.wrong(Rule::Conflict, "Subversion has branches and tags as folders");
        mistakes.push(lost.related(field.span(), "svn here").hint("remove the key, and name the folder in `svn`"));
    }
    let url = url_of(field, &url::SVN, false, mistakes)?;
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    if path.contains('@') {
        let peg = field.wrong(Rule::BadUrl, format!("{:?} has a \"@\", which Subversion takes for a revision", shortened(&url)));
        mistakes.push(peg.hint("remove the revision, the newest is built; in a name write %40"));
        return None;
    }
    Some(SourceKind::Svn { url })
}

fn url_of(field: &Field<'_>, schemes: &[&str], scp: bool, mistakes: &mut Mistakes) -> Option<String> {
    let text = field.text(mistakes)?;
    match url::check(text, schemes, scp) {
        Ok(_) => Some(text.to_owned()),
        Err(url::UrlProblem { problem, cure }) => {
            // The URL is not repeated: it may hold a password.
            mistakes.push(field.wrong(Rule::BadUrl, format!("the URL {problem}")).hint(cure));
            None
        }
    }
}

fn name(field: &Field<'_>, is_pattern: bool, mistakes: &mut Mistakes) -> Option<String> {
    let text = field.text(mistakes)?;
    let whole = ["refs/heads/", "refs/tags/"].into_iter().find_map(|prefix| text.strip_prefix(prefix));
    let problem = reference::problem(text, is_pattern).or(whole.map(|_| "is a whole reference"));
    let Some(problem) = problem else { return Some(text.to_owned()) };
    let bad = field.wrong(Rule::BadReference, format!("{:?} {problem}", shortened(text)));
    mistakes.push(match whole {
        Some(name) if reference::problem(name, is_pattern).is_none() => bad.hint(format!("write {name:?}")),
        _ if is_pattern => bad.hint("write for example \"v*\" or \"release-?.*\""),
        _ => bad.hint("write for example \"main\" or \"release/1.2\""),
    });
    None
}

/// Patterns of paths in the workspace, none twice.
pub(super) fn patterns(field: &Field<'_>, mistakes: &mut Mistakes) -> Vec<String> {
    let mut seen = Places::new();
    let mut patterns = Vec::new();
    for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
        let Some(pattern) = relative(&entry, Wildcards::Allowed, mistakes) else { continue };
        if only_once(&entry, &pattern, &mut seen, mistakes) {
            patterns.push(pattern);
        }
    }
    patterns
}

/// The name of a secret. What is none may be the secret itself, so it is not repeated.
pub(super) fn secret_name(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<SecretName> {
    let text = field.text(mistakes)?;
    let name = text.parse::<SecretName>();
    if let Err(error) = &name {
        let bad = field.wrong(Rule::BadSecret, format!("the name of a secret {}", error.problem));
        mistakes.push(bad.hint("write the name under which the coordinator keeps it, such as \"git-shop\", never its value"));
    }
    name.ok()
}
