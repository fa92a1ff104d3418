//! Configurations that break a rule: a clear error each, and nothing left.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;
use common::{bench, text};
use serde_json::{Value, json};

/// Name, JSON pointer, and the value put there (`null` in the list removes the member).
#[allow(clippy::too_many_lines)] // a table
fn corpus() -> Vec<(&'static str, &'static str, Value)> {
    let mount = |m: Value| json!([m]);
    let hook = |h: Value| json!({ "createRuntime": [h] });
    vec![
        ("no version", "/ociVersion", Value::Null),
        ("short version", "/ociVersion", json!("1.0")),
        ("other major", "/ociVersion", json!("2.0.0")),
        ("newer minor", "/ociVersion", json!("1.99.0")),
        ("number as version", "/ociVersion", json!(1)),
        ("no root", "/root", Value::Null),
        ("empty root path", "/root", json!({ "path": "" })),
        ("root path missing", "/root", json!({})),
        ("root not there", "/root/path", json!("nowhere")),
        ("readonly not a boolean", "/root/readonly", json!("yes")),
        ("relative cwd", "/process/cwd", json!("tmp")),
        ("no cwd", "/process/cwd", Value::Null),
        ("no args", "/process/args", json!([])),
        ("args not a list", "/process/args", json!("sh")),
        ("NUL in args", "/process/args", json!(["a\u{0}b"])),
        ("env not strings", "/process/env", json!([1])),
        ("uid out of range", "/process/user", json!({ "uid": 4_294_967_296u64, "gid": 0 })),
        ("uid negative", "/process/user", json!({ "uid": -1, "gid": 0 })),
        ("uid missing", "/process/user", json!({ "gid": 0 })),
        ("oom score out of range", "/process/oomScoreAdj", json!(1001)),
        ("unknown rlimit", "/process/rlimits", json!([{ "type": "RLIMIT_TEST", "soft": 1, "hard": 1 }])),
        (
            "rlimit twice",
            "/process/rlimits",
            json!([
            { "type": "RLIMIT_CORE", "soft": 1, "hard": 1 }, { "type": "RLIMIT_CORE", "soft": 1, "hard": 1 }]),
        ),
        ("soft over hard", "/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }])),
        ("rlimit without soft", "/process/rlimits", json!([{ "type": "RLIMIT_CORE", "hard": 1 }])),
        ("scheduler without policy", "/process/scheduler", json!({ "nice": 1 })),
        ("unknown policy", "/process/scheduler", json!({ "policy": "SCHED_ISO" })),
        ("unknown scheduler flag", "/process/scheduler", json!({ "policy": "SCHED_OTHER", "flags": ["X"] })),
        ("unknown io class", "/process/ioPriority", json!({ "class": "X", "priority": 1 })),
        (
            "io priority out of range",
            "/process/ioPriority",
            json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }),
        ),
        ("capabilities not a list", "/process/capabilities", json!({ "bounding": "CAP_KILL" })),
        ("null capabilities", "/process/capabilities", json!({ "bounding": null })),
        ("mount without destination", "/mounts", mount(json!({ "type": "tmpfs" }))),
        (
            "unknown filesystem",
            "/mounts",
            mount(json!({ "destination": "/m", "type": "nosuchfs", "source": "x" })),
        ),
        (
            "unknown option",
            "/mounts",
            mount(json!({ "destination": "/m", "type": "tmpfs", "options": ["nosuchopt"] })),
        ),
        (
            "bind source not there",
            "/mounts",
            mount(json!({ "destination": "/m", "source": "/no/such", "options": ["bind"] })),
        ),
        (
            "half of the mappings",
            "/mounts",
            mount(json!({ "destination": "/m", "source": "/", "options": ["bind"],
            "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }] })),
        ),
        (
            "idmap without mapping",
            "/mounts",
            mount(json!({ "destination": "/m", "source": "/", "options": ["bind", "idmap"] })),
        ),
        ("hook without path", "/hooks", hook(json!({ "args": ["x"] }))),
        ("relative hook", "/hooks", hook(json!({ "path": "bin/true" }))),
        ("hook timeout zero", "/hooks", hook(json!({ "path": "/bin/true", "timeout": 0 }))),
        ("annotations a list", "/annotations", json!([])),
        ("annotation a number", "/annotations", json!({ "a": 1 })),
        ("annotation without key", "/annotations", json!({ "": "x" })),
        ("unknown namespace", "/linux/namespaces", json!([{ "type": "foo" }])),
        ("namespace without type", "/linux/namespaces", json!([{}])),
        ("namespace twice", "/linux/namespaces", json!([{ "type": "mount" }, { "type": "mount" }])),
        (
            "relative namespace",
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "net", "path": "x" }]),
        ),
        (
            "wrong namespace",
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "uts", "path": "/proc/self/ns/net" }]),
        ),
        (
            "file as namespace",
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "uts", "path": "/etc/passwd" }]),
        ),
        ("hostname without uts", "/hostname", json!("x")),
        ("offsets without namespace", "/linux/timeOffsets", json!({ "monotonic": { "secs": 1 } })),
        (
            "mappings without namespace",
            "/linux/uidMappings",
            json!([{ "containerID": 0, "hostID": 0, "size": 1 }]),
        ),
        ("device type", "/linux/devices", json!([{ "type": "x", "path": "/dev/x", "major": 1, "minor": 1 }])),
        ("device without number", "/linux/devices", json!([{ "type": "c", "path": "/dev/x" }])),
        ("device without path", "/linux/devices", json!([{ "type": "c", "major": 1, "minor": 1 }])),
        (
            "device clash",
            "/linux/devices",
            json!([{ "type": "c", "path": "/bin/busybox", "major": 1, "minor": 1 }]),
        ),
        ("host sysctl", "/linux/sysctl", json!({ "kernel.panic": "1" })),
        ("sysctl of the host's network", "/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" })),
        ("sysctl that leads out", "/linux/sysctl", json!({ "net/../kernel/panic": "1" })),
        ("relative masked path", "/linux/maskedPaths", json!(["proc/kcore"])),
        ("relative read-only path", "/linux/readonlyPaths", json!(["proc/sys"])),
        ("unknown propagation", "/linux/rootfsPropagation", json!("sideways")),
        ("unknown domain", "/linux/personality", json!({ "domain": "LINUX64" })),
        ("personality flag", "/linux/personality", json!({ "domain": "LINUX", "flags": ["X"] })),
        ("unknown memory mode", "/linux/memoryPolicy", json!({ "mode": "MPOL_X" })),
        ("memory mode without nodes", "/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "" })),
        ("no resctrl", "/linux/intelRdt", json!({ "closID": "nope" })),
        ("bandwidth schema", "/linux/intelRdt", json!({ "memBwSchema": "L3:0=f" })),
        ("seccomp without action", "/linux/seccomp", json!({})),
        ("seccomp not an object", "/linux/seccomp", json!([])),
        ("resources not an object", "/linux/resources", json!([])),
        ("apparmor without it", "/process/apparmorProfile", json!("no-such-profile")),
        ("net device without namespace", "/linux/netDevices", json!({ "eth0": {} })),
    ]
}

fn put(config: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let object = config.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Value::Null => drop(object.remove(name)),
        value => drop(object.insert(name.to_owned(), value)),
    }
}

#[test]
fn every_broken_rule_is_an_error_that_leaves_nothing() {
    let Some(b) = bench() else { return };
    let mut accepted = Vec::new();
    for (name, pointer, value) in corpus() {
        let mut config = b.config("true");
        config["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "pid" }]);
        put(&mut config, pointer, value);
        b.write(&config);
        let output = b.create();
        if output.status.success() {
            accepted.push(name);
            b.ok(&["delete", "--force", &b.id]);
            continue;
        }
        let error = text(&output.stderr);
        assert!(error.contains("level=error") && !error.contains("panicked"), "{name}: {error}");
        assert_eq!(b.leftovers(), Vec::<String>::new(), "{name}");
    }
    assert_eq!(accepted, Vec::<&str>::new());
}

#[test]
fn broken_documents_are_errors() {
    let Some(b) = bench() else { return };
    let good = b.config("true").to_string();
    let twice = format!("{},\"hostname\":\"a\",\"hostname\":\"b\"}}", &good[..good.len() - 1]);
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut latin = good.replace("\"cwd\":\"/\"", "\"cwd\":\"/@\"").into_bytes();
    for byte in &mut latin {
        if *byte == b'@' {
            *byte = 0xe9;
        }
    }
    let documents: [&[u8]; 8] =
        [b"", b"{", b"[]", b"null", twice.as_bytes(), &utf16, &latin, &good.as_bytes()[..good.len() / 2]];
    for document in documents {
        std::fs::write(b.bundle().join("config.json"), document).unwrap();
        let output = b.create();
        assert!(!output.status.success(), "{}", text(document));
        assert_eq!(b.leftovers(), Vec::<String>::new());
    }
    std::fs::remove_file(b.bundle().join("config.json")).unwrap();
    assert!(!b.create().status.success());
}

#[test]
fn bad_ids_are_errors() {
    let Some(b) = bench() else { return };
    b.write(&b.config("true"));
    for id in ["", ".", "..", "../x", "a/b", "a b", "a\nb", &"x".repeat(1025)] {
        b.fails(&["create", "--bundle", &b.bundle_arg(), "--", id]);
        assert_eq!(b.leftovers(), Vec::<String>::new(), "{id:?}");
    }
}
