//! Profiles whose answers are written out by hand.

use serde_json::{Value, json};

use super::super::arch::{FAMILIES, Family, Name, X86_64_FAMILY};
use super::super::profile::Profile;
use super::super::{Program, compile, filter};
use super::machine::{Call, run};

pub(super) const X86_64: u32 = 0xC000_003E;
pub(super) const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xC000_00B7;
const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0;
const ENOSYS: u32 = 0x0005_0026;

/// Operator, value, second value, arguments that match, arguments that do not.
type Truth = (&'static str, u64, u64, &'static [u64], &'static [u64]);

fn errno(n: u32) -> u32 {
    0x0005_0000 | n
}

pub(super) fn build(cfg: &Value, family: Family) -> Vec<libc::sock_filter> {
    filter::compile(&Profile::parse(cfg).unwrap(), family).unwrap()
}

fn on(program: &Program, arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    run(&program.filter, &Call { arch, nr, args }).0
}

fn call(program: &Program, nr: u32, args: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    on(program, X86_64, nr, all)
}

fn one(action: &str, name: &str, args: &Value) -> Program {
    compile(&json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": [name], "action": action, "args": args}],
    }))
    .unwrap()
}

#[test]
fn every_action_as_a_rule_and_as_the_default() {
    let kinds = [
        ("SCMP_ACT_KILL", KILL),
        ("SCMP_ACT_KILL_THREAD", KILL),
        ("SCMP_ACT_KILL_PROCESS", 0x8000_0000),
        ("SCMP_ACT_TRAP", 0x0003_0000),
        ("SCMP_ACT_ERRNO", errno(1)),
        ("SCMP_ACT_TRACE", 0x7ff0_0001),
        ("SCMP_ACT_LOG", 0x7ffc_0000),
    ];
    for (name, ret) in kinds {
        let rule = one(name, "getcwd", &json!([]));
        assert_eq!(call(&rule, 79, &[]), ret, "{name}");
        assert_eq!(call(&rule, 78, &[]), ALLOW, "{name}");
        assert_eq!(call(&rule, 80, &[]), ALLOW, "{name}");
        let default = compile(&json!({"defaultAction": name,
            "syscalls": [{"names": ["getcwd", "tuxcall"], "action": "SCMP_ACT_ALLOW"}]}))
        .unwrap();
        assert_eq!(call(&default, 79, &[]), ALLOW, "{name}");
        assert_eq!(call(&default, 80, &[]), ret, "{name}");
    }
}

#[test]
fn notify_needs_an_agent_and_spares_write() {
    let program = compile(&json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock", "listenerMetadata": "m",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }))
    .unwrap();
    assert!(program.notify);
    assert_eq!(program.flags, 32);
    assert_eq!(program.listener_path.as_deref(), Some(std::path::Path::new("/run/agent.sock")));
    assert_eq!(program.listener_metadata.as_deref(), Some("m"));
    assert_eq!(call(&program, 83, &[]), 0x7fc0_0000);
    let quiet = compile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nowhere",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_LOG"]}))
    .unwrap();
    assert!(!quiet.notify);
    assert_eq!(quiet.flags, 2, "the kernel refuses WAIT_KILLABLE_RECV without a listener");
}

#[test]
fn operators_compare_all_64_bits() {
    let cases: [Truth; 9] = [
        ("EQ", 0x1_0000_0002, 0, &[0x1_0000_0002], &[2, 0x1_0000_0003, 0x2_0000_0002]),
        ("NE", 0x1_0000_0002, 0, &[2, 0x1_0000_0003], &[0x1_0000_0002]),
        ("GT", 0x1_0000_0002, 0, &[0x1_0000_0003, 0x2_0000_0000, u64::MAX], &[0x1_0000_0002, 3, 0xffff_ffff]),
        ("GE", 0x1_0000_0002, 0, &[0x1_0000_0002, 0x2_0000_0000], &[0x1_0000_0001, 0xffff_ffff, 0]),
        ("LT", 0x1_0000_0002, 0, &[0x1_0000_0001, 0xffff_ffff, 0], &[0x1_0000_0002, 0x2_0000_0000]),
        ("LE", 0x1_0000_0002, 0, &[0x1_0000_0002, 0xffff_ffff], &[0x1_0000_0003, 0x2_0000_0001]),
        ("MASKED_EQ", 0x7e02_0000, 0, &[0, 0x11, 0xf_0000_0000], &[0x0002_0000, 0x1000_0000]),
        (
            "MASKED_EQ",
            0xff_0000_00ff,
            0x12_0000_0034,
            &[0x12_0000_0034, 0x9912_8888_8834],
            &[0x34, 0x12_0000_0035],
        ),
        ("MASKED_EQ", 0, 7, &[0, u64::MAX], &[]),
    ];
    for (op, value, two, yes, no) in cases {
        let args = json!([{"index": 2, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{op}")}]);
        let program = one("SCMP_ACT_ERRNO", "ioctl", &args);
        for v in yes {
            assert_eq!(call(&program, 16, &[0, 0, *v]), errno(1), "{op} {value:#x} {v:#x}");
        }
        for v in no {
            assert_eq!(call(&program, 16, &[0, 0, *v]), ALLOW, "{op} {value:#x} {v:#x}");
        }
    }
}

#[test]
fn arguments_are_all_needed_but_alternatives_when_one_repeats() {
    let both =
        json!([{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 3, "op": "SCMP_CMP_EQ"}]);
    let program = one("SCMP_ACT_ERRNO", "socket", &both);
    assert_eq!(call(&program, 41, &[2, 3]), errno(1));
    assert_eq!(call(&program, 41, &[2, 4]), ALLOW);
    assert_eq!(call(&program, 41, &[1, 3]), ALLOW);
    let either =
        json!([{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 9, "op": "SCMP_CMP_EQ"}]);
    let program = one("SCMP_ACT_ERRNO", "socket", &either);
    assert_eq!(call(&program, 41, &[2]), errno(1));
    assert_eq!(call(&program, 41, &[9]), errno(1));
    assert_eq!(call(&program, 41, &[3]), ALLOW);
}

#[test]
fn rules_for_one_call_are_tried_in_order() {
    let program = compile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11,
         "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
        {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22,
         "args": [{"index": 0, "value": 9, "op": "SCMP_CMP_LE"}]},
        {"names": ["personality"], "action": "SCMP_ACT_KILL"},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW"},
    ]}))
    .unwrap();
    assert_eq!(call(&program, 135, &[8]), errno(11));
    assert_eq!(call(&program, 135, &[7]), errno(22));
    assert_eq!(call(&program, 135, &[10]), KILL);
}

#[test]
fn default_errno_and_calls_newer_than_the_profile() {
    let cfg = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 6,
        "syscalls": [{"names": ["read", "getcwd"], "action": "SCMP_ACT_ALLOW"}]});
    let program = compile(&cfg).unwrap();
    assert_eq!(call(&program, 0, &[]), ALLOW);
    assert_eq!(call(&program, 1, &[]), errno(6));
    assert_eq!(call(&program, 79, &[]), ALLOW);
    assert_eq!(call(&program, 80, &[]), ENOSYS);
    assert_eq!(call(&program, 9999, &[]), ENOSYS);
    assert_eq!(call(&program, u32::MAX, &[]), errno(6));
    let none = compile(&json!({"defaultAction": "SCMP_ACT_ERRNO"})).unwrap();
    assert_eq!(call(&none, 9999, &[]), errno(1), "a profile that names no call knows of no newer one");
}

#[test]
fn other_architectures_die_unless_listed() {
    let rule = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]);
    let cfg =
        |archs: &[&str]| json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs, "syscalls": rule});
    let native = compile(&cfg(&[])).unwrap();
    assert_eq!(call(&native, 83, &[]), errno(1));
    assert_eq!(on(&native, X86, 39, [0; 6]), KILL);
    assert_eq!(call(&native, 0x4000_0053, &[]), KILL);
    assert_eq!(on(&native, AARCH64, 34, [0; 6]), KILL);
    let all =
        compile(&cfg(&["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_SHEB"])).unwrap();
    assert_eq!(call(&all, 83, &[]), errno(1), "the machine's own architecture always counts");
    assert_eq!(on(&all, X86, 39, [0; 6]), errno(1));
    assert_eq!(on(&all, X86, 83, [0; 6]), ALLOW);
    assert_eq!(call(&all, 0x4000_0053, &[]), errno(1));
    assert_eq!(call(&all, 0x4000_0054, &[]), ALLOW);
    assert_eq!(on(&all, AARCH64, 34, [0; 6]), KILL);
}

#[test]
fn multiplexed_calls_are_closed_too() {
    let cfg = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
        {"names": ["socket", "accept", "shmget"], "action": "SCMP_ACT_ERRNO"}]});
    let program = compile(&cfg).unwrap();
    assert_eq!(on(&program, X86, 359, [0; 6]), errno(1));
    assert_eq!(on(&program, X86, 102, [1, 0, 0, 0, 0, 0]), errno(1));
    assert_eq!(on(&program, X86, 102, [5, 0, 0, 0, 0, 0]), errno(1));
    assert_eq!(on(&program, X86, 102, [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(on(&program, X86, 117, [23, 0, 0, 0, 0, 0]), errno(1));
    assert_eq!(on(&program, X86, 117, [24, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn narrow_architectures_compare_32_bits() {
    let cfg = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "value": u64::MAX, "op": "SCMP_CMP_EQ"}]}]});
    let program = compile(&cfg).unwrap();
    assert_eq!(on(&program, X86, 37, [0xffff_ffff, 0, 0, 0, 0, 0]), errno(1));
    assert_eq!(on(&program, X86_64, 62, [0xffff_ffff, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(on(&program, X86_64, 62, [u64::MAX, 0, 0, 0, 0, 0]), errno(1));
}

#[test]
fn far_jumps_reach() {
    let rules: Vec<Value> = (0..250)
        .map(|i| {
            json!({"names": ["prctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": i, "args": [
            {"index": 0, "value": i, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": i * 3, "op": "SCMP_CMP_NE"}]})
        })
        .collect();
    let program = compile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})).unwrap();
    assert!(program.filter.len() > 1500);
    for i in 0..250 {
        assert_eq!(call(&program, 157, &[i, 1]), errno(i as u32));
        assert_eq!(call(&program, 157, &[i, i * 3]), ALLOW);
    }
    assert_eq!(call(&program, 158, &[]), ALLOW);
    assert_eq!(call(&program, 0, &[]), ALLOW);
}

#[test]
fn too_large_a_filter_is_a_clear_error() {
    let rules: Vec<Value> = (0..2000)
        .map(|i| {
            json!({"names": ["prctl"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "value": i, "op": "SCMP_CMP_EQ"}]})
        })
        .chain([json!({"names": ["prctl"], "action": "SCMP_ACT_KILL"})])
        .collect();
    let error =
        compile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})).unwrap_err().to_string();
    assert!(error.contains("at most 4096"), "{error}");
}

#[test]
fn every_family_builds_and_the_table_is_sorted() {
    let all: Vec<&str> = super::super::table::SYSCALLS.iter().map(|(n, _)| *n).collect();
    assert!(all.is_sorted_by(|a, b| a < b));
    assert!(super::super::arch::MULTIPLEXED.is_sorted_by(|a, b| a.0 < b.0));
    let clone3 = super::super::table::SYSCALLS.iter().find(|(n, _)| *n == "clone3");
    assert!(clone3.is_some_and(|r| r.1.iter().all(|nr| *nr == 435)));
    let cfg = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": super::super::arch::NAMES,
        "syscalls": [{"names": all, "action": "SCMP_ACT_ALLOW"}]});
    for family in FAMILIES {
        let program = build(&cfg, family);
        for arch in family {
            let nr = arch.number(&Name::find("openat2")).unwrap();
            let answer = run(&program, &Call { arch: arch.audit, nr, args: [0; 6] });
            assert_eq!(answer.0, ALLOW, "{}", arch.name);
            assert!(answer.1 < 40, "{} takes {} steps", arch.name, answer.1);
        }
    }
    assert_eq!(X86_64_FAMILY.len(), 3);
}

#[test]
fn features_are_what_compile_takes() {
    let features = super::super::features();
    for flag in features["supportedFlags"].as_array().unwrap() {
        compile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag]})).unwrap();
    }
    compile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": features["archs"]})).unwrap();
    for action in features["actions"].as_array().unwrap() {
        let rule = json!([{"names": ["getcwd"], "action": action}]);
        compile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x", "syscalls": rule})).unwrap();
    }
    for op in features["operators"].as_array().unwrap() {
        let rule = json!([{"names": ["getcwd"], "action": "SCMP_ACT_LOG", "args": [{"index": 5, "value": 1, "op": op}]}]);
        compile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule})).unwrap();
    }
}
