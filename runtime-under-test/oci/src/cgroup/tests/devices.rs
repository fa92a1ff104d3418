//! The device allow-list: the eBPF program and v1's exceptions against the rules read naively.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::bpf::{Instruction, op, program};
use super::super::devices::{
    ALL, BLOCK, CHAR, DeviceRule, ExceptionList, MKNOD, READ, WRITE, exceptions, line, normalise, v1_writes,
};
use super::super::resources::Resources;

/// Someone opening or making a device node.
#[derive(Debug, Clone, Copy)]
struct Ask {
    kind: u8,
    major: i32,
    minor: i32,
    access: u8,
}

/// Runs the program; what the verifier would refuse panics.
fn run(code: &[Instruction], ask: Ask) -> bool {
    let context = [u32::from(ask.access) << 16 | u32::from(ask.kind), ask.major as u32, ask.minor as u32];
    let mut registers = [None; 11];
    let mut at = 0i64;
    for _ in 0..100_000 {
        let i = code[usize::try_from(at).unwrap()];
        let (dst, src) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
        let value = |r: usize| -> u64 { registers[r].expect("register read before written") };
        at += 1;
        let constant = i64::from(i.constant) as u64;
        match i.code {
            op::LOAD_WORD => {
                assert_eq!((src, i.offset % 4), (1, 0));
                registers[dst] = Some(u64::from(context[usize::try_from(i.offset).unwrap() / 4]));
            }
            op::MOVE => registers[dst] = Some(value(src)),
            op::MOVE_CONSTANT => registers[dst] = Some(constant),
            op::AND => registers[dst] = Some(value(dst) & constant),
            op::SHIFT_RIGHT => registers[dst] = Some(value(dst) >> constant),
            op::JUMP => at += i64::from(i.offset),
            op::JUMP_IF_ANY if value(dst) & constant != 0 => at += i64::from(i.offset),
            op::JUMP_IF_NOT if value(dst) != constant => at += i64::from(i.offset),
            op::JUMP_IF_ANY | op::JUMP_IF_NOT => {}
            op::EXIT => return value(0) != 0,
            code => panic!("opcode {code:#x}"),
        }
    }
    panic!("no end");
}

/// The rules' meaning: for each kind of access the last rule about the device decides.
fn allowed(rules: &[DeviceRule], ask: Ask) -> bool {
    [MKNOD, READ, WRITE].into_iter().filter(|bit| ask.access & bit != 0).all(|bit| {
        let about = |r: &&DeviceRule| {
            r.access & bit != 0
                && r.kinds & ask.kind != 0
                && r.major.is_none_or(|m| m == ask.major)
                && r.minor.is_none_or(|m| m == ask.minor)
        };
        rules.iter().rfind(about).is_some_and(|r| r.allow)
    })
}

/// What the kernel makes of v1's list: an exception that lets something through must match all of the access; one
/// that keeps something out need only touch it.
fn allowed_v1(list: &ExceptionList, ask: Ask) -> bool {
    let hit = |e: &DeviceRule| {
        e.kinds & ask.kind != 0
            && e.major.is_none_or(|m| m == ask.major)
            && e.minor.is_none_or(|m| m == ask.minor)
            && if list.allow { e.access & ask.access != 0 } else { ask.access & !e.access == 0 }
    };
    list.exceptions.iter().any(hit) != list.allow
}

fn rules(list: &Value) -> Vec<DeviceRule> {
    Resources::parse(&json!({ "devices": list })).unwrap().devices.unwrap()
}

fn everywhere(list: &Value, ask: Ask) -> bool {
    let normal = normalise(&rules(list));
    let answer = allowed(&normal, ask);
    assert_eq!(run(&program(&normal), ask), answer, "program: {ask:?} under {list}");
    assert_eq!(allowed_v1(&exceptions(&normal).unwrap(), ask), answer, "v1: {ask:?} under {list}");
    answer
}

fn char_device(major: i32, minor: i32, access: u8) -> Ask {
    Ask { kind: CHAR, major, minor, access }
}

#[test]
fn closed_but_for_the_default_devices() {
    for list in
        [json!([]), json!([{"allow": false, "access": "rwm"}]), json!([{"allow": false, "type": "a"}])]
    {
        assert!(everywhere(&list, char_device(1, 3, READ | WRITE)), "null");
        assert!(everywhere(&list, char_device(136, 7, READ | WRITE)), "a pseudo-terminal");
        assert!(everywhere(&list, char_device(10, 229, MKNOD)), "nodes may be made");
        assert!(!everywhere(&list, char_device(10, 229, READ)), "but not opened");
        assert!(!everywhere(&list, char_device(1, 1, READ)), "mem");
        assert!(!everywhere(&list, Ask { kind: BLOCK, major: 1, minor: 3, access: READ }), "a block device");
    }
}

#[test]
fn rules_apply_in_order() {
    let list = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"},
        {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "r"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "w"},
    ]);
    assert!(!everywhere(&list, char_device(10, 229, READ)));
    assert!(everywhere(&list, char_device(10, 229, WRITE)));
    assert!(!everywhere(&list, char_device(10, 229, READ | WRITE)));
    let null = json!([
        {"allow": false, "access": "rwm"},
        {"allow": false, "type": "c", "major": 1, "minor": 3, "access": "r"},
    ]);
    assert!(!everywhere(&null, char_device(1, 3, READ)), "a default device can be denied by name");
    assert!(everywhere(&null, char_device(1, 3, WRITE)));
    let open = json!([
        {"allow": true},
        {"allow": false, "type": "b", "major": 8, "access": "w"},
    ]);
    assert!(everywhere(&open, Ask { kind: BLOCK, major: 8, minor: 3, access: READ }));
    assert!(!everywhere(&open, Ask { kind: BLOCK, major: 8, minor: 3, access: READ | WRITE }));
    let again = json!([{"allow": true}, {"allow": false}]);
    assert!(!everywhere(&again, char_device(10, 229, READ)));
}

#[test]
fn wildcards() {
    let list = json!([
        {"allow": true, "type": "c", "major": 4, "access": "rw"},
        {"allow": true, "minor": 77, "access": "r"},
        {"allow": true, "type": "b", "major": -1, "minor": -1, "access": "r"},
    ]);
    assert!(everywhere(&list, char_device(4, 64, READ | WRITE)));
    assert!(everywhere(&list, char_device(99, 77, READ)));
    assert!(everywhere(&list, Ask { kind: BLOCK, major: 259, minor: 0, access: READ }));
    assert!(!everywhere(&list, Ask { kind: BLOCK, major: 259, minor: 0, access: WRITE }));
    assert!(!everywhere(&list, char_device(99, 78, READ)));
}

#[test]
fn v1_says_what_it_cannot_do() {
    let list = json!([
        {"allow": true, "type": "c", "major": 10, "access": "r"},
        {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "r"},
    ]);
    let normal = normalise(&rules(&list));
    let error = exceptions(&normal).unwrap_err().to_string();
    assert!(error.contains("c 10:229 r") && error.contains("cgroup v1"), "{error}");
    assert!(!run(&program(&normal), char_device(10, 229, READ)));
    // Making nodes is our own addition, and gives way.
    let mknod =
        normalise(&rules(&json!([{"allow": false, "type": "c", "major": 10, "minor": 229, "access": "m"}])));
    assert!(!allowed_v1(&exceptions(&mknod).unwrap(), char_device(10, 229, MKNOD)));
}

#[test]
fn v1_lists_are_changed_without_a_gap() {
    let wanted = |list: &Value| exceptions(&normalise(&rules(list))).unwrap();
    let fresh = v1_writes("a *:* rwm\n", &wanted(&json!([])));
    assert_eq!(fresh[0], ("devices.deny", "a".to_owned()));
    assert!(fresh[1..].iter().all(|(file, _)| *file == "devices.allow"));
    let now: String = wanted(&json!([])).exceptions.iter().map(|e| line(e) + "\n").collect();
    assert!(v1_writes(&now, &wanted(&json!([]))).is_empty());
    let fuse = json!([{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]);
    let adds = v1_writes(&now, &wanted(&fuse));
    assert_eq!(adds, [("devices.allow", "c 10:229 rwm".to_owned())]);
    let more = format!("{now}c 10:229 rwm\nb 8:0 r\n");
    let removes = v1_writes(&more, &wanted(&json!([])));
    assert_eq!(
        removes,
        [("devices.deny", "c 10:229 rwm".to_owned()), ("devices.deny", "b 8:0 r".to_owned())]
    );
    assert_eq!(v1_writes(&now, &wanted(&json!([{"allow": true}]))), [("devices.allow", "a".to_owned())]);
}

fn rule() -> impl Strategy<Value = DeviceRule> {
    let number = || prop_oneof![Just(None), (0..4i32).prop_map(Some)];
    (any::<bool>(), 1..=3u8, number(), number(), 1..=ALL)
        .prop_map(|(allow, kinds, major, minor, access)| DeviceRule { allow, kinds, major, minor, access })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_forms_mean_what_the_rules_mean(list in prop::collection::vec(rule(), 0..12)) {
        let normal = normalise(&list);
        let code = program(&normal);
        let v1 = exceptions(&normal).ok();
        for kind in [BLOCK, CHAR] {
            for (major, minor) in (0..4).flat_map(|a| (0..5).map(move |b| (a, b))) {
                for access in 1..=ALL {
                    let ask = Ask { kind, major, minor, access };
                    let answer = allowed(&normal, ask);
                    prop_assert_eq!(run(&code, ask), answer, "{:?}", ask);
                    if let Some(v1) = &v1 && allowed_v1(v1, ask) {
                        // v1 may be closed a little further (nodes that nobody named), never opened.
                        prop_assert!(answer, "v1 lets {:?} through", ask);
                    }
                }
            }
        }
    }
}
