//! Random profiles and calls: the filter must answer as the model does, on every family of architectures.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::arch::{self, FAMILIES, Name};
use super::machine::{Call, run};
use super::model::judge;
use super::profiles::build;

const NAMES: [&str; 16] = [
    "read",
    "write",
    "openat",
    "socket",
    "accept4",
    "shmget",
    "ioctl",
    "prctl",
    "clone",
    "clone3",
    "mkdir",
    "mkdirat",
    "semtimedop",
    "no_such_call",
    "file_setattr",
    "set_tls",
];
const VALUES: [u64; 12] = [
    0,
    1,
    2,
    3,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x2_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];
const OPS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
const ACTIONS: [&str; 6] = ["KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG"];

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![prop::sample::select(VALUES.to_vec()), any::<u64>(), 0u64..300]
}

fn condition() -> impl Strategy<Value = Value> {
    (0u64..3, value(), value(), prop::sample::select(OPS.to_vec())).prop_map(|(index, value, two, op)| {
        json!({"index": index, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{op}")})
    })
}

fn rule() -> impl Strategy<Value = Value> {
    let names = prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..4);
    let args = prop::collection::vec(condition(), 0..4);
    (names, prop::sample::select(ACTIONS.to_vec()), args, prop::option::of(0u64..4096)).prop_map(
        |(names, action, args, errno)| {
            let mut rule = json!({"names": names, "action": format!("SCMP_ACT_{action}"), "args": args});
            if let Some(errno) = errno.filter(|_| ["ERRNO", "TRACE"].contains(&action)) {
                rule["errnoRet"] = errno.into();
            }
            rule
        },
    )
}

fn profile() -> impl Strategy<Value = Value> {
    let archs = prop::collection::vec(prop::sample::select(arch::NAMES.to_vec()), 0..8);
    (prop::sample::select(ACTIONS.to_vec()), archs, prop::collection::vec(rule(), 0..40)).prop_map(
        |(action, archs, rules)| {
            json!({"defaultAction": format!("SCMP_ACT_{action}"), "architectures": archs, "syscalls": rules})
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_filter_answers_as_the_profile_reads(
        cfg in profile(),
        family in prop::sample::select(FAMILIES.to_vec()),
        calls in prop::collection::vec((0usize..3, prop::sample::select(NAMES.to_vec()), -1i64..2, [value(), value(), value()]), 60),
        stray in any::<u32>(),
    ) {
        let filter = build(&cfg, family);
        prop_assert!(filter.len() <= 4096);
        for (which, name, shift, [a, b, c]) in calls {
            let arch = &family[which % family.len()];
            let nr = arch.number(&Name::find(name)).unwrap_or(stray).wrapping_add_signed(shift as i32);
            let call = Call { arch: arch.audit, nr, args: [a, b, c, 0, 0, 0] };
            prop_assert_eq!(run(&filter, &call).0, judge(&cfg, family, &call), "{:?} of {}", call, arch.name);
        }
        let foreign = Call { arch: stray, nr: 0, args: [0; 6] };
        prop_assert_eq!(run(&filter, &foreign).0, judge(&cfg, family, &foreign));
    }
}
