//! What the probe says of its process, against what its parent made of it.
mod common;

use common::{ask, command, is_root, probe, run, script, under, works};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

/// The ignored signals by name. glibc's `posix_spawn` ignores its two internal ones (32 and 33, without a name).
fn ignored(sigstate: &Value) -> BTreeSet<&str> {
    strings(&sigstate["ignored"]).into_iter().filter(|name| name.starts_with("SIG")).collect()
}

#[test]
fn identity_is_what_setpriv_sets() {
    if !is_root() {
        return;
    }
    let wrapper = ["setpriv", "--ruid=1001", "--euid=1002", "--rgid=2001", "--egid=2002", "--groups=30,40"];
    if !works(&wrapper) {
        return;
    }
    let answers = under(&wrapper, &json!([{ "ask": "identity" }]));
    let facts = answers.ok(0);
    let ids = ["uid", "euid", "fsuid", "gid", "egid", "fsgid"].map(|key| facts[key].as_i64().expect("id"));
    assert_eq!(ids, [1001, 1002, 1002, 2001, 2002, 2002], "{facts}");
    assert_eq!(facts["groups"], json!([30, 40]));
}

#[test]
fn identity_knows_session_and_parent() {
    let mut started = command(&["setsid"], script(&json!([{ "ask": "identity" }])));
    let child = started.stdout(std::process::Stdio::piped()).spawn().expect("start");
    let pid = child.id();
    let answers = common::finish(child).complete(1);
    let facts = answers.ok(0);
    assert_eq!(facts["pid"], facts["sid"]);
    assert_eq!(facts["pid"], facts["pgid"]);
    assert_eq!(facts["tty_nr"], 0);
    // setsid(1) either became the probe or forked it.
    assert!(facts["pid"] == pid || facts["ppid"] == pid || facts["ppid"].as_i64().is_some(), "{facts}");
    let own = ask("identity");
    assert_eq!(own["ppid"], std::process::id());
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("Uid");
    let uids: Vec<i64> = uid.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(json!(uids), json!([own["uid"], own["euid"], own["suid"], own["fsuid"]]));
}

#[test]
fn capability_sets_are_told_apart() {
    let wrapper = [
        "setpriv",
        "--inh-caps=-all,+chown,+net_raw",
        "--ambient-caps=-all,+chown",
        "--bounding-set=-all,+chown,+net_raw,+kill",
    ];
    if !is_root() || !works(&wrapper) {
        return;
    }
    let answers = under(&wrapper, &json!([{ "ask": "caps" }]));
    let facts = answers.ok(0);
    assert_eq!(strings(&facts["inheritable"]["names"]), ["CAP_CHOWN", "CAP_NET_RAW"]);
    assert_eq!(strings(&facts["ambient"]["names"]), ["CAP_CHOWN"]);
    assert_eq!(strings(&facts["bounding"]["names"]), ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]);
    assert_eq!(facts["bounding"]["hex"], "0000000000002021");
    assert_eq!(facts["securebits"], 0);
    let dropped = under(&["setpriv", "--reuid=1000", "--clear-groups"], &json!([{ "ask": "caps" }]));
    assert_eq!(dropped.ok(0)["effective"], json!({ "names": [], "hex": "0000000000000000" }));
}

#[test]
fn capabilities_agree_with_proc() {
    let answers = probe(&json!([{ "ask": "caps" }, { "ask": "read", "path": "/proc/self/status" }]));
    let status = answers.ok(1)["data"].as_str().expect("text");
    let sets = [
        ("CapInh", "inheritable"),
        ("CapPrm", "permitted"),
        ("CapEff", "effective"),
        ("CapBnd", "bounding"),
        ("CapAmb", "ambient"),
    ];
    for (line, set) in sets {
        let hex =
            status.lines().find_map(|l| l.strip_prefix(line)).expect(line).trim_start_matches(':').trim();
        assert_eq!(answers.ok(0)[set]["hex"], hex, "{set}");
    }
}

#[test]
fn no_new_privs_and_seccomp() {
    assert_eq!(ask("no_new_privs")["no_new_privs"], false);
    assert_eq!(ask("seccomp"), json!({ "mode": 0, "filters": 0 }));
    if works(&["setpriv", "--no-new-privs"]) {
        let answers =
            under(&["setpriv", "--no-new-privs"], &json!([{ "ask": "no_new_privs" }, { "ask": "prctl" }]));
        assert_eq!(answers.ok(0)["no_new_privs"], true);
        assert_eq!(answers.ok(1)["no_new_privs"], 1);
    }
}

#[test]
fn environment_and_arguments_are_raw() {
    let mut started = command(&[], script(&json!([{ "ask": "env" }, { "ask": "argv" }])));
    started.env_clear().env("B", "2").env("A", "x=y").env("RAW", std::ffi::OsStr::from_bytes(b"\xff"));
    started.args(["extra", ""]);
    let answers = run(&mut started).complete(2);
    let mut env: Vec<String> =
        answers.ok(0)["env"].as_array().expect("list").iter().map(Value::to_string).collect();
    env.sort();
    assert_eq!(env, [r#""A=x=y""#, r#""B=2""#, r#"{"base64":"UkFXPf8="}"#]);
    let argv = strings(&answers.ok(1)["argv"]);
    assert_eq!(argv.len(), 4);
    assert_eq!(argv[2..], ["extra", ""]);
}

#[test]
fn working_directory() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().canonicalize().expect("path");
    let answers = run(command(&[], script(&json!([{ "ask": "cwd" }]))).current_dir(&path)).complete(1);
    let facts = answers.ok(0);
    assert_eq!(facts["cwd"], path.to_str().expect("utf8"));
    assert_eq!(facts["link"], facts["cwd"]);
    assert_eq!(facts["ino"], path.metadata().expect("stat").ino());
}

#[test]
fn umask_is_read_without_changing_it() {
    let shell = ["sh", "-c", "umask 0027; exec \"$0\" \"$@\""];
    let answers = under(&shell, &json!([{ "ask": "umask" }, { "ask": "umask" }]));
    assert_eq!(*answers.ok(0), json!({ "umask": 0o27, "octal": "0027" }));
    assert_eq!(answers.ok(0), answers.ok(1));
}

#[test]
fn resource_limits() {
    let answers = under(&["prlimit", "--nofile=100:200", "--core=0:0"], &json!([{ "ask": "rlimits" }]));
    let facts = answers.ok(0);
    assert_eq!(facts["RLIMIT_NOFILE"], json!({ "cur": 100, "max": 200 }));
    assert_eq!(facts["RLIMIT_CORE"], json!({ "cur": 0, "max": 0 }));
    assert_eq!(facts.as_object().expect("object").len(), 16);
    let infinite = facts["RLIMIT_CPU"]["cur"].as_u64().expect("number");
    assert_eq!(infinite, u64::MAX);
}

#[test]
fn scheduling() {
    let niced = under(&["nice", "-n", "5"], &json!([{ "ask": "scheduler" }]));
    assert_eq!(niced.ok(0)["nice"], 5);
    assert_eq!(niced.ok(0)["policy"], "SCHED_OTHER");
    let batch = under(&["chrt", "--batch", "0"], &json!([{ "ask": "scheduler" }]));
    assert_eq!(batch.ok(0)["policy"], "SCHED_BATCH");
    let idle = under(&["ionice", "-c", "3"], &json!([{ "ask": "ioprio" }]));
    assert_eq!(idle.ok(0)["class"], "IOPRIO_CLASS_IDLE");
    let best = under(&["ionice", "-c", "2", "-n", "6"], &json!([{ "ask": "ioprio" }]));
    assert_eq!((&best.ok(0)["class"], &best.ok(0)["data"]), (&json!("IOPRIO_CLASS_BE"), &json!(6)));
    if is_root() && works(&["chrt", "--rr", "7"]) {
        let rr = under(&["chrt", "--rr", "7"], &json!([{ "ask": "scheduler" }]));
        assert_eq!((&rr.ok(0)["policy"], &rr.ok(0)["priority"]), (&json!("SCHED_RR"), &json!(7)));
    }
}

#[test]
fn affinity_and_personality() {
    let all = ask("affinity")["cpus"].as_array().expect("list").clone();
    let last = all.last().expect("a CPU").to_string();
    let pinned = under(&["taskset", "--cpu-list", &last], &json!([{ "ask": "affinity" }]));
    assert_eq!(pinned.ok(0)["cpus"].to_string(), format!("[{last}]"));
    assert_eq!(ask("personality")["personality"], "0x0");
    let fixed = under(&["setarch", "--addr-no-randomize"], &json!([{ "ask": "personality" }]));
    assert_eq!(fixed.ok(0)["personality"], "0x40000");
    assert_eq!(ask("mempolicy")["mode"], "MPOL_DEFAULT");
}

#[test]
fn oom_score_cgroup_and_processes() {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").expect("read");
    assert_eq!(ask("oom_score_adj")["oom_score_adj"].to_string(), own.trim());
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").expect("read");
    assert_eq!(strings(&ask("cgroups")["lines"]), cgroup.lines().collect::<Vec<_>>());
    let procs = ask("procs");
    let mine = procs["procs"].as_array().expect("list").iter().find(|p| p["pid"] == std::process::id());
    assert!(mine.is_some_and(|p| p["state"].is_string() && p["ppid"].is_number()), "{mine:?}");
    assert!(ask("pid1")["comm"].is_string());
    let exe = ask("self_exe");
    assert_eq!(exe["ino"], std::fs::metadata(common::program()).expect("stat").ino());
}

#[test]
fn signals_as_the_parent_left_them() {
    let plain = ask("sigstate");
    assert_eq!(plain["caught"], json!([]), "nothing was installed before main: {plain}");
    assert!(!strings(&plain["ignored"]).contains(&"SIGPIPE"), "{plain}");
    let shell = ["sh", "-c", "trap '' HUP USR2; exec \"$0\" \"$@\""];
    let answers = under(&shell, &json!([{ "ask": "identity" }, { "ask": "sigstate" }]));
    // What this test itself was started with (a shell ignores SIGINT and SIGQUIT for what it puts in the background).
    let mut expected = ignored(&plain);
    expected.extend(["SIGHUP", "SIGUSR2"]);
    assert_eq!(ignored(answers.ok(1)), expected, "also after a guarded step");
    assert_eq!(answers.ok(1)["caught"], json!([]));
    assert_eq!(answers.ok(1)["blocked"], json!([]));
}

#[test]
fn clocks_and_stamp() {
    let answers = probe(&json!([{ "ask": "stamp" }, { "ask": "time" }]));
    let [start, now, monotonic] =
        [&answers.ok(0)["start_ns"], &answers.ok(0)["now_ns"], &answers.ok(1)["monotonic_ns"]]
            .map(|value| value.as_i64().expect("number"));
    assert!(0 < start && start < now && now < monotonic, "{start} {now} {monotonic}");
    let real = u128::from(answers.ok(1)["realtime_ns"].as_u64().expect("number"));
    let here = std::time::UNIX_EPOCH.elapsed().expect("clock").as_nanos();
    assert!(here.abs_diff(real) < 60_000_000_000, "{here} {real}");
    let stamp = run(&mut command(&[], "stamp"));
    assert_eq!(stamp.code(), Some(0));
    let line: Value = serde_json::from_str(&stamp.raw).expect("one line of JSON");
    assert!(line["stamp_ns"].as_i64().expect("number") > monotonic, "{line}");
    let to_stderr = run(command(&[], "stamp").arg("2"));
    assert!(to_stderr.stderr.starts_with("{\"stamp_ns\":") && to_stderr.raw.is_empty());
    assert_eq!(run(command(&[], "stamp").arg("77")).code(), Some(125));
    assert_eq!(run(command(&[], "stamp").arg("x")).code(), Some(125));
}

#[test]
fn keyrings_locks_and_labels_answer() {
    let answers = probe(&json!([
        { "ask": "keyring" }, { "ask": "mlock", "bytes": 4096 }, { "ask": "label" }, { "ask": "id_maps" },
        { "ask": "uname" }, { "ask": "prctl", "option": 3 }, { "ask": "prctl", "option": 99_999 },
    ]));
    let description = answers.ok(0)["description"].as_str().expect("text");
    assert!(description.starts_with("keyring;"), "{description}");
    assert_eq!(answers.ok(1)["bytes"], 4096);
    assert!(answers.ok(2)["current"].is_object());
    let map = std::fs::read_to_string("/proc/self/uid_map").expect("read");
    let row: Vec<u64> = map.split_whitespace().take(3).filter_map(|n| n.parse().ok()).collect();
    assert_eq!(answers.ok(3)["uid_map"][0], json!(row));
    assert_eq!(answers.ok(4)["sysname"], "Linux");
    assert_eq!(answers.ok(5)["ret"], 1, "PR_GET_DUMPABLE");
    assert_eq!(answers.errno(6), 22);
}

#[test]
fn kernel_settings_and_keys() {
    let path = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).expect("read");
    let answers = probe(&json!([
        { "ask": "sysctl", "name": "kernel.pid_max" }, { "ask": "sysctl", "name": "kernel/hostname" },
        { "ask": "sysctl", "name": "no.such" }, { "ask": "key", "id": -3 }, { "ask": "key", "id": 1 },
        { "ask": "statfs", "path": "/proc" }, { "ask": "mount_id", "path": "/proc" }, { "ask": "mounts" },
    ]));
    assert_eq!(answers.ok(0)["value"], path("kernel/pid_max").trim());
    assert_eq!(answers.ok(1)["value"], path("kernel/hostname").trim());
    assert_eq!(answers.errno(2), 2);
    assert!(answers.ok(3)["description"].as_str().is_some_and(|text| text.starts_with("keyring;")));
    assert!(answers.errno(4) > 0);
    assert_eq!(answers.ok(5)["type"], "0x9fa0");
    let mounts = answers.ok(7)["mounts"].as_array().expect("list");
    let proc = mounts.iter().rfind(|mount| mount["mountpoint"] == "/proc").expect("/proc");
    assert_eq!(proc["id"], answers.ok(6)["mount_id"]);
    let lines = std::fs::read_to_string("/proc/self/mountinfo").expect("read").lines().count();
    assert_eq!(mounts.len(), lines);
}
