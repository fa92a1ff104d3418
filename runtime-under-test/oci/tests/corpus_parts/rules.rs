//! The rules of the specification whose breach is an error ("MUST generate an error", REQUIRED members, value ranges),
//! each with several ways to break it. All apply to `base::plain` unless they say `mapped`.
#![allow(clippy::too_many_lines)] // tables

use super::limits;
use super::mutate::Change;
use serde_json::{Value, json};

/// REQUIRED members of `base::plain`: removed one at a time.
pub const REQUIRED: &[&str] = &[
    "/ociVersion",
    "/root",
    "/root/path",
    "/process/cwd",
    "/process/args",
    "/process/user/uid",
    "/process/user/gid",
    "/process/rlimits/0/type",
    "/process/rlimits/0/soft",
    "/process/rlimits/0/hard",
    "/process/scheduler/policy",
    "/process/ioPriority/class",
    "/process/ioPriority/priority",
    "/mounts/0/destination",
    "/mounts/0/type",
    "/mounts/3/source",
    "/hooks/prestart/0/path",
    "/hooks/createRuntime/0/path",
    "/hooks/createContainer/0/path",
    "/hooks/startContainer/0/path",
    "/hooks/poststart/0/path",
    "/hooks/poststop/0/path",
    "/linux/namespaces/0/type",
    "/linux/devices/0/type",
    "/linux/devices/0/path",
    "/linux/devices/0/major",
    "/linux/devices/0/minor",
    "/linux/resources/devices/0/allow",
    "/linux/seccomp/defaultAction",
    "/linux/seccomp/syscalls/0/names",
    "/linux/seccomp/syscalls/0/action",
    "/linux/seccomp/syscalls/0/args/0/index",
    "/linux/seccomp/syscalls/0/args/0/value",
    "/linux/seccomp/syscalls/0/args/0/op",
    "/linux/personality/domain",
    "/linux/memoryPolicy/mode",
];

/// Place, and values each of which breaks the rule of that place.
fn values() -> Vec<(&'static str, Vec<Value>)> {
    let mut all = process();
    all.extend(filesystem());
    all.extend(lifecycle());
    all.extend(linux());
    all.extend(limits::cgroups());
    all.extend(limits::filters());
    all
}

fn texts(list: &[&str]) -> Vec<Value> {
    list.iter().map(|t| json!(t)).collect()
}

/// config.md "Specification version", "Process", "POSIX process", "Linux Process", "User".
fn process() -> Vec<(&'static str, Vec<Value>)> {
    let rlimit = |kind: &str, soft: u64, hard: u64| json!({ "type": kind, "soft": soft, "hard": hard });
    let caps = |set: &str, name: &str| json!({ set: [name] });
    vec![
        (
            "/ociVersion",
            texts(&[
                "1",
                "1.0",
                "v1.0.0",
                "1.0.0.0",
                "banana",
                "2.0.0",
                "0.9.0",
                "1.99.0",
                "01.0.0",
                "1.00.0",
                "1.0.0-",
                "1.0.0+",
                " 1.0.0",
                "1.0.0 ",
                "1,0,0",
                "-1.0.0",
                "1.0.-1",
                "1.0.0-a..b",
                "99999999999999999999.0.0",
                "1.0.0\n",
            ]),
        ),
        ("/process/cwd", texts(&["tmp", ".", "..", "./x", "a/b", " /", "~"])),
        (
            "/process/args",
            vec![json!([]), json!(["a\u{0}b"]), json!(["sh", "\u{0}"]), json!([""]), json!([1, 2])],
        ),
        ("/process/env", vec![json!(["A=\u{0}"]), json!([["A", "b"]]), json!([{ "A": "b" }])]),
        (
            "/process/user",
            vec![
                json!({ "uid": 4_294_967_296_u64, "gid": 0 }),
                json!({ "uid": u32::MAX, "gid": 0 }),
                json!({ "uid": 0, "gid": u32::MAX }),
                json!({ "uid": 0, "gid": 4_294_967_296_u64 }),
                json!({ "uid": -1, "gid": 0 }),
                json!({ "uid": 0, "gid": -1 }),
                json!({ "uid": 0, "gid": 0, "umask": 512 }),
                json!({ "uid": 0, "gid": 0, "umask": -1 }),
                json!({ "uid": 0, "gid": 0, "additionalGids": [u32::MAX] }),
                json!({ "uid": 0, "gid": 0, "additionalGids": [-1] }),
                json!({ "uid": "0", "gid": 0 }),
                json!({ "uid": 0.5, "gid": 0 }),
                json!({ "uid": 1e3, "gid": 0 }),
            ],
        ),
        (
            "/process/oomScoreAdj",
            vec![json!(1001), json!(-1001), json!(i32::MAX), json!(i64::MAX), json!("0")],
        ),
        (
            "/process/rlimits",
            vec![
                json!([rlimit("RLIMIT_TEST", 1, 1)]),
                json!([rlimit("", 1, 1)]),
                json!([rlimit("rlimit_core", 1, 1)]),
                json!([rlimit("CORE", 1, 1)]),
                json!([rlimit("RLIMIT_CORE ", 1, 1)]),
                json!([rlimit("RLIMIT_CORE", 2, 1)]),
                json!([rlimit("RLIMIT_CORE", u64::MAX, 0)]),
                json!([rlimit("RLIMIT_CORE", 1, 1), rlimit("RLIMIT_CORE", 1, 1)]),
                json!([
                    rlimit("RLIMIT_NOFILE", 9, 9),
                    rlimit("RLIMIT_CORE", 0, 0),
                    rlimit("RLIMIT_NOFILE", 9, 9)
                ]),
                json!([{ "type": "RLIMIT_CORE", "soft": -1, "hard": 1 }]),
                json!([{ "type": "RLIMIT_CORE", "soft": 1.0, "hard": 1 }]),
            ],
        ),
        (
            "/process/scheduler",
            vec![
                json!({ "nice": 1 }),
                json!({ "policy": "SCHED_ISO" }),
                json!({ "policy": "" }),
                json!({ "policy": "other" }),
                json!({ "policy": "SCHED_OTHER", "flags": ["X"] }),
                json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NOPE"] }),
                json!({ "policy": "SCHED_FIFO", "priority": 1000 }),
                json!({ "policy": "SCHED_RR", "priority": -1 }),
                json!({ "policy": "SCHED_DEADLINE", "runtime": 5, "deadline": 1, "period": 1 }),
                json!({ "policy": "SCHED_OTHER", "runtime": -1 }),
            ],
        ),
        (
            "/process/ioPriority",
            vec![
                json!({ "class": "X", "priority": 1 }),
                json!({ "class": "", "priority": 1 }),
                json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }),
                json!({ "class": "IOPRIO_CLASS_BE", "priority": -1 }),
                json!({ "class": "IOPRIO_CLASS_RT", "priority": 255 }),
                json!({ "class": "IOPRIO_CLASS_NONE", "priority": 1 << 20 }),
            ],
        ),
        (
            "/process/execCPUAffinity",
            vec![
                json!({ "initial": "x" }),
                json!({ "final": "3-1" }),
                json!({ "initial": "0-" }),
                json!({ "final": "-1" }),
                json!({ "initial": "0,,1" }),
                json!({ "final": "99999999999" }),
            ],
        ),
        (
            "/process/capabilities",
            vec![
                json!({ "bounding": "CAP_KILL" }),
                json!({ "bounding": null }),
                json!({ "effective": [1] }),
                json!(["CAP_KILL"]),
                json!({ "ambient": { "CAP_KILL": true } }),
                json!({ "permitted": [["CAP_KILL"]] }),
            ],
        ),
        // "If the runtime does not know a capability" is an error only before 1.1: see `older`.
        ("/process/apparmorProfile", vec![json!("no-such-profile"), json!(["x"]), json!({})]),
        ("/process/selinuxLabel", vec![json!("no:such:label"), json!(7)]),
        ("/process/terminal", vec![json!(true), json!("false"), json!(0)]),
        ("/process/capabilities/bounding", vec![json!([null]), json!({}), caps("x", "y")]),
    ]
}

/// config.md "Root", "Mounts", "Hostname"; config-linux.md "Default Filesystems", masked and read-only paths.
fn filesystem() -> Vec<(&'static str, Vec<Value>)> {
    let mount = |m: Value| json!([m]);
    vec![
        (
            "/root",
            vec![
                json!({}),
                json!({ "path": "" }),
                json!({ "path": "rootfs", "readonly": "yes" }),
                json!("rootfs"),
            ],
        ),
        (
            "/root/path",
            texts(&[
                "nowhere",
                "config.json",
                "/no/such/dir",
                "rootfs/bin/busybox",
                "rootfs\u{0}",
                "/etc/passwd",
            ]),
        ),
        (
            "/mounts",
            vec![
                mount(json!({ "type": "tmpfs" })),
                mount(json!({ "destination": "", "type": "tmpfs" })),
                mount(json!({ "destination": "/m\u{0}", "type": "tmpfs" })),
                mount(json!({ "destination": "/m" })),
                mount(json!({ "destination": "/m", "type": "nosuchfs", "source": "x" })),
                mount(json!({ "destination": "/m", "type": "", "source": "x" })),
                mount(json!({ "destination": "/m", "type": "tmpfs", "options": ["nosuchopt"] })),
                mount(json!({ "destination": "/m", "type": "tmpfs", "options": ["size=x"] })),
                mount(json!({ "destination": "/m", "type": "tmpfs", "options": ["mode=999"] })),
                mount(json!({ "destination": "/m", "type": "tmpfs", "options": "ro" })),
                mount(json!({ "destination": "/m", "type": "tmpfs", "options": [["ro"]] })),
                mount(json!({ "destination": "/m", "source": "/no/such", "options": ["bind"] })),
                mount(json!({ "destination": "/m", "options": ["bind"] })),
                mount(json!({ "destination": "/m", "source": "", "options": ["rbind"] })),
                mount(
                    json!({ "destination": "/m", "source": "no/such", "type": "bind", "options": ["rbind"] }),
                ),
                mount(json!({ "destination": "/m", "source": "/\u{0}", "options": ["bind"] })),
                mount(json!({ "destination": "/bin/busybox/x", "type": "tmpfs" })),
                mount(json!({ "destination": "/bin/busybox", "type": "tmpfs" })),
                mount(json!({ "destination": "/proc", "type": "tmpfs" })),
                mount(json!({ "destination": "/m", "source": "/", "options": ["bind"],
                    "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }] })),
                mount(json!({ "destination": "/m", "source": "/", "options": ["bind"],
                    "gidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }] })),
                mount(json!({ "destination": "/m", "source": "/", "options": ["bind", "idmap"] })),
                mount(json!({ "destination": "/m", "source": "/", "options": ["bind", "ridmap"] })),
            ],
        ),
        ("/hostname", vec![json!("x".repeat(65)), json!("x".repeat(5000)), json!("a\u{0}b"), json!(["x"])]),
        ("/domainname", vec![json!("x".repeat(65)), json!("a\u{0}b"), json!({})]),
        (
            "/linux/maskedPaths",
            vec![json!(["proc/kcore"]), json!([""]), json!(["/a\u{0}"]), json!(["/proc/kcore", "./x"])],
        ),
        ("/linux/readonlyPaths", vec![json!(["proc/sys"]), json!([""]), json!(["/a\u{0}"]), json!(["../x"])]),
        ("/linux/rootfsPropagation", texts(&["sideways", "Shared", "rprivatee", "shared,slave", "0"])),
        ("/linux/mountLabel", texts(&["system_u:object_r:x:s0"])),
    ]
}

/// config.md "POSIX-platform Hooks", "Annotations".
fn lifecycle() -> Vec<(&'static str, Vec<Value>)> {
    let hooks = [
        json!({ "args": ["x"] }),
        json!({ "path": "" }),
        json!({ "path": "bin/true" }),
        json!({ "path": "./true" }),
        json!({ "path": "/bin/true\u{0}" }),
        json!({ "path": "/bin/true", "timeout": 0 }),
        json!({ "path": "/bin/true", "timeout": -1 }),
        json!({ "path": "/bin/true", "timeout": 1.5 }),
        json!({ "path": "/bin/true", "args": "x" }),
        json!({ "path": "/bin/true", "args": ["\u{0}"] }),
        json!({ "path": "/bin/true", "env": ["A=\u{0}"] }),
        json!({ "path": "/bin/true", "env": { "A": "b" } }),
        json!("/bin/true"),
        json!(["/bin/true"]),
    ];
    let lists = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let mut broken: Vec<Value> =
        lists.iter().flat_map(|list| hooks.iter().map(move |h| json!({ *list: [h] }))).collect();
    // A hook that fails, or is not there, stops create at these three points.
    for list in ["prestart", "createRuntime", "createContainer"] {
        for path in ["/bin/false", "/no/such/hook", "/etc/passwd", "/"] {
            broken.push(json!({ list: [{ "path": path }] }));
        }
    }
    vec![
        ("/hooks", broken),
        (
            "/annotations",
            vec![
                json!([]),
                json!({ "a": 1 }),
                json!({ "": "x" }),
                json!({ "a": null }),
                json!({ "a": { "b": "c" } }),
            ],
        ),
    ]
}

/// config-linux.md, except for cgroups and seccomp.
fn linux() -> Vec<(&'static str, Vec<Value>)> {
    let with = |n: Value| json!([{ "type": "mount" }, { "type": "pid" }, { "type": "uts" }, { "type": "time" }, { "type": "network" }, n]);
    let device = |d: Value| json!([d]);
    vec![
        (
            "/linux/namespaces",
            vec![
                with(json!({ "type": "foo" })),
                with(json!({ "type": "" })),
                with(json!({ "type": "net" })),
                with(json!({ "type": "MOUNT" })),
                with(json!({})),
                with(json!({ "type": "mount" })),
                with(json!({ "type": "pid", "path": "/proc/self/ns/pid" })),
                with(json!({ "type": "ipc", "path": "x" })),
                with(json!({ "type": "ipc", "path": "/no/such/file" })),
                with(json!({ "type": "ipc", "path": "/proc/self/ns/net" })),
                with(json!({ "type": "ipc", "path": "/etc/passwd" })),
                with(json!({ "type": "ipc", "path": "/" })),
                with(json!({ "type": "ipc", "path": "/proc/self/ns/ipc\u{0}" })),
                with(json!({ "type": "cgroup", "path": "/proc/self/ns/mnt" })),
                with(json!({ "type": "user" })),
                with(json!({ "type": "user", "path": "/dev/null" })),
            ],
        ),
        (
            "/linux/timeOffsets",
            vec![
                json!({ "realtime": { "secs": 1 } }),
                json!({ "": { "secs": 1 } }),
                json!({ "monotonic": { "nanosecs": 1_000_000_000 } }),
                json!({ "monotonic": { "nanosecs": -1 } }),
                json!({ "boottime": { "secs": 1.5 } }),
                json!({ "boottime": { "secs": i64::MIN } }),
                json!({ "monotonic": 1 }),
            ],
        ),
        (
            "/linux/uidMappings",
            vec![json!([{ "containerID": 0, "hostID": 0, "size": 1 }]), json!([{ "containerID": 0 }])],
        ),
        ("/linux/gidMappings", vec![json!([{ "containerID": 0, "hostID": 0, "size": 1 }]), json!({})]),
        (
            "/linux/devices",
            vec![
                device(json!({ "type": "x", "path": "/dev/x", "major": 1, "minor": 1 })),
                device(json!({ "type": "", "path": "/dev/x", "major": 1, "minor": 1 })),
                device(json!({ "type": "c", "path": "/dev/x" })),
                device(json!({ "type": "c", "path": "/dev/x", "major": 1 })),
                device(json!({ "type": "b", "path": "/dev/x", "minor": 1 })),
                device(json!({ "type": "c", "major": 1, "minor": 1 })),
                device(json!({ "type": "c", "path": "dev/x", "major": 1, "minor": 1 })),
                device(json!({ "type": "c", "path": "", "major": 1, "minor": 1 })),
                device(json!({ "type": "c", "path": "/", "major": 1, "minor": 1 })),
                device(json!({ "type": "c", "path": "/dev/..", "major": 1, "minor": 1 })),
                device(json!({ "type": "c", "path": "/dev/x\u{0}", "major": 1, "minor": 1 })),
                device(json!({ "type": "c", "path": "/dev/x", "major": -1, "minor": 1 })),
                device(json!({ "type": "c", "path": "/dev/x", "major": 1, "minor": 4_294_967_296_u64 })),
                device(json!({ "type": "c", "path": "/dev/x", "major": 1, "minor": 1, "fileMode": 1 << 20 })),
                device(json!({ "type": "c", "path": "/bin/busybox", "major": 1, "minor": 1 })),
                device(json!({ "type": "c", "path": "/bin", "major": 1, "minor": 1 })),
                device(json!({ "type": "p", "path": "/bin/busybox" })),
                device(json!({ "type": "b", "path": "/bin/busybox", "major": 1, "minor": 1 })),
            ],
        ),
        (
            "/linux/sysctl",
            vec![
                json!({ "kernel.panic": "1" }),
                json!({ "vm.swappiness": "1" }),
                json!({ "": "1" }),
                json!({ ".": "1" }),
                json!({ "net/../kernel/panic": "1" }),
                json!({ "net..ipv4": "1" }),
                json!({ "net.no.such.key": "1" }),
                json!({ "net.ipv4.ip_forward": 1 }),
                json!({ "net.ipv4.ip_forward": "not a number" }),
                json!({ "net.ipv4.ip_forward": "\u{0}" }),
                json!({ "kernel.hostname": "x" }),
            ],
        ),
        (
            "/linux/personality",
            vec![
                json!({ "domain": "LINUX64" }),
                json!({ "domain": "" }),
                json!({ "domain": "linux" }),
                json!({ "domain": "LINUX", "flags": ["X"] }),
                json!({ "domain": "LINUX32", "flags": "X" }),
            ],
        ),
        (
            "/linux/memoryPolicy",
            vec![
                json!({ "mode": "MPOL_X" }),
                json!({ "mode": "" }),
                json!({ "mode": "MPOL_BIND", "nodes": "" }),
                json!({ "mode": "MPOL_BIND" }),
                json!({ "mode": "MPOL_BIND", "nodes": "x" }),
                json!({ "mode": "MPOL_BIND", "nodes": "3-1" }),
                json!({ "mode": "MPOL_BIND", "nodes": "4000" }),
                json!({ "mode": "MPOL_DEFAULT", "nodes": "0" }),
                json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"] }),
                json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"] }),
            ],
        ),
        (
            "/linux/intelRdt",
            vec![
                json!({ "closID": "." }),
                json!({ "closID": ".." }),
                json!({ "closID": "a/b" }),
                json!({ "closID": "" }),
                json!({ "closID": "no-such-class" }),
                json!({ "memBwSchema": "L3:0=f" }),
                json!({ "l3CacheSchema": "MB:0=20" }),
                json!({ "schemata": ["x\ny"] }),
            ],
        ),
        (
            "/linux/netDevices",
            vec![
                json!({ "no-such-dev0": {} }),
                json!({ "": {} }),
                json!({ "lo": { "name": "a/b" } }),
                json!({ "lo": { "name": "." } }),
                json!({ "lo": { "name": "much-too-long-name" } }),
                json!({ "lo": { "name": "a b" } }),
                json!({ "lo": "x" }),
                json!({ "a%d": {} }),
            ],
        ),
        ("/linux/cgroupsPath", texts(&["/", "..", "/a/..", "/a\nb", "/a\u{0}b", "///"])),
    ]
}

/// All rule breaches of `base::plain`.
pub fn plain() -> Vec<Change> {
    let mut all: Vec<Change> =
        REQUIRED.iter().map(|at| Change { at: (*at).to_owned(), value: None }).collect();
    for (at, list) in values() {
        all.extend(list.into_iter().map(|value| Change { at: at.to_owned(), value: Some(value) }));
    }
    all
}

/// Rule breaches of `base::mapped`: config-linux.md "User namespace mappings", config.md "mounts".
pub fn mapped() -> Vec<Change> {
    let lists = [
        json!([]),
        json!([{ "containerID": 0, "hostID": 0, "size": 0 }]),
        json!([{ "containerID": 0, "hostID": u32::MAX, "size": 2 }]),
        json!([{ "containerID": u32::MAX, "hostID": 0, "size": 2 }]),
        json!([{ "containerID": 0, "hostID": 0, "size": 10 }, { "containerID": 5, "hostID": 100, "size": 10 }]),
        json!([{ "containerID": 0, "hostID": 0 }]),
        json!([{ "hostID": 0, "size": 1 }]),
        json!([{ "containerID": 0, "size": 1 }]),
        json!([{ "containerID": -1, "hostID": 0, "size": 1 }]),
        json!([{ "containerID": 0, "hostID": 0, "size": 4_294_967_296_u64 }]),
    ];
    let mut all = Vec::new();
    for at in ["/linux/uidMappings", "/linux/gidMappings", "/mounts/2/uidMappings", "/mounts/2/gidMappings"] {
        all.push(Change { at: at.to_owned(), value: None });
        all.extend(lists.iter().map(|l| Change { at: at.to_owned(), value: Some(l.clone()) }));
    }
    all
}
