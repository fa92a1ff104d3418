//! Signals, waiting, ends, children, init.
mod common;

use common::{Live, command, is_root, probe, program, run, script, works};
use serde_json::{Value, json};

#[test]
fn exit_codes_and_deaths() {
    for code in [0, 3, 255] {
        assert_eq!(probe(&json!([{ "do": "exit", "code": code }])).code(), Some(code));
    }
    for (name, number) in [("SIGKILL", 9), ("TERM", 15), ("segv", 11), ("SIGRTMIN+3", 37), ("6", 6)] {
        let answers = probe(&json!([{ "do": "die", "signal": name }]));
        assert_eq!(answers.signal(), Some(number), "{name}");
    }
    assert_eq!(probe(&json!([{ "do": "die", "signal": "CHLD" }])).code(), Some(124), "ignored by default");
    let ignored = common::under(
        &["sh", "-c", "trap '' TERM; exec \"$0\" \"$@\""],
        &json!([{ "do": "die", "signal": 15 }]),
    );
    assert_eq!(ignored.signal(), Some(15), "even where the parent ignored it");
    let bad = probe(
        &json!([{ "do": "die", "signal": "SIGWRONG" }, { "do": "die" }, { "do": "die", "signal": 65 }]),
    );
    assert_eq!((bad.errno(0), bad.errno(1), bad.errno(2), bad.code()), (22, 22, 22, Some(0)));
}

#[test]
fn nothing_after_an_end_is_answered() {
    let answers = run(&mut command(&[], script(&json!([{ "do": "exit", "code": 4 }, { "ask": "umask" }]))));
    assert_eq!(answers.lines.len(), 2, "{answers:?}");
    assert_eq!((&answers.lines[1]["done"], answers.code()), (&json!(2), Some(4)));
}

#[test]
fn executes_itself_anew() {
    let second = json!({ "nonce": "second", "steps": [{ "ask": "argv" }, { "ask": "identity" }, { "do": "exit", "code": 6 }] });
    let answers = run(&mut command(
        &[],
        script(&json!([{ "ask": "identity" }, { "do": "exec_self", "script": second }])),
    ));
    assert_eq!(answers.code(), Some(6));
    let by = |nonce: &str| answers.lines.iter().filter(|l| l["nonce"] == nonce).cloned().collect::<Vec<_>>();
    assert_eq!((by("n").len(), by("second").len()), (3, 4));
    assert_eq!(by("n")[0]["ok"]["pid"], by("second")[1]["ok"]["pid"]);
    let other = run(&mut command(
        &[],
        script(&json!([{ "do": "exec_self", "path": "/bin/sh", "argv": ["sh", "-c", "exit 8"] }])),
    ));
    assert_eq!(other.code(), Some(8));
    let none = run(&mut command(
        &[],
        script(&json!([{ "do": "exec_self", "path": "/nonexistent", "argv": ["x"] }])),
    ));
    assert_eq!(none.code(), Some(126));
    assert!(none.stderr.contains("ENOENT"), "{}", none.stderr);
}

#[test]
fn waiting_for_one_signal() {
    let mut live =
        Live::steps(&json!([{ "do": "wait", "signals": ["USR1", "RTMIN+2"], "timeout_ms": 30_000 }]));
    assert_eq!(live.next()["event"]["ready"], true);
    live.signal("RTMIN+2");
    let arrived = live.next()["ok"].clone();
    assert_eq!(
        (&arrived["signal"], &arrived["number"], &arrived["code"]),
        (&json!("SIGRTMIN+2"), &json!(36), &json!(0))
    );
    assert!(arrived["pid"].as_i64().is_some_and(|pid| pid > 0), "{arrived}");
    assert_eq!(arrived["uid"], common::ask("identity")["uid"]);
    let late = probe(&json!([{ "do": "wait", "signals": "USR1", "timeout_ms": 50 }]));
    assert_eq!(late.errno(0), 110);
}

#[test]
fn every_signal_is_reported_until_the_last() {
    let mut live = Live::steps(&json!([
        { "do": "signals", "catch": ["HUP", "USR1", "USR2"], "timeout_ms": 30_000 },
        { "do": "signals", "catch": "HUP", "until": 2, "timeout_ms": 30_000 },
        { "do": "signals", "catch": "HUP", "until": "USR1", "timeout_ms": 50 },
    ]));
    assert_eq!(live.next()["event"]["ready"], true);
    for signal in ["SIGUSR1", "SIGHUP", "SIGTERM"] {
        live.signal(signal);
        assert_eq!(live.next()["event"]["signal"], signal);
    }
    assert_eq!(
        live.next()["ok"],
        json!({ "count": 3, "signals": ["SIGUSR1", "SIGHUP", "SIGTERM"], "timed_out": false })
    );
    assert_eq!(live.next()["event"]["ready"], true);
    live.signal("HUP");
    assert_eq!(live.next()["event"]["signal"], "SIGHUP");
    live.signal("HUP");
    assert_eq!(live.next()["event"]["signal"], "SIGHUP");
    assert_eq!(live.next()["ok"]["count"], 2);
    assert_eq!(live.next()["event"]["ready"], true);
    assert_eq!(live.next()["ok"], json!({ "count": 0, "signals": [], "timed_out": true }));
    assert_eq!(live.next()["done"], 3);
}

#[test]
fn pausing_answers_first() {
    let mut live = Live::steps(&json!([{ "do": "pause_forever" }]));
    assert_eq!(live.next()["ok"]["ready"], true);
    assert_eq!(live.next()["done"], 1, "before it waits");
    live.signal("TERM");
    assert_eq!(live.end().code(), Some(0));

    let mut stubborn = Live::steps(&json!([{ "do": "pause_forever", "ignore": "TERM" }]));
    stubborn.next();
    stubborn.next();
    stubborn.signal("TERM");
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(stubborn.child.try_wait().expect("wait").is_none(), "TERM was ignored");
    stubborn.signal("KILL");
    assert_eq!(stubborn.end().code(), None);

    let mut chosen = Live::steps(&json!([{ "do": "pause_forever", "on": ["USR1", "INT"], "code": 42 }]));
    chosen.next();
    chosen.next();
    chosen.signal("INT");
    assert_eq!(chosen.end().code(), Some(42));

    let passing = probe(&json!([{ "do": "pause_forever", "timeout_ms": 20 }, { "ask": "umask" }]));
    passing.ok(0);
    passing.ok(1);
}

#[test]
fn files_are_waited_for() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("go");
    let mut live = Live::steps(&json!([
        { "do": "wait_file", "path": path, "timeout_ms": 30_000 },
        { "do": "wait_file", "path": path, "gone": true, "timeout_ms": 30_000 },
        { "do": "wait_file", "path": path, "timeout_ms": 20 },
    ]));
    std::fs::write(&path, "").expect("write");
    assert!(live.next()["ok"]["waited_ms"].is_number());
    std::fs::remove_file(&path).expect("remove");
    assert!(live.next()["ok"]["waited_ms"].is_number());
    assert_eq!(live.next()["errno"], 110);
    let slept = probe(&json!([{ "ask": "time" }, { "do": "sleep", "ms": 30 }, { "ask": "time" }]));
    let ns = |i: usize| slept.ok(i)["monotonic_ns"].as_i64().expect("ns");
    assert!(ns(2) - ns(0) >= 30_000_000);
}

#[test]
fn programs_are_run_and_reported() {
    let sh = |text: &str| json!({ "ask": "exec", "path": "/bin/sh", "argv": ["sh", "-c", text], "stdin": "in", "max": 100 });
    let answers = probe(&json!([
        sh("cat; echo err >&2; exit 3"), sh("kill -9 $$"), sh("yes | head -c 300000"),
        { "ask": "exec", "path": "/nonexistent" }, { "ask": "exec", "path": "/etc/passwd" },
        { "ask": "exec", "path": "/bin/sleep", "argv": ["sleep", "60"], "timeout_ms": 100 },
        { "ask": "exec", "path": "/usr/bin/env", "argv": ["env"], "env": ["ONLY=1"] },
        { "ask": "exec", "path": "/bin/true", "stdin": "never read" }, { "ask": "fds" },
    ]));
    let before = common::ask("fds")["fds"].as_array().map(Vec::len);
    let first = answers.ok(0);
    assert_eq!((&first["code"], &first["signal"]), (&json!(3), &Value::Null));
    assert_eq!((&first["stdout"]["data"], &first["stderr"]["data"]), (&json!("in"), &json!("err\n")));
    assert_eq!((&answers.ok(1)["code"], &answers.ok(1)["signal"]), (&Value::Null, &json!("SIGKILL")));
    let long = answers.ok(2);
    assert_eq!(
        (&long["code"], &long["stdout"]["bytes"], &long["truncated"]),
        (&json!(0), &json!(100), &json!(true))
    );
    assert_eq!((answers.errno(3), answers.errno(4)), (2, 13));
    assert_eq!((&answers.ok(5)["timed_out"], &answers.ok(5)["signal"]), (&json!(true), &json!("SIGKILL")));
    assert_eq!(answers.ok(6)["stdout"]["data"], "ONLY=1\n");
    assert_eq!(answers.ok(7)["code"], 0);
    assert_eq!(answers.ok(8)["fds"].as_array().map(Vec::len), before, "nothing stays open");
}

#[test]
fn system_calls() {
    let call = |name: &str, args: Value| json!({ "ask": "syscall", "name": name, "args": args });
    let answers = probe(&json!([
        call("getpid", json!([])), call("mkdir", json!(["/", 0o755])), call("kill", json!([0, 0])),
        call("reboot", json!([1, 2, 3])), call("getcwd", json!([{ "buf": 1 }, 1])), call("openat", json!([-100, "/", 0])),
        call("nosuchcall", json!([])), { "ask": "syscall", "nr": 999_999 }, call("getpid", json!([1.5])),
        call("fork", json!([])), { "ask": "syscall", "name": "kill", "args": [0], "fork": true },
        { "ask": "identity" }, call("getpid", json!([0, 0, 0, 0, 0, 0, 0])),
    ]));
    assert_eq!(answers.ok(0)["ret"], answers.ok(11)["pid"]);
    assert_eq!(*answers.ok(1), json!({ "ret": -1, "errno": 17, "error": "EEXIST", "signal": null }));
    assert_eq!(
        (&answers.ok(2)["ret"], &answers.ok(2)["errno"], &answers.ok(2)["error"]),
        (&json!(0), &json!(0), &Value::Null)
    );
    assert!([1, 22].contains(&answers.ok(3)["errno"].as_i64().expect("errno")), "not rebooted");
    assert_eq!(answers.ok(4)["error"], "ERANGE");
    assert!(answers.ok(5)["ret"].as_i64().expect("fd") > 2);
    assert_eq!((answers.errno(6), answers.errno(8), answers.errno(12)), (22, 22, 22));
    assert_eq!(answers.ok(7)["error"], "ENOSYS");
    assert!(answers.ok(9)["ret"].as_i64().expect("pid") > 1, "the second process has ended");
    assert_eq!(answers.ok(10)["errno"], 0);
}

#[test]
fn a_kill_by_a_filter_is_reported_not_suffered() {
    // Strict seccomp mode in a child: its next call (getpid of the probe itself) is its death.
    let strict = json!({ "ask": "syscall", "name": "prctl", "args": [22, 1], "fork": true });
    let answers = probe(&json!([strict, { "ask": "seccomp" }]));
    assert_eq!(answers.ok(0)["signal"], "SIGKILL", "{:?}", answers.ok(0));
    assert_eq!(answers.ok(1)["mode"], 0, "the probe itself is untouched");
}

#[test]
fn children_run_scripts() {
    let child = json!({ "steps": [{ "ask": "identity" }, { "do": "exit", "code": 5 }] });
    let steps = json!([
        { "do": "spawn", "count": 3, "script": child, "wait": true, "timeout_ms": 30_000 },
        { "do": "spawn", "script": { "nonce": "own", "steps": [{ "do": "sleep", "ms": 60_000 }] }, "wait": true, "timeout_ms": 50 },
        { "ask": "identity" }, { "do": "spawn", "script": { "steps": 1 } }, { "do": "spawn" },
        { "do": "spawn", "count": 1_000_000, "script": child },
    ]);
    let mut live = Live::steps(&steps);
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &Value| line["nonce"] != "n" || line["done"].is_null()) {
        lines.push(live.next());
    }
    let of = |nonce: &str| lines.iter().filter(|line| line["nonce"] == nonce).collect::<Vec<_>>();
    let ok = |i: usize| of("n").into_iter().find(|line| line["i"] == i).expect("answer").clone();
    let children = ok(0)["ok"]["children"].as_array().expect("list").clone();
    assert!(children.len() == 3 && children.iter().all(|child| child["code"] == 5), "{children:?}");
    for (k, child) in children.iter().enumerate() {
        let lines = of(&format!("n.{k}"));
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0]["ok"]["pid"], child["pid"]);
        assert_eq!(lines[0]["ok"]["ppid"], ok(2)["ok"]["pid"]);
    }
    let late = ok(1)["ok"]["children"][0].clone();
    assert_eq!(late["timed_out"], true);
    probe(&json!([{ "do": "kill", "pid": late["pid"], "signal": "KILL" }])).ok(0);
    assert!([3, 4, 5].iter().all(|i| ok(*i)["errno"] == 22));
}

#[test]
fn init_reaps_forwards_and_passes_the_status_on() {
    let wrapper = ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child"];
    if !is_root() || !works(&wrapper) {
        return;
    }
    let child = json!({ "steps": [
        { "do": "fork_orphans", "count": 4, "ms": 20 }, { "ask": "identity" }, { "ask": "procs" }, { "do": "sleep", "ms": 200 },
        { "do": "exit", "code": 7 },
    ] });
    let answers = run(&mut command(&wrapper, script(&json!([{ "do": "init", "script": child }]))));
    assert_eq!(answers.code(), Some(7), "{answers:?}");
    let init =
        answers.lines.iter().find(|l| l["nonce"] == "n" && l.get("ok").is_some()).expect("init's answer");
    assert_eq!(init["ok"]["reaped"], 5, "four orphans and the child: {init}");
    assert_eq!((&init["ok"]["child"]["code"], &init["ok"]["child"]["pid"]), (&json!(7), &json!(2)));
    let identity =
        answers.lines.iter().find(|l| l["nonce"] == "n.0" && l["step"] == "identity").expect("identity");
    assert_eq!((&identity["ok"]["pid"], &identity["ok"]["ppid"]), (&json!(2), &json!(1)));

    let pausing = json!({ "steps": [{ "do": "pause_forever", "on": ["TERM", "USR2"], "code": 33, "timeout_ms": 30_000 }] });
    let mut live = Live::steps(&json!([{ "do": "init", "script": pausing, "timeout_ms": 30_000 }]));
    // The init's event and the child's two lines, in whatever order.
    let first: Vec<Value> = (0..3).map(|_| live.next()).collect();
    assert!(first.iter().any(|line| line["event"]["ready"] == true), "{first:?}");
    assert!(first.iter().any(|line| line["ok"]["ready"] == true), "{first:?}");
    live.signal("USR2");
    let line = live.next();
    assert_eq!((&line["ok"]["forwarded"], &line["ok"]["child"]["code"]), (&json!(["SIGUSR2"]), &json!(33)));
    assert_eq!(live.next()["done"], 1);
    assert_eq!(live.end().code(), Some(33));
    let nested = json!({ "do": "init", "script": { "nonce": "c", "steps": [] }, "exit": false });
    let going_on = run(&mut command(&[], script(&json!([nested, { "do": "exit", "code": 2 }]))));
    assert_eq!((going_on.lines.len(), going_on.code()), (5, Some(2)));
    let answer = going_on.lines.iter().find(|line| line["step"] == "init" && line.get("ok").is_some());
    assert_eq!(answer.expect("init's answer")["ok"]["child"]["code"], 0);
}

#[test]
fn zombies_and_orphans() {
    let answers = probe(&json!([
        { "do": "zombies", "count": 3 }, { "ask": "procs" }, { "do": "fork_orphans", "count": 2, "ms": 1 }, { "ask": "identity" },
    ]));
    let own = &answers.ok(3)["pid"];
    let procs = answers.ok(1)["procs"].as_array().expect("list");
    let dead = procs.iter().filter(|p| p["ppid"] == *own && p["state"] == "Z").count();
    assert_eq!(dead, 3);
    assert_eq!(answers.ok(2)["pids"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_pause_container() {
    let mut live = Live::start(&mut command(&[], "stamp-pause"));
    assert!(live.next()["stamp_ns"].is_number());
    live.signal("TERM");
    assert_eq!(live.end().code(), Some(0));
    let wrapper = ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child"];
    if !is_root() || !works(&wrapper) {
        return;
    }
    // As PID 1 it reaps what others leave: their parent, the shell, has gone.
    let text = format!(
        "({0} '{1}') & exec {0} pause",
        program(),
        json!({ "steps": [{ "do": "fork_orphans", "count": 3 }] })
    );
    let mut words = wrapper.to_vec();
    words.extend(["sh", "-c", &text]);
    let mut started = std::process::Command::new(words[0]);
    let mut live = Live::start(started.args(&words[1..]));
    assert_eq!(live.next()["ok"]["pids"].as_array().map(Vec::len), Some(3));
    assert_eq!(live.next()["done"], 1);
    let init = child_of(live.pid());
    probe(&json!([{ "do": "wait_file", "path": format!("/proc/{init}/task/{init}/children") }])).ok(0);
    let start = std::time::Instant::now();
    while !std::fs::read_to_string(format!("/proc/{init}/task/{init}/children"))
        .expect("read")
        .trim()
        .is_empty()
    {
        assert!(start.elapsed() < common::DEADLINE, "zombies stay");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    probe(&json!([{ "do": "kill", "pid": init, "signal": "INT" }])).ok(0);
    assert_eq!(live.end().code(), Some(0));
}

/// The one child of a process.
fn child_of(pid: u32) -> i64 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("read");
    children.trim().parse().expect("one child")
}

#[test]
fn memory_and_cpu_are_used() {
    let mut live = Live::steps(&json!([
        { "do": "hold_memory", "bytes": 20_000_000, "timeout_ms": 30_000 },
        { "do": "hold_memory", "bytes": 8_000_000, "keep": true },
        { "ask": "read", "path": "/proc/self/status" }, { "do": "burn_cpu", "ms": 100 },
        { "do": "hold_memory", "bytes": 1_099_511_627_776_i64, "touch": false, "timeout_ms": 1 },
    ]));
    assert_eq!(live.next()["event"]["bytes"], 20_000_000);
    let resident = |text: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("number")
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", live.pid())).expect("read");
    assert!(resident(&status) > 19_000, "{status}");
    live.signal("TERM");
    assert_eq!(live.next()["ok"]["terminated"], true);
    assert_eq!(live.next()["ok"]["kept"], true);
    let kept = resident(live.next()["ok"]["data"].as_str().expect("text"));
    assert!((7_000..19_000).contains(&kept), "{kept}");
    let burnt = live.next()["ok"].clone();
    assert!(
        burnt["wall_ns"].as_i64().expect("ns") >= 100_000_000
            && burnt["cpu_ns"].as_i64().expect("ns") > 1_000_000
    );
    let huge = live.next();
    assert!(huge["errno"] == 12 || huge["ok"]["touched"] == false, "{huge}");
}

#[test]
fn identity_can_be_changed() {
    if !is_root() {
        return;
    }
    let answers = probe(&json!([
        { "do": "setgroups", "groups": [7, 8] }, { "do": "setgid", "gid": 77, "egid": 78 },
        { "do": "setuid", "uid": 1000 }, { "ask": "identity" }, { "do": "setuid", "uid": 0 }, { "do": "setsid" },
        { "do": "set_umask", "mask": "0077" }, { "ask": "umask" }, { "do": "set_rlimit", "resource": "RLIMIT_NOFILE", "cur": 64, "max": 128 },
        { "ask": "rlimits" }, { "do": "setgroups", "groups": ["x"] }, { "do": "set_rlimit", "resource": "X", "cur": 1, "max": 1 },
    ]));
    let facts = answers.ok(3);
    assert_eq!(
        (&facts["uid"], &facts["gid"], &facts["egid"], &facts["groups"]),
        (&json!(1000), &json!(77), &json!(78), &json!([7, 8]))
    );
    assert_eq!(answers.errno(4), 1);
    assert!(answers.ok(5)["sid"].is_number());
    assert_eq!(answers.ok(7)["octal"], "0077");
    assert_eq!(answers.ok(9)["RLIMIT_NOFILE"], json!({ "cur": 64, "max": 128 }));
    assert_eq!((answers.errno(10), answers.errno(11)), (22, 22));
}

#[test]
fn what_blocks_is_interrupted() {
    let answers = probe(&json!([
        { "ask": "sigstate" },
        { "ask": "syscall", "name": "pause", "timeout_ms": 50 },
        { "ask": "syscall", "name": "wait4", "args": [-1, null, 0], "timeout_ms": 50 },
        { "ask": "umask", "timeout_ms": "soon" }, { "ask": "umask", "timeout_ms": 3_600_001 },
        { "ask": "syscall", "name": "pause", "fork": true, "timeout_ms": 100 },
        { "ask": "sigstate" }, { "ask": "syscall", "name": "pause", "timeout_ms": 0 },
    ]));
    assert_eq!(answers.errno(7), 110);
    assert_eq!(answers.errno(1), 110, "{}", answers.line(1));
    assert_eq!(answers.ok(2)["error"], "ECHILD");
    assert_eq!((answers.errno(3), answers.errno(4)), (22, 22));
    assert_eq!(answers.errno(5), 110);
    assert_eq!(answers.ok(0), answers.ok(6), "the alarm leaves no trace");
}
