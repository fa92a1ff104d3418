//! The operations of runtime.md on a real container.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;
use common::{bench, text};
use serde_json::json;
use std::process::Command;

#[test]
fn create_start_kill_delete() {
    let Some(b) = bench() else { return };
    b.write(&b.config("trap 'exit 7' TERM; touch /started; while :; do sleep 0.05; done"));
    assert!(b.create().status.success());
    let state = b.state();
    assert_eq!((&state["status"], &state["id"]), (&json!("created"), &json!(b.id)));
    assert!(!b.bundle().join("rootfs/started").exists(), "the program ran during create");
    b.fails(&["create", "--bundle", &b.bundle_arg(), &b.id]);
    b.fails(&["delete", &b.id]);
    b.ok(&["start", &b.id]);
    assert_eq!(b.state()["status"], "running");
    b.fails(&["start", &b.id]);
    b.fails(&["delete", &b.id]);
    while !b.bundle().join("rootfs/started").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    b.ok(&["kill", &b.id, "SIGTERM"]);
    b.wait_status("stopped");
    assert!(b.fails(&["kill", &b.id]).contains("container not running"));
    b.ok(&["delete", &b.id]);
    assert!(b.fails(&["state", &b.id]).contains("does not exist"));
    assert_eq!(b.leftovers(), Vec::<String>::new());
}

#[test]
fn run_passes_the_exit_status_and_output() {
    let Some(b) = bench() else { return };
    let output = b.run(&b.config("echo hello; id -u; exit 9"));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(9), "hello\n0\n".into()));
    assert_eq!(b.leftovers(), Vec::<String>::new());
}

#[test]
fn the_pid_file_is_replaced_whole_and_a_pipe_stays_one() {
    let Some(b) = bench() else { return };
    b.write(&b.config("true"));
    let pipe = b.dir.path().join("pid");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let create = ["create", "--bundle", &b.bundle_arg(), "--pid-file", pipe.to_str().unwrap(), &b.id];
    assert!(b.fails(&create).contains("--pid-file"), "a pipe without a reader is an error, not a hang");
    assert_eq!(b.leftovers(), Vec::<String>::new());
    let mut reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    b.ok(&create);
    let mut text = [0; 32];
    let read = std::io::Read::read(&mut reader, &mut text).unwrap();
    assert_eq!(std::str::from_utf8(&text[..read]).unwrap(), b.state()["pid"].to_string());
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&std::fs::metadata(&pipe).unwrap().file_type()));
    b.ok(&["delete", "--force", &b.id]);
    assert_eq!(b.leftovers(), Vec::<String>::new());
}

#[test]
fn only_the_standard_streams_get_through() {
    let Some(b) = bench() else { return };
    let output =
        b.run(&b.config("for i in /proc/self/fd/*; do readlink $i >/dev/null && echo $i; done | grep -c ."));
    // 0, 1, 2 and nothing else: the directory of the listing itself is gone when it is read.
    assert!(text(&output.stdout).trim().parse::<u32>().unwrap() <= 4, "{output:?}");
}

#[test]
fn hooks_run_in_order_with_the_state() {
    let Some(b) = bench() else { return };
    let log = b.dir.path().join("log");
    let script = b.dir.path().join("hook");
    let text = format!("#!/bin/sh\necho \"$1 $(cat)\" >> {}\n", log.display());
    std::fs::write(b.dir.path().join("text"), text).unwrap();
    // By a child: what another test forks must not hold it open for writing when it is executed.
    let copied = Command::new("install")
        .args(["-m", "755"])
        .arg(b.dir.path().join("text"))
        .arg(&script)
        .status()
        .unwrap();
    assert!(copied.success());
    let mut config = b.config("true");
    for name in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        config["hooks"][name] =
            json!([{ "path": script, "args": ["hook", name], "env": ["PATH=/usr/bin:/bin"] }]);
    }
    let output = b.run(&config);
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(&log).unwrap();
    let names: Vec<&str> = text.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]);
    let states: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(l.split_once(' ').unwrap().1).unwrap()).collect();
    assert!(states.iter().all(|s| s["id"] == b.id && s["ociVersion"] == "1.3.0"));
    assert_eq!(states[2]["pid"], 1);
    assert_eq!(states[4]["status"], "stopped");
}

#[test]
fn a_failing_hook_takes_everything_back() {
    let Some(b) = bench() else { return };
    for list in ["prestart", "createRuntime", "createContainer"] {
        let mut config = b.config("true");
        config["hooks"][list] = json!([{ "path": "/bin/false" }]);
        b.write(&config);
        let output = b.create();
        assert!(!output.status.success(), "{list}");
        assert_eq!(b.leftovers(), Vec::<String>::new(), "{list}");
    }
}

#[test]
fn a_hook_past_its_time_is_killed_with_its_group() {
    let Some(b) = bench() else { return };
    let mut config = b.config("true");
    config["hooks"]["createRuntime"] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "sleep 30 & sleep 30"], "env": ["PATH=/usr/bin:/bin"], "timeout": 1 }]);
    b.write(&config);
    let before = std::time::Instant::now();
    let output = b.create();
    assert!(!output.status.success() && text(&output.stderr).contains("timed out"), "{output:?}");
    assert!(before.elapsed() < std::time::Duration::from_secs(15));
}

#[test]
fn exec_joins_the_container() {
    let Some(b) = bench() else { return };
    b.write(&b.config("sleep 100"));
    b.ok(&["run", "--detach", "--bundle", &b.bundle_arg(), &b.id]);
    let own = b.ok(&["exec", &b.id, "sh", "-c", "for n in mnt pid net; do readlink /proc/self/ns/$n; done"]);
    let pid = b.state()["pid"].as_i64().unwrap();
    for (line, name) in own.lines().zip(["mnt", "pid", "net"]) {
        assert_eq!(line, std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().to_str().unwrap());
    }
    let output = b.call(&[
        "exec",
        "--user",
        "12:34",
        "--env",
        "A=b",
        "--cwd",
        "/tmp",
        &b.id,
        "sh",
        "-c",
        "id -u; id -g; echo $A; echo $PWD; exit 5",
    ]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(5), "12\n34\nb\n/tmp\n".into()));
    assert_eq!(b.call(&["exec", &b.id, "/nonexistent"]).status.code(), Some(255));
}

#[test]
fn the_runtimes_program_cannot_be_written_from_inside() {
    let Some(b) = bench() else { return };
    b.write(&b.config("true"));
    assert!(b.create().status.success());
    let pid = b.state()["pid"].as_i64().unwrap();
    let exe = rustix::fs::statvfs(format!("/proc/{pid}/exe")).unwrap();
    assert!(exe.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
}

#[test]
fn symlinks_of_the_image_stay_inside() {
    let Some(b) = bench() else { return };
    let canary = b.dir.path().join("canary");
    std::fs::create_dir(&canary).unwrap();
    let rootfs = b.bundle().join("rootfs");
    std::os::unix::fs::symlink(&canary, rootfs.join("a")).unwrap();
    std::os::unix::fs::symlink("../../../canary", rootfs.join("c")).unwrap();
    let mut config = b.config("true");
    let mounts = config["mounts"].as_array_mut().unwrap();
    for destination in ["/a", "/a/deep/er", "/c", "/c/x"] {
        mounts.push(json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" }));
    }
    let _ = b.run(&config);
    assert_eq!(std::fs::read_dir(&canary).unwrap().count(), 0);
}

#[test]
fn network_devices_move_in_and_come_back_after_a_failure() {
    let Some(b) = bench() else { return };
    let name = format!("plt{}", std::process::id() % 100_000);
    let peer = format!("{name}p");
    let ip = |args: &[&str]| Command::new("ip").args(args).output().is_ok_and(|o| o.status.success());
    if !ip(&["link", "add", &name, "type", "veth", "peer", "name", &peer]) {
        assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "needs ip and veth devices");
        return;
    }
    assert!(ip(&["addr", "add", "10.111.222.1/30", "dev", &name]));
    let here = || std::path::Path::new("/sys/class/net").join(&name).exists();
    let mut config = b.config("cat /proc/net/dev; cat /proc/net/fib_trie");
    for (inside, mounts) in
        [("lo", json!([])), ("eth7", json!([{ "destination": "/m", "type": "nosuchfs" }]))]
    {
        let mut broken = config.clone();
        broken["linux"]["netDevices"] = json!({ &name: { "name": inside } });
        broken["mounts"] = mounts;
        let output = b.run(&broken);
        assert!(!output.status.success() && here(), "{output:?}");
    }
    config["linux"]["netDevices"] = json!({ &name: { "name": "eth7" } });
    let output = b.run(&config);
    let shown = text(&output.stdout);
    let gone = !here();
    ip(&["link", "del", &peer]);
    assert!(shown.contains("eth7:") && shown.contains("10.111.222.1") && gone, "{output:?}");
}
