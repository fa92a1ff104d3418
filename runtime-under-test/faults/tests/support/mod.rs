//! A bundle, a private runtime root and the wrapper around a real runtime.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The runtime to wrap and the program to run inside.
struct Host {
    runtime: PathBuf,
    busybox: PathBuf,
}

fn find(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|d| Path::new(d).join(name))
        .find(|p| p.is_file())
}

fn host() -> Option<Host> {
    let root = rustix_uid() == 0;
    let found = find("runc").zip(find("busybox")).filter(|_| root);
    if found.is_none() {
        println!("SKIP: needs root, runc and busybox");
        assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "PLIMSOLL_CI is set, so nothing may be skipped");
    }
    found.map(|(runtime, busybox)| Host { runtime, busybox })
}

fn rustix_uid() -> u32 {
    fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .find_map(|l| l.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok())
        .unwrap()
}

/// One container's surroundings; dropping it removes the container and everything else.
pub struct Case {
    host: Host,
    /// Everything is below this directory.
    pub dir: TempDir,
    /// The container's id.
    pub id: String,
    /// The fault under test.
    pub fault: String,
}

impl Case {
    /// A bundle whose program is `sh -c SCRIPT`, or `None` where it cannot be shown.
    pub fn new(fault: &str, script: &str) -> Option<Case> {
        let host = host()?;
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bundle/rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        for empty in ["proc", "dev", "out"] {
            fs::create_dir(bin.parent().unwrap().join(empty)).unwrap();
        }
        // By a child: what another test forks must not hold it open for writing when it is executed.
        let copied = Command::new("cp").arg(&host.busybox).arg(bin.join("busybox")).status().unwrap();
        assert!(copied.success());
        for tool in ["sh", "sleep", "hostname", "cat", "env", "true"] {
            symlink("busybox", bin.join(tool)).unwrap();
        }
        let id = format!("plimsoll-faults-{}-{}", std::process::id(), fault.replace(['.', '='], "-"));
        let case = Case { host, dir, id, fault: fault.to_owned() };
        case.write_config(&case.config(script));
        Some(case)
    }

    /// The bundle.
    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    /// What the program wrote to /out/NAME.
    pub fn out(&self, name: &str) -> String {
        fs::read_to_string(self.bundle().join("rootfs/out").join(name)).unwrap_or_default()
    }

    /// A configuration that runc takes.
    pub fn config(&self, script: &str) -> Value {
        json!({
            "ociVersion": "1.0.2",
            "hostname": "sample",
            "root": {"path": "rootfs"},
            "process": {
                "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin", "A=1"],
                "args": ["/bin/sh", "-c", script],
                "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            ],
            "linux": {
                "cgroupsPath": format!("/plimsoll-faults-test/{}", self.id),
                "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}],
            },
        })
    }

    /// Replaces the bundle's configuration.
    pub fn write_config(&self, config: &Value) {
        fs::write(self.bundle().join("config.json"), config.to_string()).unwrap();
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn finish(mut command: Command, capture: bool) -> Output {
        if !capture {
            // The container inherits these; a pipe would stay open as long as it lives.
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Calls the wrapper: `VERB ARGS ID REST`.
    pub fn wrapped(&self, verb: &str, args: &[&str], rest: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll-faults"));
        command.env("PLIMSOLL_FAULT_STATE", self.dir.path().join("marks"));
        command
            .args(["--fault", &self.fault, "--target"])
            .arg(&self.host.runtime)
            .arg("--root")
            .arg(self.root());
        command.arg(verb).args(args).arg(&self.id).args(rest);
        Case::finish(command, verb != "create")
    }

    /// Calls the runtime itself.
    pub fn direct(&self, verb: &str, args: &[&str], rest: &[&str]) -> Output {
        let mut command = Command::new(&self.host.runtime);
        command.arg("--root").arg(self.root()).arg(verb).args(args).arg(&self.id).args(rest);
        Case::finish(command, verb != "create")
    }

    /// create through the wrapper; whether it succeeded.
    pub fn create(&self) -> bool {
        let bundle = self.bundle();
        self.wrapped("create", &["--bundle", bundle.to_str().unwrap()], &[]).status.success()
    }

    /// The state as the runtime itself tells it.
    pub fn real_state(&self) -> Option<Value> {
        let output = self.direct("state", &[], &[]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// create and start through the wrapper, then wait until the program has ended.
    pub fn run_through(&self) {
        assert!(self.create(), "create under {} failed", self.fault);
        assert!(self.wrapped("start", &[], &[]).status.success(), "start under {} failed", self.fault);
        wait_until("the program ends", || self.real_state().is_none_or(|s| s["status"] == "stopped"));
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = self.direct("delete", &["--force"], &[]);
        for entry in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            // Empty ones only; rmdir refuses the rest.
            let parent = entry.path().join("plimsoll-faults-test");
            let _ = fs::remove_dir(parent.join(&self.id));
            let _ = fs::remove_dir(parent);
        }
    }
}

/// Waits for a condition, at most half a minute.
pub fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !met() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}
