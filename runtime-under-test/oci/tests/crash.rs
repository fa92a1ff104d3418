//! A runtime killed at any moment: `delete --force` cleans what it left.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;
use common::bench;
use std::process::Stdio;
use std::time::Duration;

/// Kills the runtime after a delay and force-deletes; the container's processes are found by a marker in
/// their environment-free way: the id in the cgroup and the state directory.
fn killed_after(verb: &[&str], micros: u64) {
    let Some(b) = bench() else { return };
    let mut config = b.config("sleep 100");
    config["linux"]["uidMappings"] = serde_json::Value::Array(vec![]);
    b.write(&config);
    let bundle = b.bundle_arg();
    let mut args: Vec<&str> = verb.to_vec();
    args.extend(["--bundle", &bundle, &b.id]);
    let mut child = b.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_micros(micros));
    let _ = child.kill();
    child.wait().unwrap();
    let rootfs = b.bundle().join("rootfs");
    b.ok(&["delete", "--force", &b.id]);
    assert_eq!(b.leftovers(), Vec::<String>::new(), "killed after {micros} us");
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while let Some(pid) = inside(&rootfs) {
        assert!(std::time::Instant::now() < end, "process {pid} is left after {micros} us");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The id is free again.
    assert!(b.create().status.success());
}

/// A process whose mount table shows the root filesystem of the bundle.
fn inside(rootfs: &std::path::Path) -> Option<String> {
    let wanted = rootfs.to_str().unwrap();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_str().unwrap().to_owned();
        if name.bytes().all(|b| b.is_ascii_digit())
            && std::fs::read_to_string(entry.path().join("mountinfo")).is_ok_and(|t| t.contains(wanted))
        {
            return Some(name);
        }
    }
    None
}

#[test]
fn create_killed_at_many_points() {
    for step in 0..30 {
        killed_after(&["create"], step * 400);
    }
}

#[test]
fn run_killed_at_many_points() {
    for step in 0..20 {
        killed_after(&["run", "--detach"], step * 700);
    }
}

/// Kills one call after a delay.
fn interrupt(b: &common::Bench, args: &[&str], micros: u64) {
    let mut child = b.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_micros(micros));
    let _ = child.kill();
    child.wait().unwrap();
}

fn gone(b: &common::Bench, what: &str) {
    b.ok(&["delete", "--force", &b.id]);
    assert_eq!(b.leftovers(), Vec::<String>::new(), "{what}");
    let rootfs = b.bundle().join("rootfs");
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while let Some(pid) = inside(&rootfs) {
        assert!(std::time::Instant::now() < end, "process {pid} is left: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn start_exec_and_delete_killed_at_many_points() {
    let Some(b) = bench() else { return };
    b.write(&b.config("sleep 100"));
    for step in 0..10 {
        assert!(b.create().status.success());
        interrupt(&b, &["start", &b.id], step * 300);
        gone(&b, &format!("start killed at step {step}"));
    }
    for step in 0..10 {
        b.ok(&["run", "--detach", "--bundle", &b.bundle_arg(), &b.id]);
        interrupt(&b, &["exec", "--detach", &b.id, "sleep", "100"], step * 500);
        gone(&b, &format!("exec killed at step {step}"));
    }
    for step in 0..10 {
        b.ok(&["run", "--detach", "--bundle", &b.bundle_arg(), &b.id]);
        interrupt(&b, &["delete", "--force", &b.id], step * 300);
        gone(&b, &format!("delete killed at step {step}"));
    }
}
