//! `--systemd-cgroup` with a real systemd: it runs as the first process of a container of its own, and the runtime
//! inside of that.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod common;
use common::{Bench, RUNTIME, bench, text};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// Where the runtime inside keeps its states.
const STATES: &str = "/run/states";

/// A container with the host's files, read-only, in which systemd runs and does nothing.
fn manager(b: &Bench) -> Value {
    let mount = |to: &str, kind: &str, options: Value| json!({ "destination": to, "type": kind, "source": kind, "options": options });
    let caps: Vec<String> = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_ADMIN",
        "SYS_ADMIN",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "MKNOD",
        "BPF",
    ]
    .map(|c| format!("CAP_{c}"))
    .into();
    let units = b.dir.path().join("units");
    std::fs::create_dir(&units).unwrap();
    std::fs::write(units.join("idle.target"), "[Unit]\nDescription=nothing to do\n").unwrap();
    let kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "args": [SYSTEMD, "--system", "--unit=idle.target"], "cwd": "/", "user": { "uid": 0, "gid": 0 },
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=oci", "SYSTEMD_UNIT_PATH=/run/units"],
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps }
        },
        "root": { "path": "/", "readonly": true },
        "mounts": [
            mount("/proc", "proc", json!([])),
            mount("/dev", "tmpfs", json!(["nosuid", "mode=755", "size=65536k"])),
            mount("/dev/pts", "devpts", json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"])),
            mount("/sys", "sysfs", json!(["nosuid", "noexec", "nodev", "ro"])),
            mount("/sys/fs/cgroup", "cgroup", json!(["nosuid", "noexec", "nodev"])),
            mount("/run", "tmpfs", json!(["mode=755"])),
            { "destination": "/run/units", "source": units, "options": ["bind", "ro"] }
        ],
        "linux": {
            "cgroupsPath": format!("/{}", b.id), "namespaces": kinds.map(|kind| json!({ "type": kind })),
            "resources": { "devices": [{ "allow": true, "access": "rwm" }] }
        }
    })
}

/// A command inside.
fn inside(b: &Bench, words: &[&str]) -> Output {
    b.call(&[&["exec", b.id.as_str()], words].concat())
}

fn said(b: &Bench, words: &[&str]) -> String {
    let output = inside(b, words);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The runtime inside, with the driver under test.
fn runtime(b: &Bench, words: &[&str]) -> Output {
    inside(b, &[&[RUNTIME, "--root", STATES, "--systemd-cgroup"], words].concat())
}

/// systemd as a container, ready; `None`, said aloud, where that does not work.
fn booted() -> Option<Bench> {
    let b = bench()?;
    if !Path::new(SYSTEMD).exists() {
        println!("SKIP: needs systemd");
        return None;
    }
    b.write(&manager(&b));
    b.ok(&["run", "--detach", "--bundle", &b.bundle_arg(), &b.id]);
    let end = Instant::now() + Duration::from_secs(60);
    while !inside(&b, &["/bin/systemctl", "is-active", "idle.target"]).status.success() {
        if Instant::now() > end || b.state()["status"] == "stopped" {
            println!("SKIP: systemd does not start in a container here");
            return None;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Some(b)
}

#[test]
fn a_scope_is_made_changed_and_removed() {
    let Some(b) = booted() else { return };
    let bundle = b.dir.path().join("inner");
    std::fs::create_dir(&bundle).unwrap();
    let mut config = b.config("sleep 300");
    config["root"] = json!({ "path": b.bundle().join("rootfs"), "readonly": true });
    config["linux"]["cgroupsPath"] = json!("one-two.slice:cri:c1");
    config["linux"]["resources"] = json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 20 } });
    std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();

    let made = runtime(&b, &["run", "--detach", "--bundle", bundle.to_str().unwrap(), "c1"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let state: Value = serde_json::from_slice(&runtime(&b, &["state", "c1"]).stdout).unwrap();
    let places = said(&b, &["/bin/cat", &format!("/proc/{}/cgroup", state["pid"])]);
    assert!(
        places.lines().all(|l| l.ends_with("/one.slice/one-two.slice/cri-c1.scope")),
        "in every hierarchy: {places}"
    );
    let show =
        |name: &str| said(&b, &["/bin/systemctl", "show", "--value", "--property", name, "cri-c1.scope"]);
    assert_eq!(show("ActiveState").trim(), "active");
    assert_eq!(show("TasksMax").trim(), "20");
    assert_eq!(show("MemoryMax").trim(), "67108864");

    assert!(runtime(&b, &["update", "--memory", "33554432", "c1"]).status.success());
    assert_eq!(show("MemoryMax").trim(), "33554432");
    let own = runtime(&b, &["exec", "c1", "cat", "/proc/self/cgroup"]);
    assert!(text(&own.stdout).lines().all(|l| l.ends_with("cri-c1.scope")), "{}", text(&own.stdout));

    // The name is taken as long as the scope is there.
    assert!(!runtime(&b, &["create", "--bundle", bundle.to_str().unwrap(), "c2"]).status.success());
    assert!(!inside(&b, &["/bin/ls", &format!("{STATES}/c2")]).status.success());

    assert!(runtime(&b, &["delete", "--force", "c1"]).status.success());
    let left = said(&b, &["/usr/bin/find", "/sys/fs/cgroup", "-name", "cri-c1.scope"]);
    assert_eq!(left, "");
    assert_ne!(show("ActiveState").trim(), "active");
    b.ok(&["delete", "--force", &b.id]);
    assert_eq!(b.leftovers(), Vec::<String>::new());
}

#[test]
fn without_systemd_the_error_says_so_and_nothing_is_left() {
    let Some(b) = bench() else { return };
    if Path::new("/run/systemd/private").exists() {
        return println!("SKIP: this host has a systemd");
    }
    let mut config = b.config("true");
    config["linux"]["cgroupsPath"] = json!("system.slice:cri:c1");
    b.write(&config);
    let error = b.fails(&["--systemd-cgroup", "create", "--bundle", &b.bundle_arg(), &b.id]);
    assert!(error.contains("no systemd answers") && error.contains("cgroupfs"), "{error}");
    assert_eq!(b.leftovers(), Vec::<String>::new());
    config["linux"]["cgroupsPath"] = json!("/not/of/systemd");
    b.write(&config);
    let error = b.fails(&["--systemd-cgroup", "create", "--bundle", &b.bundle_arg(), &b.id]);
    assert!(error.contains("slice:prefix:name"), "{error}");
    assert_eq!(b.leftovers(), Vec::<String>::new());
}
