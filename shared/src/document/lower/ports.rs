//! `ports` and `expose`: doors of the host, and what the container listens on.

use crate::document::diagnostic::Rule;
use crate::document::parts::{Port, PortMapping, Protocol};
use crate::document::raw::{ENTRIES_MAX, Field, Mistakes, scalar_text};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{Range, RangeInclusive};

/// What is wrong with an entry, and its cure.
struct Problem {
    problem: String,
    cure: String,
}

impl Problem {
    fn new(problem: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { problem: problem.into(), cure: cure.into() }
    }
}

/// The doors, none of them twice, sorted; ranges are spelt out.
pub(crate) fn ports(field: &Field<'_>, mistakes: &mut Mistakes) -> Vec<PortMapping> {
    let mut doors: Vec<(PortMapping, Range<usize>)> = Vec::new();
    for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
        let Some(text) = text_of(&entry, mistakes) else { continue };
        let read = match mappings(&text) {
            Ok(read) => read,
            Err(Problem { problem, cure }) => {
                mistakes.push(entry.wrong(Rule::BadPort, problem).hint(cure));
                continue;
            }
        };
        if doors.len() + read.len() > ENTRIES_MAX {
            mistakes.push(field.is_wrong(Rule::TooMany, format!("opens more than {ENTRIES_MAX} ports")));
            break;
        }
        // One report an entry: where ranges overlap, each of their ports would make its own.
        let taken = read.iter().find_map(|new| Some((new, doors.iter().find(|(old, _)| same_door(old, new))?)));
        if let Some((new, (old, first))) = taken {
            let twice = entry.wrong(Rule::Duplicate, format!("{} is opened already, by {old}", door(new)));
            mistakes
                .push(twice.related(first.clone(), "first here").hint("give one of them another port or address of the host"));
            continue;
        }
        doors.extend(read.into_iter().map(|mapping| (mapping, entry.span())));
    }
    let mut mappings: Vec<PortMapping> = doors.into_iter().map(|(mapping, _)| mapping).collect();
    mappings.sort();
    mappings
}

/// The ports, sorted, each once.
pub(crate) fn expose(field: &Field<'_>, mistakes: &mut Mistakes) -> Vec<Port> {
    let mut ports = Vec::new();
    for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
        let Some(text) = text_of(&entry, mistakes) else { continue };
        let read = protocol(&text).and_then(|(numbers, protocol)| Ok((range(numbers)?, protocol)));
        match read {
            Ok((numbers, _)) if ports.len() + numbers.len() > ENTRIES_MAX => {
                mistakes.push(field.is_wrong(Rule::TooMany, format!("names more than {ENTRIES_MAX} ports")));
                break;
            }
            Ok((numbers, protocol)) => ports.extend(numbers.map(|port| Port { port, protocol })),
            Err(Problem { problem, .. }) => {
                let cure = "write the container's port, as in 80 or \"53/udp\"; `ports` opens ports of the host";
                mistakes.push(entry.wrong(Rule::BadPort, problem).hint(cure));
            }
        }
    }
    ports.sort();
    ports.dedup();
    ports
}

/// A port as text; integers stand for themselves.
fn text_of(entry: &Field<'_>, mistakes: &mut Mistakes) -> Option<String> {
    if entry.value.get_ref().is_integer() {
        return scalar_text(entry.value.get_ref());
    }
    entry.text(mistakes).map(str::to_owned)
}

fn mappings(text: &str) -> Result<Vec<PortMapping>, Problem> {
    let (numbers, protocol) = protocol(text)?;
    let Some((host, container)) = numbers.rsplit_once(':') else {
        range(numbers)?;
        return Err(Problem::new(
            format!("{text:?} does not say which port of the host leads there"),
            format!("write \"{numbers}:{text}\", with the port of the host before the colon"),
        ));
    };
    let (host_ip, host) = match host.rsplit_once(':') {
        Some((address, host)) => (Some(address_of(address)?), host),
        None => (None, host),
    };
    let (host, container) = (range(host)?, range(container)?);
    if host.len() != container.len() {
        return Err(Problem::new(
            format!("{} ports of the host cannot lead to {} of the container", host.len(), container.len()),
            "write ranges of one length, as in \"8000-8010:9000-9010\"",
        ));
    }
    let mapping = |(host_port, container_port)| PortMapping { host_ip, host_port, container_port, protocol };
    Ok(host.zip(container).map(mapping).collect())
}

/// Splits `80/udp`.
fn protocol(text: &str) -> Result<(&str, Protocol), Problem> {
    match text.rsplit_once('/') {
        None => Ok((text, Protocol::Tcp)),
        Some((numbers, "tcp")) => Ok((numbers, Protocol::Tcp)),
        Some((numbers, "udp")) => Ok((numbers, Protocol::Udp)),
        Some((numbers, other)) => Err(Problem::new(
            format!("{other:?} is no protocol that can be published"),
            format!("write \"{numbers}/tcp\" or \"{numbers}/udp\""),
        )),
    }
}

fn address_of(text: &str) -> Result<IpAddr, Problem> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = bracketed.and_then(|address| address.parse::<Ipv6Addr>().ok()) {
        return Ok(address.into());
    }
    text.parse::<Ipv4Addr>().map(IpAddr::from).map_err(|_| {
        let cure = match text.parse::<Ipv6Addr>() {
            Ok(_) => format!("write it in brackets: [{text}]"),
            Err(_) => "write for example \"127.0.0.1:8080:80\" or \"[::1]:8080:80\"".to_owned(),
        };
        Problem::new(format!("{text:?} is not an address of the host"), cure)
    })
}

/// `80` or `80-90`.
fn range(text: &str) -> Result<RangeInclusive<u16>, Problem> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(_), Some(_)) => {
            Err(Problem::new(format!("the range {text:?} runs backwards"), format!("write \"{last}-{first}\"")))
        }
        _ => Err(Problem::new(
            format!("{text:?} is not a port from 1 to 65535"),
            "write for example \"8080:80\", \"127.0.0.1:8080:80/udp\" or \"8000-8010:9000-9010\"",
        )),
    }
}

/// A port's number. Digits only: `+80` is no port that people write.
pub(crate) fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Whether one of two doors would stand in the other's way.
fn same_door(a: &PortMapping, b: &PortMapping) -> bool {
    let every = |address: IpAddr| address.is_unspecified();
    let overlap = match (a.host_ip, b.host_ip) {
        (None, _) | (_, None) => true,
        (Some(a), Some(b)) => a.is_ipv4() == b.is_ipv4() && (a == b || every(a) || every(b)),
    };
    overlap && a.host_port == b.host_port && a.protocol == b.protocol
}

/// The host's side of a mapping.
fn door(mapping: &PortMapping) -> String {
    let protocol = match mapping.protocol {
        Protocol::Tcp => "",
        Protocol::Udp => " (UDP)",
    };
    format!("port {}{protocol} of the host", mapping.host_port)
}
