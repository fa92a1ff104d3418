//! Namespaces, mounts and what one can do in them.
mod common;

use common::{ask, is_root, probe, under, works};
use serde_json::{Value, json};

fn link(name: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{name}")).expect("ns").to_string_lossy().into_owned()
}

#[test]
fn own_namespaces_and_new_ones() {
    let own = ask("namespaces");
    for name in ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"] {
        assert_eq!(own["ns"][name], link(name).as_str());
    }
    let flags = json!(["uts", "ipc", "net", "mount", "cgroup"]);
    if !is_root() {
        return;
    }
    let answers = probe(&json!([
        { "do": "unshare", "flags": flags }, { "ask": "namespaces" }, { "do": "set_hostname", "name": "plimsoll-test" },
        { "do": "set_domainname", "name": "example" }, { "ask": "hostname" }, { "ask": "domainname" },
    ]));
    let ns = &answers.ok(1)["ns"];
    for name in ["uts", "ipc", "net", "mnt", "cgroup"] {
        assert_ne!(ns[name], link(name).as_str(), "{name}");
    }
    assert_eq!(ns["user"], link("user").as_str());
    assert_eq!(*answers.ok(4), json!({ "hostname": "plimsoll-test", "proc": "plimsoll-test" }));
    assert_eq!(answers.ok(5)["domainname"], "example");
    assert_ne!(ask("hostname")["hostname"], "plimsoll-test");
}

#[test]
fn setns_joins_a_namespace() {
    if !is_root() {
        return;
    }
    let mut live =
        common::Live::steps(&json!([{ "do": "unshare", "flags": "uts" }, { "do": "pause_forever" }]));
    assert_eq!(live.next()["ok"], json!({}));
    assert_eq!(live.next()["ok"]["ready"], true);
    let path = format!("/proc/{}/ns/uts", live.pid());
    let theirs = std::fs::read_link(&path).expect("link").to_string_lossy().into_owned();
    let answers = probe(&json!([
        { "do": "setns", "path": path, "type": "net" }, { "do": "setns", "path": path, "type": "uts" },
        { "ask": "namespaces" },
    ]));
    assert_eq!(answers.errno(0), 22, "the wrong type is refused");
    assert_eq!(answers.ok(2)["ns"]["uts"], theirs.as_str());
}

#[test]
fn time_offsets() {
    let wrapper = ["unshare", "--time", "--boottime", "1000", "--fork"];
    if !is_root() || !works(&wrapper) {
        return;
    }
    let answers = under(&wrapper, &json!([{ "ask": "namespaces" }, { "ask": "time" }]));
    assert_eq!(answers.ok(0)["timens_offsets"], json!({ "monotonic": [0, 0], "boottime": [1000, 0] }));
    let time = answers.ok(1);
    let apart = time["boottime_ns"].as_i64().expect("ns") - time["monotonic_ns"].as_i64().expect("ns");
    assert!(apart >= 1_000_000_000_000, "{apart}");
}

#[test]
fn user_namespace_maps() {
    let wrapper = ["unshare", "--user", "--map-root-user"];
    if !works(&wrapper) {
        return;
    }
    let own = ask("identity")["uid"].clone();
    let answers = under(&wrapper, &json!([{ "ask": "id_maps" }, { "ask": "identity" }]));
    assert_eq!(answers.ok(0)["uid_map"], json!([[0, own, 1]]));
    assert_eq!(answers.ok(0)["setgroups"], "deny");
    assert_eq!(answers.ok(1)["uid"], 0);
}

#[test]
fn system_v_memory_is_seen_only_in_its_namespace() {
    if !is_root() {
        return;
    }
    let answers = probe(&json!([
        { "do": "unshare", "flags": "ipc" }, { "ask": "ipc_stat", "key": 4711 },
        { "ask": "ipc_create", "key": 4711, "size": 8192, "mode": "0640" }, { "ask": "ipc_stat", "key": 4711 },
        { "ask": "ipc_create", "key": 4711 }, { "ask": "ipc_remove", "key": 4711 }, { "ask": "ipc_stat", "key": 4711 },
        { "ask": "identity" },
    ]));
    assert_eq!(answers.errno(1), 2);
    let facts = answers.ok(3);
    assert_eq!((&facts["size"], &facts["mode"], &facts["nattch"]), (&json!(8192), &json!(0o640), &json!(0)));
    assert_eq!(facts["cpid"], answers.ok(7)["pid"]);
    assert_eq!(answers.errno(4), 17);
    assert_eq!(answers.errno(6), 2);
}

/// In a mount namespace of its own, a tmpfs with the flags at DIR/`a b`, then the steps.
fn in_tmpfs(flags: &Value, steps: &[Value]) -> Option<(common::Answers, tempfile::TempDir)> {
    if !is_root() {
        return None;
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let point = dir.path().join("a b");
    std::fs::create_dir(&point).expect("mkdir");
    let mut all = vec![
        json!({ "do": "unshare", "flags": "mount" }),
        json!({ "do": "mount", "target": "/", "flags": "rprivate" }),
        json!({ "do": "mount", "source": "none", "target": point, "fstype": "tmpfs", "flags": flags, "data": "size=4m" }),
        json!({ "do": "chdir", "path": point }),
    ];
    all.extend_from_slice(steps);
    Some((probe(&all.into()), dir))
}

#[test]
fn mount_table_with_escapes_and_flags() {
    let flags = json!(["nosuid", "nodev", "noexec", "noatime"]);
    let Some((answers, dir)) = in_tmpfs(
        &flags,
        &[
            json!({ "ask": "mounts" }),
            json!({ "ask": "statfs", "path": "." }),
            json!({ "ask": "mount_id", "path": "." }),
            json!({ "do": "umount", "path": "/nonexistent-plimsoll", "flags": "detach" }),
        ],
    ) else {
        return;
    };
    let point = dir.path().join("a b");
    let mounts = answers.ok(4)["mounts"].as_array().expect("list").clone();
    let mine = mounts.iter().rfind(|m| m["mountpoint"] == point.to_str().expect("utf8")).expect("the mount");
    assert_eq!(mine["options"], json!(["rw", "nosuid", "nodev", "noexec", "noatime"]));
    assert_eq!(
        (&mine["fstype"], &mine["source"], &mine["root"]),
        (&json!("tmpfs"), &json!("none"), &json!("/"))
    );
    assert_eq!(mine["optional"], json!([]));
    assert!(mine["super_options"].as_array().expect("list").contains(&json!("size=4096k")), "{mine}");
    assert_eq!(answers.ok(4)["unparsed"], json!([]));
    let flags = answers.ok(5)["flags"].as_array().expect("list").clone();
    assert!(["nosuid", "nodev", "noexec", "noatime"].iter().all(|f| flags.contains(&json!(f))), "{flags:?}");
    assert_eq!(answers.ok(5)["type"], "0x1021994");
    assert_eq!(answers.ok(6)["mount_id"], mine["id"]);
    assert_eq!(answers.errno(7), 2, "umount of a path that is not there");
}

#[test]
fn noexec_nodev_and_read_only_hold() {
    let node = |path: &str| json!({ "do": "mknod", "path": path, "type": "char", "major": 1, "minor": 3 });
    let steps = [
        json!({ "do": "copy_self", "to": "probe" }),
        json!({ "ask": "exec", "path": "./probe", "argv": ["probe", "stamp"] }),
        json!({ "ask": "mmap_exec", "path": "probe" }),
        node("null"),
        json!({ "ask": "open", "path": "null", "flags": "w" }),
        json!({ "ask": "stat", "path": "null" }),
        json!({ "do": "mount", "source": "none", "target": ".", "flags": ["remount", "ro"] }),
        json!({ "do": "write", "path": "x", "create": true, "data": "x" }),
        json!({ "do": "mkdir", "path": "d" }),
    ];
    let Some((strict, _dir)) = in_tmpfs(&json!(["noexec", "nodev"]), &steps) else { return };
    assert_eq!(strict.errno(5), 13, "noexec");
    assert_eq!(strict.errno(6), 1, "noexec mmap");
    assert_eq!(strict.errno(8), 13, "nodev");
    let stat = strict.ok(9);
    assert_eq!(
        (&stat["type"], &stat["rdev_major"], &stat["rdev_minor"]),
        (&json!("char"), &json!(1), &json!(3))
    );
    let Some((free, _dir)) = in_tmpfs(&json!([]), &steps) else { return };
    assert_eq!(free.ok(5)["code"], 0, "the copy runs");
    assert!(free.ok(5)["stdout"]["data"].as_str().is_some_and(|out| out.starts_with("{\"stamp_ns\":")));
    free.ok(6);
    assert_eq!(free.ok(8)["type"], "char");
}

#[test]
fn access_times() {
    let old = 1_000_000_000_000_000_000_i64;
    let steps = |atime: i64| {
        [
            json!({ "do": "write", "path": "f", "create": true, "data": "x" }),
            json!({ "do": "utimes", "path": "f", "atime_ns": atime, "mtime_ns": old }),
            json!({ "ask": "touch_read", "path": "f" }),
        ]
    };
    let changed =
        |flags: &Value, atime| in_tmpfs(flags, &steps(atime)).map(|(a, _dir)| a.ok(6)["changed"].clone());
    let Some(strict) = changed(&json!("strictatime"), old + 5) else { return };
    assert_eq!(strict, true, "strictatime");
    assert_eq!(changed(&json!("noatime"), old), Some(json!(false)), "noatime");
    assert_eq!(changed(&json!("relatime"), old), Some(json!(true)), "relatime: not newer than the data");
}

#[test]
fn set_user_id_programs() {
    let steps = |flags: &Value| {
        in_tmpfs(
            flags,
            &[
                json!({ "do": "chmod", "path": ".", "mode": "0755" }),
                json!({ "do": "copy_self", "to": "probe", "mode": "0755" }),
                json!({ "do": "chown", "path": "probe", "uid": 1234, "gid": 1234 }),
                json!({ "do": "chmod", "path": "probe", "mode": "04755" }),
                json!({ "ask": "stat", "path": "probe" }),
                json!({ "ask": "exec", "path": "./probe", "argv": ["probe", r#"{"steps":[{"ask":"identity"}]}"#] }),
            ],
        )
    };
    let euid = |answers: &common::Answers| -> Value {
        let out = answers.ok(9)["stdout"]["data"].as_str().expect("text").to_owned();
        let line: Value = serde_json::from_str(out.lines().next().expect("line")).expect("JSON");
        line["ok"]["euid"].clone()
    };
    let Some((free, _dir)) = steps(&json!([])) else { return };
    assert_eq!(free.ok(8)["octal"], "4755");
    assert_eq!(euid(&free), 1234);
    let Some((strict, _dir)) = steps(&json!("nosuid")) else { return };
    assert_eq!(euid(&strict), 0);
}

#[test]
fn a_new_root() {
    let steps = [
        json!({ "do": "copy_self", "to": "probe" }),
        json!({ "do": "chroot", "path": "." }),
        json!({ "do": "chdir", "path": "/" }),
        json!({ "ask": "listdir", "path": "/" }),
        json!({ "ask": "mounts" }),
        json!({ "ask": "identity" }),
        json!({ "ask": "caps" }),
        json!({ "ask": "fds" }),
        json!({ "ask": "cwd" }),
        json!({ "ask": "seccomp" }),
    ];
    let Some((answers, _dir)) = in_tmpfs(&json!([]), &steps) else { return };
    let names: Vec<_> =
        answers.ok(7)["entries"].as_array().expect("list").iter().map(|e| &e["name"]).collect();
    assert_eq!(names, [&json!("probe")]);
    assert_eq!(answers.errno(8), 2, "no /proc, no mount table");
    assert!(answers.ok(9)["uid"].is_number(), "these answer without /proc");
    assert!(answers.ok(10)["effective"].is_object());
    let fds = answers.ok(11)["fds"].as_array().expect("list").clone();
    assert!(fds.iter().any(|fd| fd["fd"] == 1 && fd["type"] == "fifo"), "{fds:?}");
    assert_eq!(answers.ok(12)["cwd"], "/");
    assert_eq!(answers.ok(13)["mode"], 0);
}
