//! `docs/nested-api.yaml` says what the code says: the same routes, and the same keys of every body.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../../../docs/nested-api.yaml");
const CODE: &str = include_str!("../../../../shared/src/wire/nested.rs");
/// A body of the agent's report to the coordinator, which no door answers.
const NOT_OF_THE_DOOR: &str = "NestedReport";

/// A body in the code: all keys (or values, of an enum), those that must be there, and whether others are refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Body {
    keys: BTreeSet<String>,
    required: BTreeSet<String>,
    is_strict: bool,
}

#[test]
fn the_routes_are_those_of_the_code() {
    let rows = CODE.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let mut code = BTreeSet::new();
    for row in rows {
        // `GET /v1/caches`, `GET /v1/caches/NAME` stand in one row.
        for part in row.split(" | ").next().unwrap_or_default().split(", ") {
            let route = part.trim_matches('`');
            let route = route.split(['?', '`']).next().unwrap_or_default();
            code.insert(route.replace("NAME", "{name}").replace("PATH", "{path}"));
        }
    }
    let page = page();
    let mut documented = BTreeSet::new();
    for (path, methods) in page["paths"].as_object().expect("paths") {
        let methods = methods.as_object().expect("methods").keys().filter(|key| *key != "parameters");
        documented.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    assert!(code.len() > 15, "{code:?}");
    assert_eq!(documented, code);
}

#[test]
fn the_bodies_are_those_of_the_code() {
    let code = bodies();
    let page = page();
    let schemas = page["components"]["schemas"].as_object().expect("schemas");
    assert!(code.len() > 15, "{:?}", code.keys());
    for (name, body) in &code {
        let schema = schemas.get(name).unwrap_or_else(|| panic!("the page has no {name}"));
        let names = |value: &Value| -> BTreeSet<String> {
            let list = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            list.chain(value.as_object().into_iter().flatten().map(|(key, _)| key.as_str())).map(str::to_owned).collect()
        };
        let keys = if schema["enum"].is_null() { &schema["properties"] } else { &schema["enum"] };
        let documented = Body {
            keys: names(keys),
            required: names(&schema["required"]),
            is_strict: schema["additionalProperties"] == Value::Bool(false),
        };
        assert_eq!(&documented, body, "{name}");
    }
}

#[test]
fn what_is_referred_to_is_there() {
    fn check(value: &Value, page: &Value) {
        if let Some(target) = value["$ref"].as_str() {
            let pointer = target.strip_prefix('#').expect("within the page");
            assert!(page.pointer(pointer).is_some(), "{target} is not there");
        }
        value.as_object().into_iter().flatten().for_each(|(_, below)| check(below, page));
        value.as_array().into_iter().flatten().for_each(|below| check(below, page));
    }
    check(&page(), &page());
}

/// The bodies of the code, as its text declares them.
fn bodies() -> BTreeMap<String, Body> {
    let mut bodies = BTreeMap::new();
    let (mut attributes, mut current): (Vec<&str>, Option<(&str, Body)>) = (Vec::new(), None);
    for line in CODE.lines() {
        let word = line.trim();
        if let Some(rest) = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum ")) {
            let is_strict = attributes.iter().any(|attribute| attribute.contains("deny_unknown_fields"));
            current = Some((rest.trim_end_matches(" {"), Body { is_strict, ..Body::default() }));
            attributes.clear();
        } else if line == "}" {
            bodies.extend(current.take().map(|(name, body)| (name.to_owned(), body)));
        } else if word.starts_with("#[") {
            attributes.push(word);
        } else if let Some((_, body)) = &mut current
            && !word.starts_with("//")
        {
            if let Some((name, kind)) = word.strip_prefix("pub ").and_then(|field| field.split_once(": ")) {
                let is_optional = kind.starts_with("Option<") || attributes.iter().any(|attribute| attribute.contains("default"));
                body.keys.insert(name.to_owned());
                body.required.extend((!is_optional).then(|| name.to_owned()));
            } else if let Some(variant) = word.strip_suffix(',') {
                body.keys.insert(snake(variant));
            }
            attributes.clear();
        } else if word.is_empty() {
            attributes.clear();
        }
    }
    bodies.remove(NOT_OF_THE_DOOR);
    bodies
}

/// `LastUse` is `last_use`.
fn snake(variant: &str) -> String {
    let mut text = String::new();
    for letter in variant.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

fn page() -> Value {
    let mut reader = Reader(Parser::new_from_str(PAGE));
    assert_eq!(reader.next(), Event::StreamStart);
    assert!(matches!(reader.next(), Event::DocumentStart(_)));
    reader.value()
}

/// YAML, as JSON would have said it.
struct Reader<'a>(Parser<'a, StrInput<'a>>);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Event<'a> {
        self.0.next_event().expect("more").expect("proper YAML").0
    }

    fn value(&mut self) -> Value {
        let event = self.next();
        self.of(event).expect("a value")
    }

    /// `None` where a list or a table ends.
    fn of(&mut self, event: Event<'a>) -> Option<Value> {
        if let Event::Scalar(text, style, ..) = event {
            let is_bool = style == ScalarStyle::Plain && (text == "true" || text == "false");
            return Some(if is_bool { Value::Bool(text == "true") } else { Value::String(text.into_owned()) });
        }
        if matches!(event, Event::SequenceStart(..)) {
            let mut list = Vec::new();
            loop {
                let item = self.next();
                match self.of(item) {
                    Some(item) => list.push(item),
                    None => return Some(Value::Array(list)),
                }
            }
        }
        if matches!(event, Event::MappingStart(..)) {
            let mut table = Map::new();
            loop {
                let key = self.next();
                let Some(key) = self.of(key) else { return Some(Value::Object(table)) };
                let key = key.as_str().expect("a key").to_owned();
                let value = self.value();
                assert!(table.insert(key.clone(), value).is_none(), "{key} is there twice");
            }
        }
        None
    }
}
