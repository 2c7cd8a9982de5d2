//! YAML as far as files of devices use it: made into what JSON would have said.
//!
//! Aliases are refused: a few lines of them can stand for more than any memory holds. So are tags and several documents.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// How deep lists and tables may lie in each other; files of devices need six.
const DEPTH_MAX: usize = 32;

/// The value of the only document in `text`. The error says what and where.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    reader.expect("the beginning", |event| matches!(event, Event::StreamStart))?;
    reader.expect("a document", |event| matches!(event, Event::DocumentStart(_)))?;
    let first = reader.next()?;
    let value = reader.value(first, 0)?;
    reader.expect("the end of the document", |event| matches!(event, Event::DocumentEnd))?;
    reader.expect("only one document", |event| matches!(event, Event::StreamEnd))?;
    Ok(value)
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, String> {
        let event = self.parser.next_event().ok_or("it ends too early")?;
        event.map(|(event, _)| event).map_err(|error| error.to_string())
    }

    fn expect(&mut self, what: &str, fits: impl FnOnce(&Event<'_>) -> bool) -> Result<(), String> {
        let event = self.next()?;
        if fits(&event) { Ok(()) } else { Err(format!("{what} was expected")) }
    }

    fn value(&mut self, event: Event<'a>, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        if let Event::Scalar(text, style, _, None) = event {
            return Ok(if style == ScalarStyle::Plain { plain(&text) } else { Value::String(text.into_owned()) });
        }
        if matches!(event, Event::SequenceStart(_, None)) {
            return self.list(depth);
        }
        if matches!(event, Event::MappingStart(_, None)) {
            return self.table(depth);
        }
        let is_alias = matches!(event, Event::Alias(_));
        Err(if is_alias { "an alias (*name); write it out" } else { "a tag (!name); leave it out" }.to_owned())
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        let mut list = Vec::new();
        loop {
            let item = self.next()?;
            if item == Event::SequenceEnd {
                return Ok(Value::Array(list));
            }
            list.push(self.value(item, depth + 1)?);
        }
    }

    fn table(&mut self, depth: usize) -> Result<Value, String> {
        let mut table = Map::new();
        loop {
            let key = self.next()?;
            if key == Event::MappingEnd {
                return Ok(Value::Object(table));
            }
            let Event::Scalar(key, _, _, None) = key else { return Err("a key that is no plain text".to_owned()) };
            let value = self.next()?;
            let value = self.value(value, depth + 1)?;
            if table.insert(key.clone().into_owned(), value).is_some() {
                return Err(format!("the key {key:?} is there twice"));
            }
        }
    }
}

/// YAML 1.2, 10.3.2: what a text without quotes stands for.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => {
            let radix = |prefix, radix| u64::from_str_radix(text.strip_prefix(prefix)?, radix).ok();
            let number = radix("0o", 8).or_else(|| radix("0x", 16)).map(Number::from);
            let number = number.or_else(|| text.parse::<i64>().ok().map(Number::from));
            number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn yaml_becomes_what_json_says() {
        let check = |yaml: &str, json: &str| {
            let expect = serde_json::from_str::<serde_json::Value>(json).expect("JSON");
            assert_eq!(parse(yaml), Ok(expect), "{yaml}");
        };
        check("a: 1\nb: [x, 'true', true, ~]\n", r#"{"a": 1, "b": ["x", "true", true, null]}"#);
        check("---\ncdiVersion: 0.5.0\nmode: 0o666\n", r#"{"cdiVersion": "0.5.0", "mode": 438}"#);
        check(
            "devices:\n- name: \"0\"\n  containerEdits:\n    deviceNodes:\n    - path: /dev/x\n",
            r#"{"devices": [{"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/x"}]}}]}"#,
        );
        check("{}", "{}");
    }

    #[test]
    fn what_nobody_needs_is_refused() {
        let check = |yaml: &str, expect: &str| {
            let error = parse(yaml).expect_err(yaml);
            assert!(error.contains(expect), "{yaml}: {error}");
        };
        check("a: &x [1]\nb: *x\n", "an alias");
        check("a: !!str 1\n", "a tag");
        check("a: 1\na: 2\n", "twice");
        check("a: 1\n---\nb: 2\n", "only one document");
        check("[a]: 1\n", "a key that is no plain text");
        check("a: [1\n", "");
        check("", "");
        check(&"[".repeat(100), "nested deeper than 32");
    }
}
