//! The valid configurations that the corpus breaks, one place at a time.

use serde_json::{Value, json};

/// Names nearly every member of the specification, and a container is made from it: whatever is refused after one
/// change is refused for that change.
pub fn plain(id: &str) -> Value {
    let hook = || json!([{ "path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 9 }]);
    let caps = || json!(["CAP_KILL", "CAP_SYS_ADMIN"]);
    json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "corpus", "domainname": "example",
        "annotations": { "com.example.a": "b" },
        "process": {
            "terminal": false, "cwd": "/", "args": ["sh", "-c", "exit"], "env": ["PATH=/bin"],
            "user": { "uid": 0, "gid": 0, "umask": 18, "additionalGids": [5] },
            "capabilities": {
                "bounding": caps(), "effective": caps(), "permitted": caps(), "inheritable": [], "ambient": []
            },
            "rlimits": [{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }],
            "noNewPrivileges": true, "oomScoreAdj": 500, "apparmorProfile": "", "selinuxLabel": "",
            "scheduler": { "policy": "SCHED_OTHER", "nice": 1, "priority": 0, "flags": [], "runtime": 0, "deadline": 0, "period": 0 },
            "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 4 },
            "execCPUAffinity": { "initial": "0", "final": "0" }
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] },
            { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "size=1m"] },
            { "destination": "/bound", "type": "bind", "source": "rootfs/etc", "options": ["rbind", "ro"] }
        ],
        "hooks": {
            "prestart": hook(), "createRuntime": hook(), "createContainer": hook(),
            "startContainer": hook(), "poststart": hook(), "poststop": hook()
        },
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }, { "type": "network" },
                { "type": "cgroup" }, { "type": "time" }
            ],
            "timeOffsets": { "monotonic": { "secs": 1, "nanosecs": 2 } },
            "devices": [
                { "type": "c", "path": "/dev/extra", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0 }
            ],
            "cgroupsPath": format!("/{id}"),
            "resources": {
                "devices": [
                    { "allow": false, "access": "rwm" },
                    { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw" }
                ],
                "memory": { "limit": 268_435_456, "reservation": 134_217_728 },
                "cpu": { "shares": 512, "quota": 50000, "period": 100_000 },
                "pids": { "limit": 64 }
            },
            "sysctl": { "net.ipv4.ip_forward": "1" },
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "flags": [],
                "syscalls": [{
                    "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
                    "args": [{ "index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ" }]
                }]
            },
            "rootfsPropagation": "slave", "mountLabel": "",
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
            "personality": { "domain": "LINUX", "flags": [] },
            "memoryPolicy": { "mode": "MPOL_DEFAULT", "flags": [] }
        }
    })
}

/// With a user namespace and a mount with mappings of its own.
pub fn mapped(id: &str) -> Value {
    let map = || json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs" },
        "process": { "cwd": "/", "args": ["sh"], "user": { "uid": 0, "gid": 0 } },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] },
            { "destination": "/bound", "source": "rootfs/etc", "options": ["bind", "idmap"], "uidMappings": map(), "gidMappings": map() }
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": [{ "type": "user" }, { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }],
            "uidMappings": map(), "gidMappings": map()
        }
    })
}
