//! Which devices a container may use, and how the kernel is told: a line per rule on v1, an eBPF program on v2.
//!
//! The usual pseudo devices and those that the document names; all else cannot be opened, whatever device files there are.
//! Making a device file is for the capability MKNOD to grant, as with container engines. A privileged container has no rules.
//! Pure but for [`DeviceRules`]. The program's shape is the one of runc and crun: one comparison after the other, the first
//! rule that fits allows.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::sys::{self, BpfInstruction};
use crate::{ContainerSpec, DeviceFile, RuntimeError};

/// A document lists a few devices, and a folder of them (`/dev/snd`) some dozen.
const DEVICES_MAX: usize = 256;

/// The kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Block,
    Character,
}

/// Allows access to the devices that it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) kind: Kind,
    /// Any where absent.
    pub(super) major: Option<u32>,
    /// Any where absent.
    pub(super) minor: Option<u32>,
    /// A sum of [`MKNOD`], [`READ`] and [`WRITE`].
    pub(super) access: u32,
}

/// Kinds of access, as eBPF has them (`BPF_DEVCG_ACC_*` in linux/bpf.h).
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

/// What every container may use: null, zero, full, random, urandom, tty, console, ptmx and the pseudo terminals.
const USUAL: [(u32, Option<u32>); 9] =
    [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(1)), (5, Some(2)), (136, None)];

/// The rules of a container; `None` is no rules at all.
pub(super) fn rules(spec: &ContainerSpec) -> Result<Option<Vec<Rule>>, RuntimeError> {
    if spec.security.privileged {
        return Ok(None);
    }
    let wrong = |what: String| RuntimeError::Specification { id: spec.id.clone(), what };
    if spec.devices.len() > DEVICES_MAX {
        return Err(wrong(format!("it has more than {DEVICES_MAX} devices")));
    }
    let mut rules = usual();
    for device in &spec.devices {
        let rule = rule_of(device).map_err(|error| wrong(format!("device {}: {error}", device.source.display())))?;
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    Ok(Some(rules))
}

/// The same in the words of the OCI runtime specification (config-linux.md, "Allowed Device list").
pub(crate) fn oci_rules(spec: &ContainerSpec) -> Result<Vec<Value>, RuntimeError> {
    let Some(rules) = rules(spec)? else { return Ok(vec![json!({ "allow": true, "access": "rwm" })]) };
    let allowed = rules.iter().map(|rule| {
        let mut allowed = json!({ "allow": true, "type": rule.letter().to_string(), "access": rule.accesses() });
        for (key, number) in [("major", rule.major), ("minor", rule.minor)] {
            if let Some(number) = number {
                allowed[key] = number.into();
            }
        }
        allowed
    });
    Ok([json!({ "allow": false, "access": "rwm" })].into_iter().chain(allowed).collect())
}

fn usual() -> Vec<Rule> {
    let any = |kind| Rule { kind, major: None, minor: None, access: MKNOD };
    let usual = USUAL.map(|(major, minor)| Rule { kind: Kind::Character, major: Some(major), minor, access: ALL });
    [any(Kind::Character), any(Kind::Block)].into_iter().chain(usual).collect()
}

fn rule_of(device: &DeviceFile) -> io::Result<Rule> {
    let metadata = fs::metadata(&device.source)?;
    let kind = match metadata.file_type() {
        kind if kind.is_block_device() => Kind::Block,
        kind if kind.is_char_device() => Kind::Character,
        _ => return Err(io::Error::other("it is not a device file")),
    };
    let access = MKNOD | if device.read { READ } else { 0 } | if device.write { WRITE } else { 0 };
    let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    Ok(Rule { kind, major: Some(major), minor: Some(minor), access })
}

impl Rule {
    fn letter(&self) -> char {
        match self.kind {
            Kind::Block => 'b',
            Kind::Character => 'c',
        }
    }

    fn accesses(&self) -> String {
        let all = [('r', READ), ('w', WRITE), ('m', MKNOD)];
        all.into_iter().filter(|(_, access)| self.access & access != 0).map(|(letter, _)| letter).collect()
    }
}

/// A line of `devices.allow` (cgroup-v1/devices.rst): `c 1:3 rwm`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        write!(f, "{} {}:{} {}", self.letter(), number(self.major), number(self.minor), self.accesses())
    }
}

/// Enforces rules in groups of the v2 tree.
#[derive(Default)]
pub(super) struct DeviceRules {
    /// The program of containers without devices of their own, which are nearly all: checked by the kernel once.
    usual: OnceLock<OwnedFd>,
    /// As on a kernel that takes no programs.
    #[cfg(test)]
    pub(super) is_refused: std::sync::atomic::AtomicBool,
}

impl DeviceRules {
    /// From now on processes in `group` can use what `rules` allow; as long as the group exists.
    pub(super) fn enforce(&self, group: &Path, rules: &[Rule]) -> io::Result<()> {
        #[cfg(test)]
        if self.is_refused.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let group = fs::File::open(group)?;
        if rules != usual() {
            return sys::attach_device_program(group.as_fd(), sys::load_device_program(&program(rules))?.as_fd());
        }
        if self.usual.get().is_none() {
            // Another thread may have been faster; one of the two is as good as the other.
            let _ = self.usual.set(sys::load_device_program(&program(rules))?);
        }
        let loaded = self.usual.get().ok_or(io::ErrorKind::NotFound)?;
        sys::attach_device_program(group.as_fd(), loaded.as_fd())
    }
}

/// Registers. What is asked for comes in [`CONTEXT`] (`struct bpf_cgroup_dev_ctx`: access and kind, major, minor).
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// The context is read at the beginning only; its register is free then.
const SCRATCH: u8 = CONTEXT;

/// Operations (linux/bpf_common.h, linux/bpf.h).
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const SET: u8 = 0xb4;
const COPY: u8 = 0xbc;
const JUMP_IF_OTHER: u8 = 0x55;
const JUMP_IF_DIFFERENT: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// The program that decides by `rules`: 1 allows, 0 denies.
fn program(rules: &[Rule]) -> Vec<BpfInstruction> {
    let instruction = |code, to, from, offset, value| BpfInstruction::new(code, to, from, offset, value);
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(AND, KIND, 0, 0, 0xFFFF),
        instruction(LOAD_WORD, ACCESS, CONTEXT, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules {
        program.extend(rule_program(rule));
    }
    program.extend([instruction(SET, RESULT, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    program
}

fn rule_program(rule: &Rule) -> Vec<BpfInstruction> {
    let kind = if rule.kind == Kind::Block { 1 } else { 2 };
    let mut conditions = vec![(KIND, kind)];
    conditions.extend(rule.major.map(|major| (MAJOR, major)));
    conditions.extend(rule.minor.map(|minor| (MINOR, minor)));
    let mut program = Vec::new();
    for (register, value) in conditions {
        program.push(BpfInstruction::new(JUMP_IF_OTHER, register, 0, 0, value));
    }
    if rule.access != ALL {
        program.extend([
            BpfInstruction::new(COPY, SCRATCH, ACCESS, 0, 0),
            BpfInstruction::new(AND, SCRATCH, 0, 0, rule.access),
            BpfInstruction::new(JUMP_IF_DIFFERENT, SCRATCH, ACCESS, 0, 0),
        ]);
    }
    program.extend([BpfInstruction::new(SET, RESULT, 0, 0, 1), BpfInstruction::new(EXIT, 0, 0, 0, 0)]);
    // Whatever does not fit goes on behind the rule.
    let length = program.len();
    for (place, instruction) in program.iter_mut().enumerate() {
        if matches!(instruction.code, JUMP_IF_OTHER | JUMP_IF_DIFFERENT) {
            // A rule is eight instructions at most.
            instruction.offset = i16::try_from(length - place - 1).unwrap_or(0);
        }
    }
    program
}

#[cfg(test)]
mod tests;
