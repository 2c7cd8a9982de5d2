//! `[trigger]`: when a pipeline runs by itself.

use super::Table;
use super::source::secret_name;
use crate::decide::schedule::Schedule;
use crate::document::diagnostic::Rule;
use crate::document::lower::tables::Inner;
use crate::document::raw::{Field, Mistakes};
use crate::pipeline::keys::PIPELINE;
use crate::pipeline::{Trigger, Webhook};
use crate::quantity::Span;
use toml::de::DeValue;

/// How often the source is looked at unless the pipeline says otherwise.
const POLL: Span = Span::seconds(60);
/// Shortest pause between two looks: a server that many pipelines ask would be kept busy with answering.
const POLL_MIN: Span = Span::seconds(5);

pub(super) fn trigger(table: Option<&Table<'_>>, mistakes: &mut Mistakes) -> Trigger {
    let key = |name| table.and_then(|table| table.field(name));
    Trigger {
        poll: key("poll").map_or(Some(POLL), |field| poll(&field, mistakes)),
        webhook: key("webhook").and_then(|field| webhook(&field, mistakes)),
        schedule: key("schedule").and_then(|field| schedule(&field, mistakes)),
    }
}

/// None for never, and after a mistake.
fn poll(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Span> {
    if field.value.get_ref().as_str() == Some("never") {
        return None;
    }
    if field.value.get_ref().as_bool() == Some(false) {
        mistakes.push(field.wrong_type("a length of time").hint("write \"never\""));
        return None;
    }
    let span: Span = field.parse("a length of time or \"never\"", Rule::BadDuration, mistakes)?;
    if span >= POLL_MIN {
        return Some(span);
    }
    let often = field.is_wrong(Rule::OutOfRange, format!("must be at least {POLL_MIN}, or \"never\""));
    mistakes.push(often.hint("for less delay use a webhook, which causes a look at once"));
    None
}

fn webhook(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Webhook> {
    let DeValue::Table(table) = field.value.get_ref() else {
        mistakes.push(field.wrong_type("a table").hint("write it as webhook = { secret = \"secret-name\" }"));
        return None;
    };
    let keys = Inner { path: &field.path, table };
    keys.check(&PIPELINE, "webhook", mistakes);
    let secret = keys.required("secret", "secret = \"shop-hook\"", field, mistakes)?;
    secret_name(&secret, mistakes).map(|secret| Webhook { secret })
}

fn schedule(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let text = field.text(mistakes)?;
    if let Err(error) = text.parse::<Schedule>() {
        let bad = field.wrong(Rule::BadSchedule, error);
        mistakes.push(bad.hint("write minute, hour, day, month and weekday in UTC, as in \"30 4 * * 1-5\"; or \"@daily\""));
        return None;
    }
    Some(text.to_owned())
}
