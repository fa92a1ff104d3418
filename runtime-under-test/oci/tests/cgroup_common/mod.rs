//! What the cgroup tests share. Everything is below names that only one test uses, and is gone afterwards.
#![allow(dead_code)] // each test program uses a part

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use plimsoll_oci::cgroup::Cgroup;
use serde_json::{Value, json};

/// A path that nobody else uses.
pub fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("/plimsoll-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Kills and removes at the end of a test, also of one that fails.
pub struct Guard(pub Cgroup);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.thaw();
        let _ = self.0.kill_all();
        let _ = self.0.delete();
    }
}

pub fn create(path: &str) -> Guard {
    Guard(Cgroup::open_or_create(Some(path), "c", &Value::Null).unwrap())
}

/// Whether cgroups can be made here at all.
pub fn usable() -> bool {
    let made = Cgroup::open_or_create(Some(&name()), "c", &Value::Null).map(Guard);
    let ok = made.is_ok_and(|g| g.0.exists());
    if !ok {
        skip("cgroups cannot be made here (needs root and a writable cgroup mount)");
    }
    ok
}

pub fn skip(why: &str) {
    assert!(std::env::var_os("PLIMSOLL_CI").is_none_or(|v| v != "1"), "{why}");
    println!("SKIP: {why}");
}

/// A shell that does what it is told, line by line.
pub struct Shell(pub Child, pub ChildStdin, BufReader<ChildStdout>);

impl Shell {
    pub fn start() -> Self {
        let mut child = Command::new("/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self(child, input, BufReader::new(output))
    }

    pub fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// The first line that the command prints.
    pub fn ask(&mut self, command: &str) -> String {
        writeln!(self.1, "{command}").unwrap();
        let mut line = String::new();
        self.2.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub fn opens(&mut self, redirection: &str) -> bool {
        self.ask(&format!("if (exec 3{redirection}) 2>/dev/null; then echo yes; else echo no; fi")) == "yes"
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn read(path: &Path, file: &str) -> String {
    fs::read_to_string(path.join(file)).unwrap().trim().to_owned()
}

/// `/dev/null` is a default device; `/dev/kmsg` is not.
pub fn devices(cgroup: &Cgroup) {
    let mut shell = Shell::start();
    if !shell.opens("</dev/kmsg") {
        return skip("/dev/kmsg cannot be opened here even without a device list");
    }
    cgroup.apply(&json!({})).unwrap();
    cgroup.add_process(shell.pid()).unwrap();
    assert!(shell.opens("<>/dev/null") && !shell.opens("</dev/kmsg"));
    let kmsg = |access: &str| {
        json!({"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": access}]})
    };
    cgroup.update(&kmsg("r")).unwrap();
    assert!(shell.opens("</dev/kmsg") && !shell.opens("<>/dev/kmsg") && shell.opens("<>/dev/null"));
    cgroup.update(&json!({"pids": {}})).unwrap();
    assert!(shell.opens("</dev/kmsg"), "an update without a list leaves devices alone");
    cgroup.update(&kmsg("rw")).unwrap();
    assert!(shell.opens("<>/dev/kmsg"));
    cgroup.update(&json!({"devices": []})).unwrap();
    assert!(!shell.opens("</dev/kmsg") && shell.opens("<>/dev/null"));
    cgroup.update(&json!({"devices": [{"allow": true}]})).unwrap();
    assert!(shell.opens("</dev/kmsg"));
}
