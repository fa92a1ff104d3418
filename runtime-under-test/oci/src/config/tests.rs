//! Every typed member of a full configuration, given every wrong JSON type.

use super::Spec;
use serde_json::{Value, json};

/// A valid configuration that names every member this runtime reads itself.
pub(super) fn full() -> Value {
    let hook = || json!([{ "path": "/bin/x", "args": ["x"], "env": ["A=b"], "timeout": 1 }]);
    let map = || json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
    json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs", "readonly": true },
        "mounts": [
            { "destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "size=1m"] },
            { "destination": "/b", "source": "/x", "options": ["bind", "idmap"], "uidMappings": map(), "gidMappings": map() }
        ],
        "hostname": "h", "domainname": "d",
        "annotations": { "a": "b" },
        "process": process(),
        "hooks": {
            "prestart": hook(), "createRuntime": hook(), "createContainer": hook(),
            "startContainer": hook(), "poststart": hook(), "poststop": hook()
        },
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "network", "path": "/proc/1/ns/net" }, { "type": "mount" }, { "type": "ipc" },
                { "type": "uts" }, { "type": "user" }, { "type": "cgroup" }, { "type": "time" }
            ],
            "uidMappings": map(), "gidMappings": map(),
            "timeOffsets": { "monotonic": { "secs": 1, "nanosecs": 2 }, "boottime": { "secs": -1, "nanosecs": 0 } },
            "devices": [{ "type": "c", "path": "/dev/x", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0 }],
            "netDevices": { "eth0": { "name": "eth1" } },
            "cgroupsPath": "/x",
            "intelRdt": {
                "closID": "c", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L2:0=f"],
                "enableMonitoring": true
            },
            "memoryPolicy": { "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] },
            "sysctl": { "net.ipv4.ip_forward": "1" },
            "rootfsPropagation": "slave",
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
            "mountLabel": "", "personality": { "domain": "LINUX", "flags": [] }
        }
    })
}

fn process() -> Value {
    json!({
        "terminal": true, "consoleSize": { "height": 1, "width": 2 },
        "cwd": "/", "env": ["A=b"], "args": ["x"],
        "rlimits": [{ "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }],
        "apparmorProfile": "", "selinuxLabel": "",
        "capabilities": {
            "effective": ["CAP_KILL"], "bounding": ["CAP_KILL"], "inheritable": [], "permitted": ["CAP_KILL"], "ambient": []
        },
        "noNewPrivileges": true, "oomScoreAdj": 1,
        "scheduler": {
            "policy": "SCHED_OTHER", "nice": 1, "priority": 0, "flags": [], "runtime": 0, "deadline": 0, "period": 0
        },
        "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 1 },
        "execCPUAffinity": { "initial": "0", "final": "0-1" },
        "user": { "uid": 0, "gid": 0, "umask": 18, "additionalGids": [1] }
    })
}

/// JSON pointers of all values below `value`, the root left out.
pub(super) fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    let mut below = |name: String, v: &Value| {
        let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        out.push(pointer.clone());
        pointers(v, &pointer, out);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| below(k.clone(), v)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| below(i.to_string(), v)),
        _ => {}
    }
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

fn parse(value: &Value) -> crate::error::Result<Spec> {
    Spec::from_slice(&serde_json::to_vec(value).unwrap())
}

#[test]
fn the_full_configuration_is_valid() {
    parse(&full()).unwrap();
}

#[test]
fn every_wrong_type_of_every_member_is_an_error() {
    let full = full();
    let mut all = Vec::new();
    pointers(&full, "", &mut all);
    let wrong = [
        json!(null),
        json!(true),
        json!(7),
        json!("\u{0}"),
        json!([[]]),
        json!({ "": {} }),
        json!(1.5),
        json!(-9_223_372_036_854_775_808_i64),
        json!(u64::MAX),
        json!([null]),
    ];
    let (mut tried, mut accepted) = (0, Vec::new());
    for pointer in &all {
        for value in &wrong {
            let mut mutant = full.clone();
            let place = mutant.pointer_mut(pointer).unwrap();
            let in_range = |v: i64| (-1..=7).contains(&v);
            let number = value.is_number();
            let alike = kind(place) == kind(value) && (!number || value.as_i64().is_some_and(in_range));
            let any_number =
                ["/hard", "/secs"].iter().any(|end| pointer.ends_with(end)) && number && !value.is_f64();
            if alike && (kind(value) != 4 || place == &json!([]) && value == &json!([])) || any_number {
                continue;
            }
            *place = value.clone();
            tried += 1;
            if parse(&mutant).is_ok() {
                accepted.push(format!("{pointer} = {value}"));
            }
        }
    }
    assert!(tried > 1500, "{tried}");
    assert_eq!(accepted, Vec::<String>::new());
}

#[test]
fn every_required_member_is_missed() {
    let full = full();
    let required = [
        "/ociVersion",
        "/root",
        "/root/path",
        "/mounts/0/destination",
        "/process/cwd",
        "/process/args",
        "/process/user/uid",
        "/process/user/gid",
        "/process/rlimits/0/type",
        "/process/rlimits/0/soft",
        "/process/rlimits/0/hard",
        "/process/consoleSize/height",
        "/process/consoleSize/width",
        "/process/scheduler/policy",
        "/process/ioPriority/class",
        "/process/ioPriority/priority",
        "/hooks/prestart/0/path",
        "/hooks/poststop/0/path",
        "/linux/namespaces/0/type",
        "/linux/uidMappings",
        "/linux/gidMappings",
        "/linux/uidMappings/0/size",
        "/linux/uidMappings/0/hostID",
        "/linux/uidMappings/0/containerID",
        "/linux/devices/0/type",
        "/linux/devices/0/path",
        "/linux/devices/0/major",
        "/linux/devices/0/minor",
        "/linux/memoryPolicy/mode",
        "/linux/personality/domain",
        "/mounts/1/uidMappings",
        "/mounts/1/gidMappings",
    ];
    for pointer in required {
        let mut mutant = full.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        assert!(
            mutant.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).is_some(),
            "{pointer}"
        );
        assert!(parse(&mutant).is_err(), "{pointer} is not missed");
    }
}

#[test]
fn unknown_members_are_ignored_everywhere() {
    let full = full();
    let mut all = vec![String::new()];
    pointers(&full, "", &mut all);
    let maps = ["/annotations", "/linux/sysctl", "/linux/netDevices", "/linux/timeOffsets"];
    for pointer in all.iter().filter(|p| !maps.contains(&p.as_str())) {
        let mut mutant = full.clone();
        if let Some(object) = mutant.pointer_mut(pointer).and_then(Value::as_object_mut) {
            object.insert("x-unknown".into(), json!({ "deep": [1, null, "x"] }));
            parse(&mutant).unwrap_or_else(|e| panic!("{pointer}: {e}"));
        }
    }
}
