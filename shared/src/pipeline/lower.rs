//! From raw values to the checked pipeline: every key is looked at, every mistake reported.

mod notify;
mod package;
mod reference;
mod source;
mod stage;
mod trigger;
pub(crate) mod url;

use super::keys::PIPELINE;
use super::model::{Deploy, Pipeline, PipelineImage};
use crate::document::diagnostic::{Diagnostic, Rule};
use crate::document::lower::tables::Place;
use crate::document::lower::{check_keys, hosts, policy, table};
use crate::document::raw::{Field, Mistakes, field};
use crate::document::workload_name;
use crate::names::{CENTRE, HostSelector, Repository, WorkloadName, check_tag};
use crate::quantity::Span;
use crate::recipe::lower::recipe;
use crate::recipe::pattern::{Wildcards, relative};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::DeTable;

/// Who builds where nothing is said.
const HOSTS: &str = "builder=true";
/// How long a run may take unless the pipeline says otherwise: most builds take minutes.
const TIMEOUT: Span = Span::seconds(3600);
/// Least time that anything may take: what is less ends before it begins.
const TIMEOUT_MIN: Span = Span::seconds(1);
/// Ended runs that are kept unless the pipeline says otherwise.
const KEEP_RUNS: u32 = 20;
/// More runs than anybody looks through; each is a record and a log.
const KEEP_RUNS_MAX: u32 = 1000;
/// The tag that moves unless the pipeline says otherwise.
const TAG: &str = "latest";

/// The pipeline that `root` describes. None only after a mistake was reported.
pub(super) fn lower(root: &DeTable<'_>, mistakes: &mut Mistakes) -> Option<Pipeline> {
    check_keys(&PIPELINE, root, "", mistakes);
    let source = section(root, "source", Some("a line [source], and git = \"https://git.lan/shop.git\" below it"), mistakes);
    let source = source.and_then(|table| source::source(&table, mistakes));
    let timeout = timeout(root, "", mistakes);
    let build = section(root, "build", None, mistakes).map(|table| stage::stage(&table, timeout, mistakes));
    let test = section(root, "test", None, mistakes).map(|table| stage::stage(&table, timeout, mistakes));
    nested_needs_image(root, mistakes);
    let package = section(root, "package", None, mistakes);
    let package = package::package(package.as_ref(), field(root, "", "build").as_ref(), mistakes);
    let image = section(root, "image", Some("a line [image], and repository = \"shop\" below it"), mistakes);
    let image = image.and_then(|table| image_of(&table, mistakes));
    let deploy = section(root, "deploy", None, mistakes).map(|table| deploy(&table, mistakes));
    let notify = section(root, "notify", None, mistakes);
    let told = |key, mistakes: &mut Mistakes| {
        let field = notify.as_ref().and_then(|table| table.field(key));
        field.map(|field| notify::targets(&field, mistakes)).unwrap_or_default()
    };
    let pipeline = Pipeline {
        hosts: hosts(root, mistakes),
        trigger: trigger::trigger(section(root, "trigger", None, mistakes).as_ref(), mistakes),
        timeout: timeout.unwrap_or(TIMEOUT),
        on_failure: told("on_failure", mistakes),
        on_success: told("on_success", mistakes),
        keep_runs: field(root, "", "keep_runs").and_then(|field| field.integer(1..=KEEP_RUNS_MAX, mistakes)).unwrap_or(KEEP_RUNS),
        source: source?,
        build: some_or_mistake(build)?,
        test: some_or_mistake(test)?,
        package: package?,
        image: image?,
        deploy: some_or_mistake(deploy)?,
    };
    Some(pipeline)
}

/// Reports steps that may start containers within themselves and run in none.
fn nested_needs_image(root: &DeTable<'_>, mistakes: &mut Mistakes) {
    let key = |stage, key| field(field(root, "", stage)?.value.get_ref().as_table()?, stage, key);
    let build_has_none = key("build", "image").is_none();
    for (stage, has_none) in [("build", build_has_none), ("test", build_has_none && key("test", "image").is_none())] {
        if let (true, Some(nested)) = (has_none, key(stage, "nested")) {
            let on_host = nested.wrong(Rule::Conflict, "the steps run on the builder host itself, in no container");
            mistakes.push(on_host.hint(format!("name an `image` under [{stage}], or remove `nested`")));
        }
    }
}

/// A table that is absent is nothing; one that could not be read is a mistake, which was reported.
fn some_or_mistake<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(read) => Some(read),
    }
}

/// A table of the pipeline, whose keys are checked.
pub(super) struct Table<'t> {
    name: &'static str,
    table: &'t DeTable<'t>,
    whole: Field<'t>,
}

impl<'t> Table<'t> {
    fn field(&self, key: &str) -> Option<Field<'t>> {
        field(self.table, self.name, key)
    }

    /// The field `key`, whose absence is reported at the table.
    fn required(&self, key: &str, example: &str, mistakes: &mut Mistakes) -> Option<Field<'t>> {
        let found = self.field(key);
        if found.is_none() {
            let missing = Diagnostic::new(Rule::MissingKey, self.whole.span(), format!("[{}] has no `{key}`", self.name));
            mistakes.push(missing.hint(format!("add for example {example}")));
        }
        found
    }

    fn place(&self) -> Place {
        Place { format: &PIPELINE, section: self.name }
    }
}

/// The table `[name]`; where it is absent and `needed`, that is reported.
fn section<'t>(root: &'t DeTable<'t>, name: &'static str, needed: Option<&str>, mistakes: &mut Mistakes) -> Option<Table<'t>> {
    let Some(whole) = field(root, "", name) else {
        if let Some(example) = needed {
            let missing = Diagnostic::new(Rule::MissingKey, 0..0, format!("[{name}] is missing"));
            mistakes.push(missing.hint(format!("add {example}")));
        }
        return None;
    };
    let table = table(&PIPELINE, root, name, mistakes)?;
    Some(Table { name, table, whole })
}

fn hosts(root: &DeTable<'_>, mistakes: &mut Mistakes) -> Vec<HostSelector> {
    const CURE: &str = "name hosts, as in [\"builder=true\"], or remove the key";
    match field(root, "", "hosts") {
        Some(field) => hosts::hosts(&field, "is empty, so nobody would build", CURE, mistakes).unwrap_or_default(),
        None => HOSTS.parse().into_iter().collect(),
    }
}

fn timeout(table: &DeTable<'_>, section: &str, mistakes: &mut Mistakes) -> Option<Span> {
    policy::at_least(table, section, "timeout", TIMEOUT_MIN, mistakes)
}

fn image_of(table: &Table<'_>, mistakes: &mut Mistakes) -> Option<PipelineImage> {
    let repository = table.required("repository", "repository = \"shop\"", mistakes);
    let repository = repository.and_then(|field| repository_of(&field, mistakes));
    let tags = table.field("tags").map(|field| tags(&field, mistakes)).unwrap_or_else(|| vec![TAG.to_owned()]);
    let healthcheck = crate::document::lower::table(&PIPELINE, table.table, "image.healthcheck", mistakes);
    let recipe = recipe(table.table, &table.place(), healthcheck, mistakes);
    Some(PipelineImage { repository: repository?, tags, recipe })
}

fn repository_of(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Repository> {
    let text = field.text(mistakes)?;
    let within = text.strip_prefix(CENTRE).and_then(|rest| rest.strip_prefix('/'));
    let problem = match (text.parse::<Repository>(), within) {
        (Ok(repository), None) => return Some(repository),
        (Ok(_), Some(_)) => format!("{text:?} names the image centre, which is meant anyway"),
        (Err(error), _) => error.to_string(),
    };
    let name = within.unwrap_or(text);
    let cure = match name.split_once(':') {
        Some((name, tag)) if name.parse::<Repository>().is_ok() && check_tag(tag).is_ok() => {
            format!("write repository = {name:?} and tags = [{tag:?}]")
        }
        None if name.parse::<Repository>().is_ok() => format!("write {name:?}"),
        Some(_) | None => "write for example \"shop\" or \"shop/web\"".to_owned(),
    };
    mistakes.push(field.wrong(Rule::BadRepository, problem).hint(cure));
    None
}

fn tags(field: &Field<'_>, mistakes: &mut Mistakes) -> Vec<String> {
    let mut seen = Places::new();
    let mut tags = Vec::new();
    for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
        let Some(tag) = entry.text(mistakes) else { continue };
        if check_tag(tag).is_err() {
            let bad = entry.wrong(Rule::BadTag, format!("{:?} is no tag", shortened(tag)));
            mistakes.push(bad.hint("write at most 128 letters, digits and . _ -, the first one no . or -"));
        } else if only_once(&entry, tag, &mut seen, mistakes) {
            tags.push(tag.to_owned());
        }
    }
    tags
}

fn deploy(table: &Table<'_>, mistakes: &mut Mistakes) -> Option<Deploy> {
    let document = table.required("document", "document = \"deploy/web.toml\"", mistakes);
    let place = document.as_ref().map(Field::span);
    let document = document.and_then(|field| {
        let path = relative(&field, Wildcards::Refused, mistakes)?;
        if path.ends_with(".toml") {
            return Some(path);
        }
        let other = field.wrong(Rule::BadPath, format!("{path:?} is not named as a document"));
        mistakes.push(other.hint("a document's file ends in .toml"));
        None
    });
    let said = table.field("workload");
    let workload = match &said {
        Some(field) => field.parse("a string", Rule::BadWorkload, mistakes),
        None => document.as_ref().and_then(|path| workload_of(path, place.unwrap_or_default(), mistakes)),
    };
    Some(Deploy { document: document?, workload: workload? })
}

/// The workload that a document of this path is named after.
fn workload_of(path: &str, place: Range<usize>, mistakes: &mut Mistakes) -> Option<WorkloadName> {
    let file = path.rsplit('/').next().unwrap_or_default();
    match workload_name(file) {
        Some(Ok(workload)) => Some(workload),
        named => {
            let problem = match named {
                Some(Err(error)) => error.to_string(),
                _ => format!("{file:?} is hidden"),
            };
            let bad = Diagnostic::new(Rule::BadWorkload, place, format!("`deploy.document` names no workload: {problem}"));
            mistakes.push(bad.hint("write its name as workload = \"web\""));
            None
        }
    }
}

/// Where entries are that must differ from each other.
type Places = BTreeMap<String, Range<usize>>;

/// Reports `name` if it is in `seen` already; otherwise it is from now on.
fn only_once(entry: &Field<'_>, name: &str, seen: &mut Places, mistakes: &mut Mistakes) -> bool {
    let Some(first) = seen.get(name) else {
        seen.insert(name.to_owned(), entry.span());
        return true;
    };
    let twice = entry.wrong(Rule::Duplicate, format!("{:?} is there already", shortened(name)));
    mistakes.push(twice.related(first.clone(), "first here").hint("remove one of them"));
    false
}

/// As much of a text as a report repeats.
fn shortened(text: &str) -> String {
    const SHOWN_MAX_CHARS: usize = 120;
    text.chars().take(SHOWN_MAX_CHARS).collect()
}
