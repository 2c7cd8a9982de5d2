//! What happens over time: restarts, stops, rollouts.

use super::choice::{bad_word, choice};
use crate::document::diagnostic::Rule;
use crate::document::model::{Parallelism, RestartPolicy, Rollout, RolloutOrder};
use crate::document::parts::RestartSettings;
use crate::document::raw::{Field, Mistakes, field};
use crate::quantity::Span;
use toml::de::{DeTable, DeValue};

/// How a rollout goes unless the document says otherwise: one host at a time (Compose's default), old before new, because two
/// containers that want one port are more common than a gap that nobody can bear.
pub(crate) const ROLLOUT: Rollout = Rollout {
    parallelism: Parallelism::Count(1),
    order: RolloutOrder::StopFirst,
    monitor: Span::seconds(5),
    // Longer than most requests take, and short enough that connections which are only kept open delay nobody.
    drain: Span::seconds(2),
};

/// Shortest pause before a restart: without one, a program that fails at once would keep the host busy.
const DELAY_MIN: Span = Span(std::time::Duration::from_millis(10));

const ORDERS: [(&str, RolloutOrder); 2] = [("stop-first", RolloutOrder::StopFirst), ("start-first", RolloutOrder::StartFirst)];

/// Most hosts that may change at a time: more than a fleet has.
const PARALLELISM_MAX: u32 = 1_000_000;

pub(crate) fn restart(root: &DeTable<'_>, mistakes: &mut Mistakes) -> RestartPolicy {
    field(root, "", "restart").and_then(|field| restart_of(&field, mistakes)).unwrap_or(RestartPolicy::Always)
}

fn restart_of(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<RestartPolicy> {
    if let DeValue::Boolean(yes) = field.value.get_ref() {
        let cure = if *yes { "write \"always\"" } else { "write \"no\"" };
        mistakes.push(field.wrong_type("a string").hint(cure));
        return None;
    }
    let text = field.text(mistakes)?;
    match text {
        "no" => return Some(RestartPolicy::No),
        "always" => return Some(RestartPolicy::Always),
        "on-failure" => return Some(RestartPolicy::OnFailure(None)),
        "unless-stopped" => {
            let stopped =
                field.wrong(Rule::BadRestart, "\"unless-stopped\" has no meaning where nobody stops containers by hand");
            mistakes.push(stopped.hint("use \"always\""));
            return None;
        }
        _ => {}
    }
    if let Some(count) = text.strip_prefix("on-failure:") {
        // Digits only: `+5` is no number that people write.
        let digits = count.bytes().all(|b| b.is_ascii_digit());
        let count = count.parse::<u32>().ok().filter(|count| digits && *count > 0);
        if count.is_none() {
            let bad = field.wrong(Rule::BadRestart, format!("{text:?} has no number of restarts from 1 to {}", u32::MAX));
            mistakes.push(bad.hint("write for example \"on-failure:5\""));
        }
        return count.map(|count| RestartPolicy::OnFailure(Some(count)));
    }
    mistakes.push(bad_word(
        field,
        Rule::BadRestart,
        text,
        &["always", "on-failure", "no"],
        "\"always\", \"on-failure\", \"on-failure:5\" or \"no\"",
    ));
    None
}

/// The length of time `key`, or `default`.
pub(crate) fn span(table: &DeTable<'_>, section: &str, key: &str, default: Span, mistakes: &mut Mistakes) -> Span {
    field(table, section, key).and_then(|field| field.parse("a length of time", Rule::BadDuration, mistakes)).unwrap_or(default)
}

/// The length of time `key`, if it is there; at least `least`.
pub(crate) fn at_least(table: &DeTable<'_>, section: &str, key: &str, least: Span, mistakes: &mut Mistakes) -> Option<Span> {
    let field = field(table, section, key)?;
    let span: Span = field.parse("a length of time", Rule::BadDuration, mistakes)?;
    if span >= least {
        return Some(span);
    }
    mistakes.push(field.is_wrong(Rule::OutOfRange, format!("must be at least {least}")));
    None
}

/// `restart` is the policy, for what would be said twice.
pub(crate) fn restart_settings(table: &DeTable<'_>, restart: RestartPolicy, mistakes: &mut Mistakes) -> RestartSettings {
    let attempts = field(table, "restart_policy", "max_attempts");
    if let (RestartPolicy::OnFailure(Some(count)), Some(attempts)) = (restart, &attempts) {
        let twice = attempts.wrong(Rule::Conflict, format!("restart = \"on-failure:{count}\" gives a bound already"));
        mistakes.push(twice.hint("write restart = \"on-failure\", or remove `max_attempts`"));
    }
    RestartSettings {
        delay: at_least(table, "restart_policy", "delay", DELAY_MIN, mistakes),
        max_attempts: attempts.and_then(|field| field.integer(1..=u32::MAX, mistakes)),
        window: at_least(table, "restart_policy", "window", Span::seconds(0), mistakes),
    }
}

pub(crate) fn rollout(table: Option<&DeTable<'_>>, mistakes: &mut Mistakes) -> Rollout {
    let Some(table) = table else { return ROLLOUT };
    let key = |name| field(table, "rollout", name);
    Rollout {
        parallelism: key("parallelism").and_then(|field| parallelism(&field, mistakes)).unwrap_or(ROLLOUT.parallelism),
        order: key("order").and_then(|field| choice(&field, &ORDERS, mistakes)).unwrap_or(ROLLOUT.order),
        monitor: span(table, "rollout", "monitor", ROLLOUT.monitor, mistakes),
        drain: span(table, "rollout", "drain", ROLLOUT.drain, mistakes),
    }
}

fn parallelism(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Parallelism> {
    if field.value.get_ref().is_integer() {
        return field.integer(1..=PARALLELISM_MAX, mistakes).map(Parallelism::Count);
    }
    let text = field.text_of("an integer or a percentage such as \"25%\"", mistakes)?;
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let percent = digits.and_then(|digits| digits.parse::<u8>().ok()).filter(|percent| (1..=100).contains(percent));
    if percent.is_none() {
        let bad = field.wrong(Rule::BadParallelism, format!("{text:?} is no percentage from \"1%\" to \"100%\""));
        mistakes.push(match text.parse::<u32>() {
            Ok(count) => bad.hint(format!("for a number of hosts write it without quotes: {count}")),
            Err(_) => bad.hint("write for example 2 or \"25%\""),
        });
    }
    percent.map(Parallelism::Percent)
}
