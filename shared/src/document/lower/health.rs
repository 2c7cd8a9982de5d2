//! `[healthcheck]`: how the agent asks whether a container is well.

use super::policy::at_least;
use super::ports;
use crate::document::diagnostic::Rule;
use crate::document::model::Network;
use crate::document::parts::{Healthcheck, Probe};
use crate::document::raw::{Field, Mistakes, field};
use crate::quantity::Span;
use std::net::Ipv6Addr;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// Shortest pause and shortest patience: what is asked more often keeps the host busy with asking.
const SPAN_MIN: Span = Span(Duration::from_millis(100));
/// More failures than anybody waits for.
const RETRIES_MAX: u32 = 10_000;
/// Longest URL that is asked, in bytes: what every server takes.
const URL_MAX_BYTES: usize = 2048;
/// The port of HTTP (RFC 9110 section 4.2.1).
const HTTP_PORT: u16 = 80;

/// What the table says; None where it says nothing. `network` is None where it could not be read.
pub(crate) fn healthcheck(
    table: &DeTable<'_>,
    section: &str,
    network: Option<Network>,
    mistakes: &mut Mistakes,
) -> Option<Healthcheck> {
    let key = |name| field(table, section, name);
    let mut check = Healthcheck::default();
    let mut disables = key("disable").filter(|field| field.boolean(mistakes) == Some(true));
    let mut probes: Vec<Field<'_>> = Vec::new();
    if let Some(field) = key("test") {
        match test(&field, mistakes) {
            Some(Test::Probe(probe)) => check.probe = Some(probe),
            Some(Test::Off) => disables = Some(field.clone()),
            None => {}
        }
        if disables.as_ref().is_none_or(|off| off.path != field.path) {
            probes.push(field);
        }
    }
    if let Some(field) = key("http") {
        check.probe = http(&field, mistakes).or(check.probe);
        needs_network(&field, network, mistakes);
        probes.push(field);
    }
    if let Some(field) = key("tcp") {
        check.probe = tcp(&field, mistakes).or(check.probe);
        needs_network(&field, network, mistakes);
        probes.push(field);
    }
    if let [first, second, ..] = &probes[..] {
        let both = second.wrong(Rule::BadHealthcheck, format!("`{}` asks already", first.path));
        mistakes.push(both.related(first.span(), "first here").hint("keep one of them"));
    }
    if let (Some(off), Some(probe)) = (&disables, probes.first()) {
        let both = off.wrong(Rule::Conflict, format!("with no check `{}` is never asked", probe.path));
        mistakes.push(both.related(probe.span(), "asked here").hint("remove one of them"));
    }
    check.disable = disables.is_some();
    check.interval = at_least(table, section, "interval", SPAN_MIN, mistakes);
    check.timeout = at_least(table, section, "timeout", SPAN_MIN, mistakes);
    check.start_period = at_least(table, section, "start_period", Span::seconds(0), mistakes);
    check.start_interval = at_least(table, section, "start_interval", SPAN_MIN, mistakes);
    check.retries = key("retries").and_then(|field| field.integer(1..=RETRIES_MAX, mistakes));
    (check != Healthcheck::default()).then_some(check)
}

/// What `test` says.
enum Test {
    Probe(Probe),
    Off,
}

/// Compose's `test`: a line for a shell, or a list whose first word says what the rest is.
fn test(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Test> {
    const CURE: &str = "write for example [\"CMD\", \"curl\", \"-f\", \"http://localhost\"], or one string for a shell";
    let shell = |line: &str| Some(Test::Probe(Probe::Exec(["/bin/sh", "-c", line].map(str::to_owned).to_vec())));
    if let DeValue::String(_) = field.value.get_ref() {
        let line = field.text(mistakes)?;
        if !line.trim().is_empty() {
            return shell(line);
        }
        mistakes.push(field.wrong(Rule::BadHealthcheck, "there is nothing to run").hint(CURE));
        return None;
    }
    let before = mistakes.len();
    let words = field.texts("an array of strings or a string", mistakes)?;
    if mistakes.len() > before {
        return None;
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let problem = match words[..] {
        ["NONE"] => return Some(Test::Off),
        ["NONE", ..] => "nothing may follow \"NONE\"",
        ["CMD"] | ["CMD", "", ..] | ["CMD-SHELL"] | [] => "there is nothing to run",
        ["CMD", ref program @ ..] => {
            return Some(Test::Probe(Probe::Exec(program.iter().map(|&word| word.to_owned()).collect())));
        }
        ["CMD-SHELL", line] if !line.trim().is_empty() => return shell(line),
        ["CMD-SHELL", ..] => "\"CMD-SHELL\" is followed by one line",
        _ => "the first word is not \"CMD\", \"CMD-SHELL\" or \"NONE\"",
    };
    mistakes.push(field.wrong(Rule::BadHealthcheck, problem).hint(CURE));
    None
}

/// `http://[HOST][:PORT][/PATH]`.
fn http(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Probe> {
    let text = field.text(mistakes)?;
    match http_probe(text) {
        Ok(probe) => Some(probe),
        Err(problem) => {
            let bad = field.wrong(Rule::BadHealthcheck, problem);
            mistakes.push(bad.hint("write for example \"http://:80/healthz\""));
            None
        }
    }
}

fn http_probe(text: &str) -> Result<Probe, String> {
    if text.starts_with("https://") {
        return Err("an https address is not asked; let the program answer on a port without TLS, or use `tcp`".to_owned());
    }
    let rest = text.strip_prefix("http://").ok_or_else(|| "the address does not start with http://".to_owned())?;
    // RFC 3986 section 2: whatever is not visible ASCII is written as %XX.
    if text.len() > URL_MAX_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("the address has characters that an address cannot have, or more than {URL_MAX_BYTES} of them"));
    }
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let (host, port) = match authority.rsplit_once(':') {
        // A colon within brackets belongs to the address.
        Some((host, port)) if !port.ends_with(']') => {
            (host, ports::number(port).ok_or_else(|| format!("{port:?} is not a port from 1 to 65535"))?)
        }
        _ => (authority, HTTP_PORT),
    };
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_name = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if !literal.map_or_else(|| is_name(host), |address| address.parse::<Ipv6Addr>().is_ok()) {
        return Err(format!("{host:?} is not a host"));
    }
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Probe::Http { host: (!host.is_empty()).then(|| host.to_owned()), port, path })
}

/// `:PORT`; a name before it would be looked up nowhere.
fn tcp(field: &Field<'_>, mistakes: &mut Mistakes) -> Option<Probe> {
    let text = field.text(mistakes)?;
    let port = text.strip_prefix(':').or_else(|| text.strip_prefix("localhost:")).and_then(ports::number);
    if port.is_none() {
        let bad = field.wrong(Rule::BadHealthcheck, format!("{text:?} is not a port of the container"));
        mistakes.push(bad.hint("write for example \":5432\""));
    }
    port.map(|port| Probe::Tcp { port })
}

fn needs_network(field: &Field<'_>, network: Option<Network>, mistakes: &mut Mistakes) {
    if network == Some(Network::None) {
        let alone = field.wrong(Rule::NeedsNetwork, "the container has no network over which it could be asked");
        mistakes.push(alone.hint("write network = \"bridge\"; or ask from within, by test = [\"CMD\", ...]"));
    }
}
