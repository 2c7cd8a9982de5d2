//! Rules become lines, and a program that is run here by a small machine.

use super::*;

fn rule(kind: Kind, major: u32, minor: Option<u32>, access: u32) -> Rule {
    Rule { kind, major: Some(major), minor, access }
}

#[test]
fn rules_become_lines() {
    let check = |rule: Rule, expect: &str| assert_eq!(rule.to_string(), expect);
    check(rule(Kind::Character, 1, Some(3), ALL), "c 1:3 rwm");
    check(rule(Kind::Block, 8, None, READ), "b 8:* r");
    check(Rule { kind: Kind::Character, major: None, minor: None, access: MKNOD }, "c *:* m");
}

#[test]
fn rules_become_words_for_oci_runtimes() {
    let mut spec = ContainerSpec::new("x", Vec::new(), Vec::new(), crate::LogPolicy::default());
    spec.devices = vec![DeviceFile { source: "/dev/loop-control".into(), target: "/dev/x".into(), read: true, write: false }];
    let words = oci_rules(&spec).expect("rules");
    assert_eq!(words[0], json!({ "allow": false, "access": "rwm" }));
    assert_eq!(words[1], json!({ "allow": true, "type": "c", "access": "m" }));
    assert!(words.contains(&json!({ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" })));
    assert_eq!(words.last(), Some(&json!({ "allow": true, "type": "c", "major": 10, "minor": 237, "access": "rm" })));
    spec.security.privileged = true;
    assert_eq!(oci_rules(&spec).expect("rules"), [json!({ "allow": true, "access": "rwm" })]);
}

#[test]
fn devices_of_the_host_become_rules() {
    let device = |source: &str, read, write| DeviceFile { source: source.into(), target: "/dev/x".into(), read, write };
    let check = |device: DeviceFile, expect: &str| {
        let found = rule_of(&device).map_or_else(|error| error.to_string(), |rule| rule.to_string());
        assert_eq!(found, expect);
    };
    check(device("/dev/null", true, true), "c 1:3 rwm");
    check(device("/dev/zero", true, false), "c 1:5 rm");
    check(device("/dev/zero", false, true), "c 1:5 wm");
    check(device("/etc/passwd", true, true), "it is not a device file");
    check(device("/dev/no-such", true, true), "No such file or directory (os error 2)");
}

/// Runs a program as the kernel would. Panics where it jumps or reads outside of what is there.
fn run(program: &[BpfInstruction], kind: Kind, access: u32, major: u32, minor: u32) -> bool {
    let context = [access << 16 | if kind == Kind::Block { 1 } else { 2 }, major, minor];
    let (mut registers, mut next) = ([0_u32; 11], 0_usize);
    loop {
        let BpfInstruction { code, registers: names, offset, value } = program[next];
        let (to, from) = (usize::from(names & 0xF), usize::from(names >> 4));
        next += 1;
        let target = next + usize::try_from(offset).expect("only forward");
        match code {
            LOAD_WORD => registers[to] = context[usize::try_from(offset).expect("inside") / 4],
            AND => registers[to] &= value,
            SHIFT_RIGHT => registers[to] >>= value,
            SET => registers[to] = value,
            COPY => registers[to] = registers[from],
            JUMP_IF_OTHER if registers[to] != value => next = target,
            JUMP_IF_DIFFERENT if registers[to] != registers[from] => next = target,
            JUMP_IF_OTHER | JUMP_IF_DIFFERENT => {}
            EXIT => return registers[0] == 1,
            other => panic!("operation {other:#x}"),
        }
    }
}

#[test]
fn the_program_decides_by_the_rules() {
    let mut rules = usual();
    rules.push(rule(Kind::Block, 8, Some(1), READ | MKNOD));
    let program = program(&rules);
    let check = |kind, access, major, minor, expect| {
        assert_eq!(run(&program, kind, access, major, minor), expect, "{kind:?} {access} {major}:{minor}");
    };
    use Kind::{Block, Character};
    check(Character, READ | WRITE, 1, 3, true); // null
    check(Character, READ, 136, 47, true); // a pseudo terminal
    check(Character, READ, 1, 1, false); // mem
    check(Character, READ, 10, 229, false); // fuse
    check(Character, MKNOD, 10, 229, true);
    check(Character, MKNOD | READ, 10, 229, false);
    check(Block, READ, 1, 3, false);
    check(Block, READ, 8, 1, true);
    check(Block, READ | WRITE, 8, 1, false);
    check(Block, WRITE, 8, 1, false);
    check(Block, READ, 8, 0, false);
    check(Block, MKNOD, 8, 0, true);
}

#[test]
fn the_usual_program_is_the_engines() {
    let program = program(&usual());
    // Load and split what is asked for: `r2 = type, r3 = access, r4 = major, r5 = minor`.
    let head = [
        (LOAD_WORD, 0x12, 0, 0),
        (AND, 0x02, 0, 0xFFFF),
        (LOAD_WORD, 0x13, 0, 0),
        (SHIFT_RIGHT, 0x03, 0, 16),
        (LOAD_WORD, 0x14, 4, 0),
        (LOAD_WORD, 0x15, 8, 0),
    ];
    // Any character device may be made: `if type != char goto +5; r1 = access; r1 &= mknod; if r1 != access goto +2; return 1`.
    let first = [(JUMP_IF_OTHER, 0x02, 5, 2), (COPY, 0x31, 0, 0), (AND, 0x01, 0, 1), (JUMP_IF_DIFFERENT, 0x31, 2, 0)];
    let expect = head.into_iter().chain(first);
    for (place, (code, registers, offset, value)) in expect.enumerate() {
        assert_eq!(program[place], BpfInstruction { code, registers, offset, value }, "instruction {place}");
    }
    assert_eq!(program.last().map(|last| last.code), Some(EXIT));
}
