//! The newest commit of a branch, or the newest tag: one `git ls-remote`.

use super::{Repository, arguments, tags};
use crate::error::SourceError;
use crate::run::{Order, Work};
use coord_shared::names::Commit;
use coord_shared::pipeline::Reference;
use coord_shared::wire::Head;
use std::collections::BTreeMap;

/// What a server says that it has: names and what they lead to, and what HEAD is another name of.
#[derive(Default)]
struct Advertised {
    commits: BTreeMap<String, Commit>,
    head: Option<String>,
}

impl Repository<'_> {
    /// The newest commit.
    pub(crate) async fn look(&self) -> Result<Head, SourceError> {
        let work = self.work("looking at", self.limits.look, None, None);
        match &self.git.reference {
            Reference::Branch(branch) => self.look_at_branch(&work, branch.as_deref()).await,
            Reference::Tags(pattern) => self.look_at_tags(&work, pattern).await,
        }
    }

    async fn look_at_branch(&self, work: &Work<'_>, branch: Option<&str>) -> Result<Head, SourceError> {
        let name = branch.map(|branch| format!("refs/heads/{branch}"));
        let wanted: Vec<&str> = std::iter::once("HEAD").chain(name.as_deref()).collect();
        let advertised = self.advertised(work, &["--symref"], &wanted).await?;
        let default = advertised.head.as_deref().and_then(|head| head.strip_prefix("refs/heads/"));
        let found = match &name {
            Some(name) => advertised.commits.get(name).map(|commit| (commit, branch)),
            None => advertised.commits.get("HEAD").map(|commit| (commit, default)),
        };
        if let Some((commit, reference)) = found {
            return Ok(Head { commit: commit.clone(), reference: reference.unwrap_or("HEAD").to_owned() });
        }
        let Some(branch) = branch else { return Err(SourceError::Empty { url: work.url.clone() }) };
        let cure = match default {
            Some(default) => format!("its default branch is {default}: set `branch` in [source]"),
            None => "push it, or set `branch` in [source]".to_owned(),
        };
        Err(SourceError::Reference { url: work.url.clone(), what: format!("branch {branch}"), cure })
    }

    async fn look_at_tags(&self, work: &Work<'_>, pattern: &str) -> Result<Head, SourceError> {
        let advertised = self.advertised(work, &["--tags"], &[]).await?;
        let names = advertised.commits.keys().filter_map(|name| name.strip_prefix("refs/tags/"));
        let names = names.filter(|name| !name.ends_with(PEELED) && tags::matches(pattern, name));
        let Some(newest) = names.max_by(|a, b| tags::compare(a, b)) else {
            let cure = "push one, or change `tags` in [source]".to_owned();
            return Err(SourceError::Reference { url: work.url.clone(), what: format!("tag that matches {pattern}"), cure });
        };
        // A tag with a message is an object of its own; what it is about follows it, peeled.
        let peeled = advertised.commits.get(&format!("refs/tags/{newest}{PEELED}"));
        let commit = peeled.or_else(|| advertised.commits.get(&format!("refs/tags/{newest}")));
        let commit = commit.ok_or_else(|| answer(work, format!("the tag {newest}")))?;
        Ok(Head { commit: commit.clone(), reference: newest.to_owned() })
    }

    async fn advertised(&self, work: &Work<'_>, options: &[&str], names: &[&str]) -> Result<Advertised, SourceError> {
        let words = [&["ls-remote"], options, &["--", &self.git.url], names].concat();
        let ended = self.ask(work, Order { arguments: arguments(&words), ..Order::default() }, &mut |_| ()).await?;
        if !ended.is_success {
            return Err(work.failed(&ended));
        }
        parse(&String::from_utf8_lossy(&ended.output)).map_err(|line| answer(work, format!("the line {line:?}")))
    }
}

/// What follows the name of what a tag with a message is about.
const PEELED: &str = "^{}";

fn answer(work: &Work<'_>, what: String) -> SourceError {
    SourceError::Answer { program: "git", url: work.url.clone(), what }
}

/// Lines of `git ls-remote --symref`: `ref: NAME\tHEAD` and `COMMIT\tNAME`. The error is the line that is neither.
fn parse(output: &str) -> Result<Advertised, String> {
    let mut advertised = Advertised::default();
    for line in output.lines() {
        let (left, name) = line.split_once('\t').ok_or_else(|| line.to_owned())?;
        match left.strip_prefix("ref: ") {
            Some(target) if name == "HEAD" => advertised.head = Some(target.to_owned()),
            Some(_) => {}
            None => {
                let commit = left.parse().map_err(|_| line.to_owned())?;
                advertised.commits.insert(name.to_owned(), commit);
            }
        }
    }
    Ok(advertised)
}
