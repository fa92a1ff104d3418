//! A small bundle around busybox and calls of the built runtime.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const RUNTIME: &str = env!("CARGO_BIN_EXE_plimsoll-oci");
const BUSYBOX: &str = "/bin/busybox";
static NEXT: AtomicU32 = AtomicU32::new(0);

/// One bundle with a state directory of its own; everything is gone when it is dropped.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub id: String,
}

/// A bench, or `None` (said aloud) where containers cannot be made.
pub fn bench() -> Option<Bench> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    if !root || !Path::new(BUSYBOX).exists() {
        assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "needs root and {BUSYBOX}");
        println!("SKIP: needs root and {BUSYBOX}");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("bundle/rootfs");
    for sub in ["bin", "proc", "dev", "sys", "etc", "tmp"] {
        std::fs::create_dir_all(rootfs.join(sub)).unwrap();
    }
    // By a child: what another test forks must not hold it open for writing when it is executed.
    let copied = Command::new("cp").arg(BUSYBOX).arg(rootfs.join("bin/busybox")).status().unwrap();
    assert!(copied.success());
    for name in ["sh", "cat", "sleep", "echo", "grep", "ls", "id", "touch", "true", "stat", "tr", "readlink"]
    {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
    let id = format!("plt{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    Some(Bench { dir, id })
}

impl Bench {
    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    pub fn states(&self) -> PathBuf {
        self.dir.path().join("states")
    }

    /// A plain configuration that runs a shell line.
    pub fn config(&self, script: &str) -> Value {
        json!({
            "ociVersion": "1.3.0",
            "process": {
                "cwd": "/", "args": ["sh", "-c", script], "env": ["PATH=/bin"],
                "user": { "uid": 0, "gid": 0 }, "noNewPrivileges": true
            },
            "root": { "path": "rootfs" },
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                  "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] }
            ],
            "linux": {
                "cgroupsPath": format!("/{}", self.id),
                "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }, { "type": "network" }]
            }
        })
    }

    pub fn write(&self, config: &Value) {
        std::fs::write(self.bundle().join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(RUNTIME);
        command.arg("--root").arg(self.states()).args(args).stdin(Stdio::null());
        command
    }

    pub fn call(&self, args: &[&str]) -> Output {
        // Through files: the first process inherits the streams and would keep pipes open.
        let (out, err) = (self.dir.path().join("out"), self.dir.path().join("err"));
        let file = |p: &Path| std::fs::File::create(p).unwrap();
        let status = self.command(args).stdout(file(&out)).stderr(file(&err)).status().unwrap();
        Output { status, stdout: std::fs::read(out).unwrap(), stderr: std::fs::read(err).unwrap() }
    }

    pub fn bundle_arg(&self) -> String {
        self.bundle().to_str().unwrap().to_owned()
    }

    pub fn create(&self) -> Output {
        self.call(&["create", "--bundle", &self.bundle_arg(), &self.id])
    }

    pub fn run(&self, config: &Value) -> Output {
        self.write(config);
        self.call(&["run", "--bundle", &self.bundle_arg(), &self.id])
    }

    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn fails(&self, args: &[&str]) -> String {
        let output = self.call(args);
        assert!(!output.status.success(), "{args:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", &self.id])).unwrap()
    }

    pub fn wait_status(&self, status: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.state()["status"] != status {
            assert!(Instant::now() < end, "never became {status}: {}", self.state());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What a container with this id may leave on the host.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Ok(entries) = std::fs::read_dir(self.states()) {
            found.extend(entries.map(|e| e.unwrap().path().display().to_string()));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.dir.path().to_str().unwrap();
        found.extend(mounts.lines().filter(|l| l.contains(here)).map(str::to_owned));
        for base in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            for controller in std::fs::read_dir(base).into_iter().flatten() {
                let path = controller.unwrap().path().join(&self.id);
                if path.exists() {
                    found.push(path.display().to_string());
                }
            }
        }
        found
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "--force", &self.id]).stderr(Stdio::null()).status();
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
