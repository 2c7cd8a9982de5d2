//! `devices`: files of the host, and devices of the Container Device Interface.

use super::path;
use crate::document::diagnostic::Rule;
use crate::document::parts::Device;
use crate::document::raw::{Field, Mistakes};

/// Devices that every container has (OCI runtime spec, config-linux.md, "Default Devices"), and what stands in `/dev` beside them.
const GIVEN: [&str; 14] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/console",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/dev/fd",
    "/dev/stdin",
    "/dev/stdout",
];
/// Longest part of a CDI name: several times what vendors use.
const CDI_PART_MAX_BYTES: usize = 128;
const EXAMPLE: &str = "write for example \"/dev/ttyUSB0\", \"/dev/ttyUSB0:/dev/modem:r\" or \"nvidia.com/gpu=all\"";

pub(super) fn devices(field: &Field<'_>, mistakes: &mut Mistakes) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for entry in field.entries("an array of strings", mistakes).unwrap_or_default() {
        let Some(text) = entry.text(mistakes) else { continue };
        let read = if text.starts_with('/') { file(text) } else { cdi(text) };
        match read {
            Ok(device) if devices.iter().any(|other| same(other, &device)) => {
                mistakes.push(
                    entry.wrong(Rule::Duplicate, format!("{:?} is there already", name(&device))).hint("remove one of them"),
                );
            }
            Ok(device) => devices.push(device),
            Err(problem) => mistakes.push(entry.wrong(Rule::BadDevice, problem).hint(EXAMPLE)),
        }
    }
    devices
}

/// What a device is called in the container, or at its vendor's.
fn name(device: &Device) -> &str {
    match device {
        Device::File { target, .. } => target,
        Device::Cdi(name) => name,
    }
}

fn same(a: &Device, b: &Device) -> bool {
    name(a) == name(b)
}

/// `SOURCE`, `SOURCE:TARGET`, `SOURCE:RIGHTS` or `SOURCE:TARGET:RIGHTS`.
fn file(text: &str) -> Result<Device, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, rights) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, rights] if !rights.starts_with('/') => (source, source, rights),
        [source, target] => (source, target, "rwm"),
        [source, target, rights] => (source, target, rights),
        _ => return Err(format!("{text:?} has more than three parts")),
    };
    let source = path::normal(source).map_err(|problem| format!("{source:?} {problem}"))?;
    let target = path::normal(target).map_err(|problem| format!("{target:?} {problem}"))?;
    if let Some(problem) = path::target_problem(&target) {
        return Err(format!("{target:?} {problem}"));
    }
    if GIVEN.contains(&target.as_str()) {
        return Err(format!("{target:?} is there in every container"));
    }
    let distinct = |right: char| rights.matches(right).count() <= 1;
    let known = !rights.is_empty() && rights.chars().all(|right| "rwm".contains(right) && distinct(right));
    let (read, write) = (rights.contains('r'), rights.contains('w'));
    if !known || !(read || write) {
        return Err(format!("{rights:?} is not \"r\", \"w\" or \"rw\""));
    }
    Ok(Device::File { source, target, read, write })
}

/// `vendor.com/class=name` (CDI 1.0, SPEC.md, "kind" and "name").
fn cdi(text: &str) -> Result<Device, String> {
    let fail = || format!("{text:?} is neither a device file's path nor a name of the form VENDOR/CLASS=NAME");
    let (vendor, rest) = text.split_once('/').ok_or_else(fail)?;
    let (class, name) = rest.split_once('=').ok_or_else(fail)?;
    let ends =
        |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.ends_with(|c: char| c.is_ascii_alphanumeric());
    let kind = |part: &str| ends(part) && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    let named = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'));
    let short = [vendor, class, name].iter().all(|part| part.len() <= CDI_PART_MAX_BYTES);
    if kind(vendor) && kind(class) && named && short { Ok(Device::Cdi(text.to_owned())) } else { Err(fail()) }
}
