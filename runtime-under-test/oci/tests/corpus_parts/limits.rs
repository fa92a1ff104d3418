//! The rules about cgroups and system call filters, see `rules`.
#![allow(clippy::too_many_lines)] // tables

use serde_json::{Value, json};

/// config-linux.md "Control groups".
pub fn cgroups() -> Vec<(&'static str, Vec<Value>)> {
    let rule = |r: Value| json!([r]);
    vec![
        (
            "/linux/resources/devices",
            vec![
                rule(json!({ "access": "rwm" })),
                rule(json!({ "allow": "yes" })),
                rule(json!({ "allow": true, "type": "x" })),
                rule(json!({ "allow": true, "access": "rwx" })),
                rule(json!({ "allow": true, "access": "read" })),
                rule(json!({ "allow": true, "type": "c", "major": -5 })),
                rule(json!({ "allow": true, "type": "c", "major": "1" })),
                rule(json!({ "allow": true, "type": "c", "minor": 1.5 })),
                rule(json!("a")),
            ],
        ),
        (
            "/linux/resources/memory",
            vec![
                json!({ "limit": -2 }),
                json!({ "limit": "1g" }),
                json!({ "limit": 67_108_864, "swap": 33_554_432 }),
                json!({ "limit": -1, "swap": 33_554_432 }),
                json!({ "swappiness": 101 }),
                json!({ "swappiness": -1 }),
                json!({ "reservation": -7 }),
                json!({ "disableOOMKiller": 1 }),
                json!({ "useHierarchy": "true" }),
                json!({ "checkBeforeUpdate": "x" }),
                json!([]),
            ],
        ),
        (
            "/linux/resources/cpu",
            vec![
                json!({ "quota": -2 }),
                json!({ "quota": 1000, "burst": 2000, "period": 100_000 }),
                json!({ "period": 1, "quota": 50000 }),
                json!({ "period": -1 }),
                json!({ "cpus": "9999" }),
                json!({ "cpus": "x" }),
                json!({ "cpus": "3-1" }),
                json!({ "mems": "4000" }),
                json!({ "mems": "a" }),
                json!({ "idle": 2 }),
                json!({ "idle": -1 }),
                json!({ "shares": -1 }),
                json!({ "shares": "512" }),
            ],
        ),
        (
            "/linux/resources/pids",
            vec![json!({ "limit": -2 }), json!({ "limit": "x" }), json!({ "limit": 1.5 }), json!([])],
        ),
        (
            "/linux/resources/hugepageLimits",
            vec![
                json!([{ "pageSize": "2mb", "limit": 1 }]),
                json!([{ "pageSize": "", "limit": 1 }]),
                json!([{ "pageSize": "../x", "limit": 1 }]),
                json!([{ "pageSize": "3MB", "limit": 1 }]),
                json!([{ "pageSize": "2MB" }]),
                json!([{ "limit": 1 }]),
                json!([{ "pageSize": "2MB", "limit": -1 }]),
            ],
        ),
        (
            "/linux/resources/blockIO",
            vec![
                json!({ "weight": 5 }),
                json!({ "weight": 1001 }),
                json!({ "leafWeight": 9 }),
                json!({ "weightDevice": [{ "major": 8 }] }),
                json!({ "weightDevice": [{ "major": 8, "minor": 0 }] }),
                json!({ "throttleReadBpsDevice": [{ "major": 8, "minor": 0 }] }),
                json!({ "throttleWriteBpsDevice": [{ "minor": 0, "rate": 1 }] }),
                json!({ "throttleReadIOPSDevice": [{ "major": -8, "minor": 0, "rate": 1 }] }),
                json!({ "throttleWriteIOPSDevice": { "major": 8, "minor": 0, "rate": 1 } }),
            ],
        ),
        (
            "/linux/resources/network",
            vec![
                json!({ "classID": -1 }),
                json!({ "classID": 4_294_967_296_u64 }),
                json!({ "priorities": [{ "priority": 1 }] }),
                json!({ "priorities": [{ "name": "lo" }] }),
                json!({ "priorities": [{ "name": "a b", "priority": 1 }] }),
            ],
        ),
        (
            "/linux/resources/rdma",
            vec![
                json!({ "mlx5_1": {} }),
                json!({ "mlx5_1": { "hcaHandles": -1 } }),
                json!({ "mlx5_1": 3 }),
                json!([]),
            ],
        ),
        (
            "/linux/resources/unified",
            vec![
                json!({ "../x": "1" }),
                json!({ "a/b.c": "1" }),
                json!({ "nodot": "1" }),
                json!({ ".hidden": "1" }),
                json!({ "memory.high": 1 }),
                json!({ "no.such.file": "1" }),
                json!({ "cgroup.max.depth": "x" }),
            ],
        ),
    ]
}

/// config-linux.md "Seccomp".
pub fn filters() -> Vec<(&'static str, Vec<Value>)> {
    let call = |names: Value, action: &str| json!([{ "names": names, "action": action }]);
    let arg = |a: Value| json!([{ "names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [a] }]);
    vec![
        (
            "/linux/seccomp",
            vec![
                json!({}),
                json!([]),
                json!({ "defaultAction": "" }),
                json!({ "defaultAction": "SCMP_ACT_NOPE" }),
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NOPE"] }),
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"] }),
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x" }),
                json!({ "defaultAction": "SCMP_ACT_NOTIFY" }),
                json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1 }),
                json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": "EPERM" }),
                json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1.5 }),
                json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4_294_967_296_u64 }),
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1 }),
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such/agent",
                    "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] }),
            ],
        ),
        (
            "/linux/seccomp/syscalls",
            vec![
                call(json!([]), "SCMP_ACT_ERRNO"),
                call(json!(["mkdir"]), "SCMP_ACT_NOPE"),
                call(json!(["mkdir"]), ""),
                call(json!("mkdir"), "SCMP_ACT_ERRNO"),
                call(json!([1]), "SCMP_ACT_ERRNO"),
                call(json!(["mkdir"]), "SCMP_ACT_NOTIFY"),
                arg(json!({ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" })),
                arg(json!({ "index": -1, "value": 1, "op": "SCMP_CMP_EQ" })),
                arg(json!({ "index": 0, "value": 1, "op": "SCMP_CMP_NOPE" })),
                arg(json!({ "index": 0, "value": 1, "op": "" })),
                arg(json!({ "index": 0, "value": -1, "op": "SCMP_CMP_EQ" })),
                arg(json!({ "index": 0, "value": "1", "op": "SCMP_CMP_EQ" })),
            ],
        ),
        ("/linux/seccomp/syscalls/0/errnoRet", vec![json!(-1), json!("EPERM"), json!(4_294_967_296_u64)]),
    ]
}
