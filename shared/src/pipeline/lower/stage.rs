//! `[build]` and `[test]`: steps in one container.

use super::source::secret_name;
use super::{Places, Table, only_once, shortened, timeout};
use crate::document::Network;
use crate::document::diagnostic::{Diagnostic, Rule};
use crate::document::lower::choice::choice;
use crate::document::lower::container::user;
use crate::document::lower::nested::{Within, nested};
use crate::document::lower::pairs::{Pairs, placed};
use crate::document::lower::path::{normal, target_problem};
use crate::document::lower::{resources, table};
use crate::document::raw::{Field, Mistakes, nul};
use crate::names::SecretName;
use crate::pipeline::Stage;
use crate::pipeline::keys::PIPELINE;
use crate::quantity::Span;
use crate::recipe::pattern;
use std::collections::BTreeMap;
use toml::de::DeValue;

/// How long a step may take unless the pipeline says otherwise.
const STEP_TIMEOUT: Span = Span::seconds(30 * 60);
/// Where the checkout is in the container of a step.
const WORKSPACE: &str = "/workspace";
/// Variables that tell a step about its run begin so, and cannot be set.
const RESERVED_PREFIX: &str = "COORD_";
const NETWORKS: [(&str, Network); 3] = [("bridge", Network::Bridge), ("host", Network::Host), ("none", Network::None)];

/// `whole` is what the whole run may take, where the pipeline says so.
pub(super) fn stage(table: &Table<'_>, whole: Option<Span>, mistakes: &mut Mistakes) -> Option<Stage> {
    let name = table.name;
    let steps = table.required("steps", "steps = [\"make\"]", mistakes).and_then(|field| steps(&field, mistakes));
    let environment = environment(table, mistakes);
    let secrets = secrets(table, &environment, mistakes);
    let limits = match name {
        "build" => "build.resources",
        _ => "test.resources",
    };
    let resources = self::table(&PIPELINE, table.table, limits, mistakes);
    let resources = resources.map(|table| resources::limits(table, limits, mistakes)).unwrap_or_default();
    let within = Within { name: limits, table: table.field("resources"), limits: &resources };
    Some(Stage {
        nested: table.field("nested").and_then(|field| nested(&PIPELINE, &field, &within, mistakes)),
        image: table.field("image").and_then(|field| field.parse("a string", Rule::BadImage, mistakes)),
        cache: table.field("cache").map(|field| cache(&field, mistakes)).unwrap_or_default(),
        environment: environment.into_iter().map(|(name, (text, _))| (name, text)).collect(),
        secrets,
        user: table.field("user").and_then(|field| user(&field, mistakes)),
        network: table.field("network").and_then(|field| choice(&field, &NETWORKS, mistakes)).unwrap_or(Network::Bridge),
        resources,
        timeout: step_timeout(table, whole, mistakes),
        steps: steps?,
    })
}

fn steps(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Vec<String>> {
    let entries = field.entries("an array of strings", mistakes)?;
    if entries.is_empty() {
        let empty = field.is_wrong(Rule::NothingToRun, "is empty, so nothing would run");
        mistakes.push(empty.hint("name the commands, as in [\"make\"], or remove the whole table"));
        return None;
    }
    let mut steps = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(text) = entry.text(mistakes) else { continue };
        if text.trim().is_empty() {
            mistakes.push(entry.wrong(Rule::NothingToRun, "there is nothing to run").hint("name a command, or remove the entry"));
        }
        steps.push(text.to_owned());
    }
    Some(steps)
}

type Environment = crate::document::lower::pairs::Placed;

fn environment(table: &Table<'_>, mistakes: &mut Mistakes) -> Environment {
    let field = table.field("environment");
    let read = field.as_ref().and_then(|field| placed(field, Pairs::Environment, &table.place(), mistakes)).unwrap_or_default();
    for (name, (_, place)) in &read {
        if name.starts_with(RESERVED_PREFIX) {
            mistakes.push(reserved(name, place.clone()));
        }
    }
    read
}

fn reserved(name: &str, place: std::ops::Range<usize>) -> Diagnostic {
    let message = format!("the variable {:?} cannot be set: those of {RESERVED_PREFIX}* tell of the run", shortened(name));
    Diagnostic::new(Rule::BadVariable, place, message).hint("give it another name")
}

/// Variables by the names of their secrets; none of them is set by `environment`, too.
fn secrets(table: &Table<'_>, environment: &Environment, mistakes: &mut Mistakes) -> BTreeMap<String, SecretName> {
    let mut secrets = BTreeMap::new();
    let Some(field) = table.field("secrets") else { return secrets };
    let DeValue::Table(entries) = field.value.get_ref() else {
        mistakes.push(field.wrong_type("a table").hint("write it as secrets = { NPM_TOKEN = \"secret-name\" }"));
        return secrets;
    };
    if field.few_enough(entries.len(), mistakes).is_none() {
        return secrets;
    }
    for (key, value) in entries {
        let name = key.get_ref().as_ref();
        let entry = Field { path: format!("{}.{}", field.path, name.escape_debug()), value, has_heading: false };
        let before = mistakes.len();
        if name.contains('\0') {
            mistakes.push(nul(name, key.span()));
        } else if name.is_empty() || name.contains('=') {
            let bad = format!("a variable needs a name without \"=\", which {:?} is not", shortened(name));
            mistakes.push(Diagnostic::new(Rule::BadVariable, key.span(), bad));
        } else if field.has_heading && PIPELINE.is_honoured(table.name, name) {
            let swallowed = format!("`{name}` stands under [{}], which makes it a variable", field.path);
            let hint =
                format!("move `{name}` above the line [{}]; for a variable of that name write secrets = {{ ... }}", field.path);
            mistakes.push(Diagnostic::new(Rule::MisplacedKey, key.span(), swallowed).hint(hint));
        } else if name.starts_with(RESERVED_PREFIX) {
            mistakes.push(reserved(name, key.span()));
        } else if let Some((_, first)) = environment.get(name) {
            let both = format!("`environment` sets the variable {:?}, too", shortened(name));
            let both = Diagnostic::new(Rule::Conflict, key.span(), both);
            mistakes.push(both.related(first.clone(), "set here").hint("keep one of them"));
        }
        if let (true, Some(secret)) = (mistakes.len() == before, secret_name(&entry, mistakes)) {
            secrets.insert(name.to_owned(), secret);
        }
    }
    secrets
}

/// Folders that are kept, of one spelling, none within another.
fn cache(field: &Field<'_>, mistakes: &mut Mistakes) -> Vec<String> {
    let mut seen = Places::new();
    let mut kept: Vec<String> = Vec::new();
    for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
        let Some(text) = entry.text(mistakes) else { continue };
        let folder = match cache_folder(text) {
            Ok(folder) => folder,
            Err((problem, cure)) => {
                mistakes.push(entry.wrong(Rule::BadPath, format!("{:?} {problem}", shortened(text))).hint(cure));
                continue;
            }
        };
        if !only_once(&entry, &folder, &mut seen, mistakes) {
            continue;
        }
        let within = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        if let Some(other) = kept.iter().find(|other| within(&folder, other) || within(other, &folder)) {
            let nested = entry.wrong(Rule::Conflict, format!("one of {folder:?} and {other:?} lies within the other"));
            let nested = nested.hint("keep the outer one");
            mistakes.push(match seen.get(other) {
                Some(first) => nested.related(first.clone(), "the other one"),
                None => nested,
            });
        }
        kept.push(folder);
    }
    kept
}

/// The folder's one spelling, or what is wrong with it and its cure.
fn cache_folder(text: &str) -> Result<String, (String, String)> {
    const CURE: &str = "write for example \"/usr/local/cargo\", or \"target\" for a folder of the workspace";
    if !text.starts_with('/') {
        let folder = pattern::normal(text).map_err(|problem| (problem, CURE.to_owned()))?;
        return match folder.contains(['*', '?']) {
            true => Err(("is a pattern, where a folder is kept whole".to_owned(), CURE.to_owned())),
            false => Ok(folder),
        };
    }
    let folder = normal(text).map_err(|problem| (problem, CURE.to_owned()))?;
    if let Some(rest) = folder.strip_prefix(WORKSPACE)
        && (rest.is_empty() || rest.starts_with('/'))
    {
        let cure = match rest.trim_start_matches('/') {
            "" => "the workspace is new for every run; name the folders in it that are kept, such as \"target\"".to_owned(),
            inner => format!("write it relative to the workspace: {inner:?}"),
        };
        return Err(("is the workspace, or lies in it".to_owned(), cure));
    }
    match target_problem(&folder) {
        Some(problem) => Err((problem.to_owned(), CURE.to_owned())),
        None => Ok(folder),
    }
}

fn step_timeout(table: &Table<'_>, whole: Option<Span>, mistakes: &mut Mistakes) -> Span {
    let Some(step) = timeout(table.table, table.name, mistakes) else { return STEP_TIMEOUT };
    let whole = whole.unwrap_or(super::TIMEOUT);
    if let (true, Some(field)) = (step > whole, table.field("timeout")) {
        let longer = field.wrong(Rule::Conflict, format!("{step} is more than the whole run may take, {whole}"));
        mistakes.push(longer.hint("raise `timeout` at the top, or lower this one"));
    }
    step
}
